//! Needs of a bench's programs that can be checked before any is started: a folder to run in, and a log of their own.

use super::instance::InstanceSpec;
use super::kind::{Access, PortKind, Slip, Transport, Wpan};
use super::plan::Config;
use super::port::PortSpec;
use crate::error::{Class, Error, Result};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

impl PortSpec {
    /// The same for programs that root starts: they stay root, but without access to other users' files, while the
    /// bridge runs as another user, who owns its sockets, terminals and FIFOs. Unless `mode=`, `user=` or `group=` is
    /// given, root's group may use them, too.
    #[must_use]
    pub fn for_programs_of_root(mut self) -> Self {
        let access = match &mut self.kind {
            PortKind::Unix(unix) => Some(&mut unix.access),
            PortKind::UnixGram(unix) => Some(&mut unix.access),
            PortKind::Slip(Slip { transport, .. }) | PortKind::Wpan(Wpan { transport }) => match transport {
                Transport::Unix { access, .. } | Transport::Pty { access, .. } | Transport::Pipe { access, .. } => {
                    Some(access)
                }
                Transport::Tcp { .. } | Transport::Serial(_) | Transport::Fd(_) | Transport::Exec { .. } => None,
            },
            PortKind::Tap(_) | PortKind::Packet(_) | PortKind::Tcp(_) | PortKind::Udp(_) => None,
            PortKind::Usbip(_) | PortKind::Nat(_) => None,
        };
        if let Some(access) = access.filter(|access| **access == Access::default()) {
            *access = Access { mode: Some(0o660), user: None, group: Some("0".to_owned()) };
        }
        self
    }
}

impl Config {
    /// The same with ports that programs of root can use ([`PortSpec::for_programs_of_root`]).
    #[must_use]
    pub fn for_programs_of_root(&self) -> Self {
        let ports = self.ports.iter().cloned().map(PortSpec::for_programs_of_root);
        Self { ports: ports.collect(), ..self.clone() }
    }

    /// Checks for errors that `zbridge up` would find only when it starts the instances. Returns warnings, one line
    /// each: a missing folder may still be made by an earlier instance.
    ///
    /// # Errors
    /// Two instances with one log; a folder that is not there when it is needed.
    pub fn check_programs(&self) -> Result<Vec<String>> {
        let mut logs: HashMap<PathBuf, &InstanceSpec> = HashMap::new();
        let mut odd = Vec::new();
        for instance in &self.instances {
            if let Some(log) = instance.log.as_deref().filter(|log| is_or_becomes_a_file(log))
                && let Some(other) = logs.insert(plain(log), instance)
            {
                let what = format!("instances {} and {} have one log, {}", other.name, instance.name, log.display());
                return Err(Error::usage(what).hint("each needs a log of its own: log = \"FILE\""));
            }
            if let Some(word) = &instance.for_a_shell {
                odd.push(format!(
                    "instance {}: no shell reads its command, and {word:?} is passed on as it is; where one shall: \
                     command = [\"sh\", \"-c\", \"…\"]",
                    instance.name
                ));
            }
            let Some(cwd) = instance.cwd.as_deref().filter(|cwd| !cwd.is_dir()) else { continue };
            let what = format!("instance {}: there is no folder {}", instance.name, cwd.display());
            if instance.after.is_empty() {
                return Err(
                    Error::new(Class::NoObject, what).hint("cwd = \"FOLDER\" is where it runs; make the folder first")
                );
            }
            odd.push(what);
        }
        Ok(odd)
    }
}

/// A device, a terminal or a FIFO may take the output of several.
fn is_or_becomes_a_file(log: &Path) -> bool {
    log.metadata().map_or(true, |found| found.is_file())
}

/// The same path without `.` in it, absolute if the current folder is known.
fn plain(path: &Path) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    full.canonicalize().unwrap_or_else(|_| full.components().filter(|part| *part != Component::CurDir).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tables: &[&str]) -> Result<Vec<String>> {
        let text: String =
            tables.iter().map(|keys| format!("[[instance]]\ncommand = \"x\"\n{keys}\n")).collect::<Vec<_>>().concat();
        Config::parse(&text, "x").unwrap().check_programs()
    }

    #[test]
    fn roots_programs_reach_what_is_nobodys_by_name() {
        let of_root = |text: &str| PortSpec::parse(text).unwrap().for_programs_of_root().canonical();
        for port in ["unix:/tmp/a", "unixgram:/tmp/a", "slip:unix:/tmp/a", "wpan:pipe:/tmp/a", "slip:pty:/tmp/a"] {
            assert_eq!(of_root(port), format!("{port},mode=0660,group=0"));
        }
        for port in ["unix:/tmp/a,mode=0640", "unix:/tmp/a,user=1000", "tap:z", "slip:tcp:127.0.0.1:7"] {
            assert_eq!(of_root(port), port);
        }
    }

    #[test]
    fn a_log_is_one_instances() {
        let error = check(&["name=\"a\"\nlog=\"l/x.log\"", "name=\"b\"\nlog=\"./l/x.log\""]).unwrap_err();
        assert_eq!(error.what(), "instances a and b have one log, ./l/x.log");
        assert_eq!(check(&["name=\"a\"\ncount=2\nlog=\"x{i}.log\"", "name=\"b\"\nlog=\"x.log\""]), Ok(Vec::new()));
        assert_eq!(check(&["name=\"a\"\nlog=\"/dev/null\"", "name=\"b\"\nlog=\"/dev/null\""]), Ok(Vec::new()));
    }

    #[test]
    fn a_folder_is_there_or_may_still_come() {
        let error = check(&["name=\"a\"\ncwd=\"/nowhere/x\""]).unwrap_err();
        assert_eq!((error.class(), error.what()), (Class::NoObject, "instance a: there is no folder /nowhere/x"));
        let odd = check(&["name=\"b\"", "name=\"a\"\ncwd=\"/nowhere/x\"\nafter=\"b\""]);
        assert_eq!(odd, Ok(vec!["instance a: there is no folder /nowhere/x".to_owned()]));
        assert_eq!(check(&["name=\"a\"\ncwd=\"/\""]), Ok(Vec::new()));
    }
}
