//! The one error type that reaches a person, and the one table of exit statuses.
//!
//! An [`Error`] says what failed and where, whose fault it was (its [`Class`], which is also the exit status), and
//! what to do about it. Parsers of the inner rooms keep small typed errors of their own and are turned into this one
//! where a person is going to read them.
//!
//! A program that embeds zbridge need not read the text: beside the class, [`Error::raw_os_error`] is the errno of the
//! system, wherever one lies behind it, and `source()` the error that does.

use rustix::io::Errno;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Whose fault it was. Each class is a row of [`STATUSES`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Class {
    /// Something failed while running: the machine's fault, or a peer's.
    Runtime,
    /// The command line or the configuration is wrong: the user's fault.
    Usage,
    /// There is no running zbridge to talk to.
    NoDaemon,
    /// A named object (port, switch, interface, file) does not exist.
    NoObject,
    /// The system refused for want of a right.
    Permission,
    /// A wait timed out or an assertion did not hold.
    Unmet,
    /// A part of zbridge has failed, which is its own fault; the rest of it went on.
    Fault,
    /// SIGINT ended a command before it was done.
    Interrupted,
}

/// A row of the table of exit statuses: class, status, word, meaning.
#[non_exhaustive]
pub struct Status {
    /// The class that ends with this status.
    pub class: Class,
    /// The process's exit status.
    pub code: u8,
    /// Its word for programs.
    pub word: &'static str,
    /// What it means, as help and man page print it.
    pub meaning: &'static str,
}

/// Every exit status but 0. Help, man page and `main` read this table.
pub const STATUSES: [Status; 8] = [
    Status { class: Class::Runtime, code: 1, word: "runtime", meaning: "failed while running" },
    Status { class: Class::Usage, code: 2, word: "usage", meaning: "wrong command line or configuration" },
    Status { class: Class::NoDaemon, code: 3, word: "no-daemon", meaning: "no running zbridge there" },
    Status { class: Class::NoObject, code: 4, word: "no-object", meaning: "no such port, switch, interface or file" },
    Status { class: Class::Permission, code: 5, word: "permission", meaning: "not permitted" },
    Status { class: Class::Unmet, code: 6, word: "unmet", meaning: "a wait timed out or an assertion failed" },
    Status { class: Class::Fault, code: 70, word: "fault", meaning: "a part of zbridge failed by a fault of its own" },
    Status { class: Class::Interrupted, code: 130, word: "interrupted", meaning: "interrupted (SIGINT)" },
];

impl Class {
    /// The exit status of this class.
    pub fn code(self) -> u8 {
        STATUSES.iter().find(|row| row.class == self).map_or(1, |row| row.code)
    }

    /// The word of this class.
    pub fn word(self) -> &'static str {
        STATUSES.iter().find(|row| row.class == self).map_or("runtime", |row| row.word)
    }
}

/// What failed, and what to do about it.
///
/// Who stands in the way can take long to find out, and is of no use unless somebody reads it. So an error may say
/// [`SOMEBODY`] and carry the question, which is asked when it is printed, or by [`Error::told`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    class: Class,
    what: String,
    hint: Option<String>,
    who: Option<Question>,
    cause: Option<Cause>,
}

/// Somebody who was not asked for, or whom this process may not look at.
pub const SOMEBODY: &str = "another process";

/// Who [`SOMEBODY`] is: `pid 42 (qemu-system-x86)`.
#[derive(Clone)]
struct Question(Arc<dyn Fn() -> String + Send + Sync>);

/// Two errors are the same whoever it is.
impl PartialEq for Question {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Question {}

/// The error behind one.
#[derive(Clone, Debug)]
struct Cause(Arc<dyn StdError + Send + Sync>);

/// Two errors that say the same are the same: what lies behind them is in their text.
impl PartialEq for Cause {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Cause {}

impl fmt::Debug for Question {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("who")
    }
}

/// `Result` with [`Error`], unless said otherwise.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the system says, without its number, which programs ask [`Error::raw_os_error`] for.
pub(crate) fn words(cause: &io::Error) -> String {
    let text = cause.to_string();
    let number = cause.raw_os_error().map(|errno| format!(" (os error {errno})"));
    number.and_then(|number| text.strip_suffix(&number).map(str::to_owned)).unwrap_or(text)
}

impl Error {
    /// An error of `class`; `what` names the object and the cause: `tap:zeth0: in use by pid 42 (EBUSY)`.
    pub fn new(class: Class, what: impl Into<String>) -> Self {
        Self { class, what: what.into(), hint: None, who: None, cause: None }
    }

    /// One that another process has told of.
    pub(crate) fn told_elsewhere(
        class: Class,
        what: impl Into<String>,
        hint: Option<String>,
        errno: Option<i32>,
    ) -> Self {
        let error = Self { hint, ..Self::new(class, what) };
        match errno {
            Some(errno) => error.because(io::Error::from_raw_os_error(errno)),
            None => error,
        }
    }

    /// The user's fault: wrong command line or configuration.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Class::Usage, what)
    }

    /// An operating system's refusal of an action on `subject`; EPERM and EACCES are [`Class::Permission`], ENOENT
    /// and ENODEV [`Class::NoObject`].
    pub fn system(subject: impl fmt::Display, cause: &io::Error) -> Self {
        let class = match cause.kind() {
            io::ErrorKind::PermissionDenied => Class::Permission,
            io::ErrorKind::NotFound => Class::NoObject,
            _ if cause.raw_os_error() == Some(libc::ENODEV) => Class::NoObject,
            _ => Class::Runtime,
        };
        let error = Self::new(class, format!("{subject}: {}", words(cause))).because(copy(cause));
        match cause.raw_os_error() {
            Some(libc::ENOENT) => error.hint("no file or folder is there under this name: compare it with `ls`"),
            Some(libc::EMFILE) => error.hint("`ulimit -n` is how many files a process may have open: ulimit -n 65536"),
            Some(libc::ENFILE) => error.hint("`sysctl fs.file-max` is how many files the whole machine may have open"),
            _ => error,
        }
    }

    /// The same error with what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with the one that lies behind it. Its text is to be in this one's where a person needs it: it is not
    /// printed.
    #[must_use]
    pub fn because(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Cause(Arc::new(cause)));
        self
    }

    /// The same error, whose text says [`SOMEBODY`], with the question who that is. It is asked where waiting does no harm.
    #[must_use]
    pub fn who(mut self, ask: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.who = Some(Question(Arc::new(ask)));
        self
    }

    /// Whether it carries a question that takes time.
    pub fn asks(&self) -> bool {
        self.who.is_some()
    }

    /// The same error with the answer in its text.
    #[must_use]
    pub fn told(mut self) -> Self {
        if let Some(Question(ask)) = self.who.take() {
            self.what = self.what.replacen(SOMEBODY, &ask(), 1);
        }
        self
    }

    /// The same error, its text led by where it happened: `lab.toml:3: …`.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.what = format!("{place}: {}", self.what);
        self
    }

    /// The same error for a reader who is told the place anyway: without a leading `place: `.
    #[must_use]
    pub fn within(mut self, place: impl fmt::Display) -> Self {
        if let Some(rest) = self.what.strip_prefix(&format!("{place}: ")) {
            self.what = rest.to_owned();
        }
        self
    }

    /// Whose fault it was.
    pub fn class(&self) -> Class {
        self.class
    }

    /// What failed.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// The hint, if there is one.
    pub fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The errno of the system, where its refusal lies behind this error, whatever the text makes of it: EBUSY is in use,
    /// EPERM not permitted.
    pub fn raw_os_error(&self) -> Option<i32> {
        let mut behind = self.source();
        while let Some(error) = behind {
            let io = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
            let errno = io.or_else(|| error.downcast_ref::<Errno>().map(|errno| errno.raw_os_error()));
            if errno.is_some() {
                return errno;
            }
            behind = error.source();
        }
        None
    }
}

/// `what`, and on a line of its own `  hint: …`.
impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.asks() {
            return self.clone().told().fmt(out);
        }
        out.write_str(&self.what)?;
        match &self.hint {
            Some(hint) => write!(out, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|Cause(cause)| &**cause as _)
    }
}

/// The same error once more, as far as its kind and its text.
pub(crate) fn copy(cause: &io::Error) -> io::Error {
    match cause.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(cause.kind(), cause.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_row() {
        for class in [
            Class::Runtime,
            Class::Usage,
            Class::NoDaemon,
            Class::NoObject,
            Class::Permission,
            Class::Unmet,
            Class::Fault,
            Class::Interrupted,
        ] {
            assert_eq!(STATUSES.iter().filter(|row| row.class == class).count(), 1, "{class:?}");
        }
    }

    #[test]
    fn who_it_was_is_asked_when_it_is_printed() {
        use std::sync::atomic::{AtomicUsize, Ordering};
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let error = Error::new(Class::Runtime, format!("{SOMEBODY} listens on it")).who(move || {
            count.fetch_add(1, Ordering::Relaxed);
            "pid 42 (x)".into()
        });
        let error = error.hint("wait").at("/tmp/x");
        assert_eq!((error.what(), asked.load(Ordering::Relaxed)), ("/tmp/x: another process listens on it", 0));
        assert_eq!(error.to_string(), "/tmp/x: pid 42 (x) listens on it\n  hint: wait");
        assert_eq!((error.told().what(), asked.load(Ordering::Relaxed)), ("/tmp/x: pid 42 (x) listens on it", 2));
    }

    #[test]
    fn a_place_is_named_once() {
        let error = Error::usage("in use").at("tap:zeth0");
        assert_eq!(error.clone().within("tap:zeth0").what(), "in use");
        assert_eq!(error.within("tap:zeth1").what(), "tap:zeth0: in use");
    }

    #[test]
    fn errno_decides_the_class() {
        let class = |errno| Error::system("x", &std::io::Error::from_raw_os_error(errno)).class();
        assert_eq!(class(libc::EPERM), Class::Permission);
        assert_eq!(class(libc::ENODEV), Class::NoObject);
        assert_eq!(class(libc::EIO), Class::Runtime);
    }

    #[test]
    fn what_lies_behind_is_kept() {
        let busy = io::Error::from_raw_os_error(libc::EBUSY);
        let error = Error::system("tap:zeth0", &busy).hint("end that one").at("lab.toml:3");
        assert_eq!(error.raw_os_error(), Some(libc::EBUSY));
        let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
        assert_eq!(source.map(io::Error::kind), Some(io::ErrorKind::ResourceBusy));
        assert_eq!(
            error.to_string(),
            "lab.toml:3: tap:zeth0: Device or resource busy\n  hint: end that one",
            "said once"
        );
        let nested = Error::new(Class::Fault, "the switch").because(error.clone());
        assert_eq!((nested.raw_os_error(), nested.source().is_some()), (Some(libc::EBUSY), true));
        assert_eq!(Error::usage("x").because(Errno::INVAL).raw_os_error(), Some(libc::EINVAL));
        let own = Error::system("x", &io::Error::other("no number"));
        assert_eq!((own.raw_os_error(), own.source().unwrap().to_string()), (None, "no number".to_owned()));
        assert_eq!((Error::usage("x").raw_os_error(), Error::usage("x").source().is_some()), (None, false));
    }
}
