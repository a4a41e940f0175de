//! Questions to a service behind a port, and changes of it: another thread asks, and the service's own answers in its
//! next turn.
//!
//! An [`Inquirer`] is obtained from the port, and asks past the switch, whose thread has nothing to do with it. The
//! service looks for questions once a turn, which is one load of an atomic while there are none.

use super::channel::Shared;
use crate::error;
use crate::service::{Change, Changed, Details};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a service may take for a page. It answers in its next turn, which takes milliseconds at most.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most pages of one service: a service whose pages do not end is not waited for.
const PAGES: usize = 1024;

/// What is asked of a service.
enum Question {
    /// The page of its details that begins here.
    Page(usize, Sender<Details>),
    /// A change.
    Change(Change, Sender<error::Result<Changed>>),
}

/// Who answers the questions to a service.
pub trait Answers {
    /// The page of its details that begins at `from`.
    fn page(&mut self, from: usize) -> Details;
    /// Carries out a change.
    fn change(&mut self, change: &Change) -> error::Result<Changed>;
}

/// The questions that wait for a service.
#[derive(Default)]
pub(super) struct Questions {
    some: AtomicBool,
    waiting: Mutex<Vec<Question>>,
}

impl Questions {
    fn ask(&self, question: Question) {
        self.waiting.lock().push(question);
        self.some.store(true, Ordering::SeqCst);
    }

    /// Whether there are any.
    pub fn are_there(&self) -> bool {
        self.some.load(Ordering::SeqCst)
    }

    /// Has them answered.
    pub fn answer(&self, answers: &mut impl Answers) {
        if !self.some.swap(false, Ordering::SeqCst) {
            return;
        }
        for question in std::mem::take(&mut *self.waiting.lock()) {
            // The asker may have lost its patience.
            match question {
                Question::Page(from, asker) => drop(asker.send(answers.page(from))),
                Question::Change(change, asker) => drop(asker.send(answers.change(&change))),
            }
        }
    }

    /// Nobody will answer: the askers learn that at once.
    pub fn close(&self) {
        self.waiting.lock().clear();
    }
}

/// Asks the service behind a port.
#[derive(Clone)]
pub struct Inquirer {
    pub(super) shared: Arc<Shared>,
}

/// Why a service did not answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered {
    /// Its port was removed.
    #[error("its service has ended")]
    Ended,
    /// It hangs.
    #[error("its service has not answered for a second")]
    Hangs,
}

impl Inquirer {
    /// All its details. Waits for the service.
    ///
    /// # Errors
    /// It has ended, or hangs.
    pub fn details(&self) -> Result<Details, Unanswered> {
        let mut all = Details::default();
        let mut from = 0;
        for _ in 0..PAGES {
            let page = self.page(from)?;
            all.flows.extend(page.flows);
            all.devices.extend(page.devices);
            all.names.extend(page.names);
            all.leases.extend(page.leases);
            match page.next.filter(|next| *next > from) {
                Some(next) => from = next,
                None => break,
            }
        }
        Ok(all)
    }

    fn page(&self, from: usize) -> Result<Details, Unanswered> {
        self.ask(|asker| Question::Page(from, asker))
    }

    /// Has it carry out a change. Waits for the service.
    ///
    /// # Errors
    /// It has ended, or hangs: then the change may still be carried out.
    pub fn change(&self, change: Change) -> Result<error::Result<Changed>, Unanswered> {
        self.ask(|asker| Question::Change(change, asker))
    }

    fn ask<T>(&self, question: impl FnOnce(Sender<T>) -> Question) -> Result<T, Unanswered> {
        let (asker, answer) = bounded(1);
        let question = question(asker);
        self.shared.ask_service(|questions| questions.ask(question))?;
        answer.recv_timeout(PATIENCE).map_err(|error| match error {
            RecvTimeoutError::Timeout => Unanswered::Hangs,
            RecvTimeoutError::Disconnected => Unanswered::Ended,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::channel::pair;
    use mio::{Poll, Token, Waker};

    /// Pages that begin at 0, 10 and 20, and where they were asked for.
    #[derive(Default)]
    struct Pages(Vec<usize>);

    impl Answers for Pages {
        fn page(&mut self, from: usize) -> Details {
            self.0.push(from);
            Details { next: (from < 20).then_some(from + 10), ..Details::default() }
        }

        fn change(&mut self, _: &Change) -> error::Result<Changed> {
            Ok(Changed::Missing)
        }
    }

    #[test]
    fn pages_are_put_together_and_an_end_is_noticed() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (channel, link) = pair(waker);
        let inquirer = channel.inquirer();
        let service = std::thread::spawn(move || {
            let mut pages = Pages::default();
            while pages.0.len() < 3 {
                link.answer_questions(&mut pages);
                std::thread::yield_now();
            }
            // The next question comes while it ends, or behind that.
            drop(link);
            pages.0
        });
        assert_eq!(inquirer.details(), Ok(Details::default()));
        assert_eq!(service.join().unwrap(), [0, 10, 20]);
        assert_eq!(inquirer.details(), Err(Unanswered::Ended));
    }

    #[test]
    fn a_service_that_sleeps_is_woken() {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
        let (channel, link) = pair(waker);
        assert!(link.fall_asleep());
        let (asker, _answer) = bounded(1);
        let asked = channel.inquirer().shared.ask_service(|questions| questions.ask(Question::Page(0, asker)));
        assert!(asked.is_ok() && !link.fall_asleep(), "there is a question first");
        link.answer_questions(&mut Pages::default());
        assert!(link.fall_asleep());
    }
}
