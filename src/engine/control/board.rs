//! What the control socket tells of the programs that its process runs beside the bridge, and what it has ordered for them.
//!
//! Who runs them (`programs`) writes here, and takes the orders; the control socket's thread and the metrics read. Nobody
//! holds the lock for longer than it takes to copy a few lines.

use crate::control::{InstanceInfo, LogInfo};
use crate::error::{Class, Error, Result};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fmt;
use std::time::Instant;

/// Lines that are shown of each program.
const LINES: usize = 12;
/// Characters that are shown of a line.
const SHOWN: usize = 400;
/// Bytes that are worth keeping of a line.
pub const LINE_BYTES: usize = 4096;
/// Bytes of lines that are kept of each program, for who asks for them soon.
const KEPT_BYTES: usize = 64 * 1024;

/// See the head of the file.
#[derive(Default)]
pub struct Board {
    programs: Mutex<Vec<Program>>,
    orders: Mutex<Option<Sender<Order>>>,
    down: Mutex<Option<Sender<()>>>,
}

/// What is ordered of programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ordered {
    /// To start what does not run.
    Start,
    /// To stop what runs.
    Stop,
    /// To stop and start.
    Restart,
    /// To send this signal.
    Signal(i32),
}

/// `restart`, `signal 15`.
impl fmt::Display for Ordered {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => out.write_str("start"),
            Self::Stop => out.write_str("stop"),
            Self::Restart => out.write_str("restart"),
            Self::Signal(number) => write!(out, "signal {number}"),
        }
    }
}

/// An order.
pub struct Order {
    /// What is to be done.
    pub what: Ordered,
    /// With these programs, by name.
    pub instances: Vec<String>,
    /// Where the answer goes, when it is done or cannot be.
    pub answer: Sender<Result<()>>,
}

/// A program.
#[derive(Default)]
struct Program {
    info: InstanceInfo,
    /// When it was started.
    began: Option<Instant>,
    /// Its last lines, and their bytes.
    lines: VecDeque<String>,
    bytes: usize,
    /// How many it has written, and how many before its present run.
    written: u64,
    run: u64,
}

impl Board {
    /// Adds a program, which waits. Its index is how many there were.
    pub fn add(&self, name: &str, log: Option<String>) {
        let info = InstanceInfo { name: name.to_owned(), state: "waits".into(), log, ..InstanceInfo::default() };
        self.programs.lock().push(Program { info, ..Program::default() });
    }

    /// Changes what is told of a program.
    pub fn change(&self, index: usize, change: impl FnOnce(&mut InstanceInfo)) {
        if let Some(program) = self.programs.lock().get_mut(index) {
            change(&mut program.info);
        }
    }

    /// The process of a program, since when it runs; nothing: it does not.
    pub fn runs(&self, index: usize, pid: Option<u32>, runs: bool) {
        if let Some(program) = self.programs.lock().get_mut(index) {
            program.info.pid = pid;
            program.began = runs.then(Instant::now);
        }
    }

    /// A program is about to be started.
    pub fn begins(&self, index: usize) {
        if let Some(program) = self.programs.lock().get_mut(index) {
            program.run = program.written;
        }
    }

    /// The lines of the program `name` behind the one with the number `after`, as far as they are kept.
    ///
    /// # Errors
    /// There is none of this name; the error names those that there are.
    pub fn log(&self, name: &str, after: u64) -> Result<LogInfo> {
        let programs = self.programs.lock();
        let Some(program) = programs.iter().find(|program| program.info.name == name) else {
            let names: Vec<&str> = programs.iter().map(|program| program.info.name.as_str()).collect();
            let error = Error::new(Class::NoObject, format!("no instance is named {name}"));
            return Err(error.hint(format!("there are {}", names.join(", "))));
        };
        let kept = program.written - program.lines.len() as u64;
        let skipped = usize::try_from(after.saturating_sub(kept)).unwrap_or(usize::MAX);
        let lines: Vec<String> = program.lines.iter().skip(skipped).cloned().collect();
        Ok(LogInfo { first: program.written - lines.len() as u64 + 1, run: program.run, lines })
    }

    /// A program has written a line: as many of its bytes as are kept, made readable.
    pub fn line(&self, index: usize, line: String) {
        if let Some(program) = self.programs.lock().get_mut(index) {
            program.written += 1;
            program.bytes += line.len();
            program.lines.push_back(line);
            while program.bytes > KEPT_BYTES && program.lines.len() > LINES {
                program.bytes -= program.lines.pop_front().map_or(0, |line| line.len());
            }
        }
    }

    /// All that is known of the programs.
    pub fn instances(&self) -> Vec<InstanceInfo> {
        let told = |program: &Program| {
            let from = program.lines.len().saturating_sub(LINES);
            let lines = program.lines.iter().skip(from).map(|line| line.chars().take(SHOWN).collect()).collect();
            let uptime = program.began.map(|began| began.elapsed().as_secs());
            InstanceInfo { lines, uptime, ..program.info.clone() }
        };
        self.programs.lock().iter().map(told).collect()
    }

    /// The channel of the wish that the whole process ends, for who carries it out.
    pub fn attend_down(&self) -> Receiver<()> {
        let (wish, heard) = bounded(1);
        *self.down.lock() = Some(wish);
        heard
    }

    /// Wishes that the whole process ends.
    ///
    /// # Errors
    /// Nobody carries that out: the bridge is part of another program.
    pub fn down(&self) -> Result<()> {
        let wish = self.down.lock().clone();
        // One wish is as good as several.
        let told = wish.is_some_and(|wish| !matches!(wish.try_send(()), Err(TrySendError::Disconnected(()))));
        told.then_some(()).ok_or_else(|| {
            Error::usage("this bridge is part of a program that ends it itself").hint("end that program")
        })
    }

    /// The channel of orders, for who carries them out.
    pub fn attend(&self) -> Receiver<Order> {
        let (orders, taken) = unbounded();
        *self.orders.lock() = Some(orders);
        taken
    }

    /// Nobody carries orders out any more.
    pub fn close(&self) {
        *self.orders.lock() = None;
    }

    /// Orders something of programs. The answer comes by the channel.
    ///
    /// # Errors
    /// This process runs no programs, or not any more.
    pub fn order(&self, what: Ordered, instances: Vec<String>) -> Result<Receiver<Result<()>>> {
        let (answer, heard) = bounded(1);
        let orders = self.orders.lock().clone();
        let sent = orders.is_some_and(|orders| orders.send(Order { what, instances, answer }).is_ok());
        sent.then_some(heard).ok_or_else(|| {
            let error = Error::new(Class::NoObject, "no program runs beside this bridge");
            error.hint("the programs of a bench can be commanded: zbridge up FILE")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let board = Board::default();
        board.add("a", None);
        (0..LINES + 3).for_each(|number| board.line(0, number.to_string()));
        board.line(7, "nobody's".to_owned());
        board.change(0, |info| info.state = "ready".into());
        let told = board.instances();
        assert_eq!((told.len(), told[0].lines.len(), told[0].state.as_str()), (1, LINES, "ready"));
        assert_eq!(told[0].lines[0], "3");
        let log = board.log("a", 0).unwrap();
        assert_eq!((log.first, log.run, log.lines.len()), (1, 0, LINES + 3), "those that were asked for are all there");
        board.begins(0);
        let log = board.log("a", 14).unwrap();
        assert_eq!((log.first, log.run, log.lines), (15, 15, vec!["14".to_owned()]));
        assert_eq!(board.log("a", 99).unwrap().lines.len(), 0);
        assert!(board.log("b", 0).is_err());
        (0..100).for_each(|_| board.line(0, "x".repeat(LINE_BYTES)));
        let log = board.log("a", 0).unwrap();
        assert_eq!((log.first, log.lines.len()), (100, 16), "no more is kept than there is room for");
    }
}
