//! What the programs of a bench need of the machine, as far as it can be seen before any of them is started: a folder to
//! run in, and a log that is nobody else's.

use super::instance::InstanceSpec;
use super::plan::Config;
use crate::error::{Class, Error, Result};
use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

impl Config {
    /// Checks what `zbridge up` would find wrong only when it starts the instances. Returns what is odd, one line each: a
    /// folder that is not there may still be made by an instance that comes before.
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

/// The same path without `.` in it, absolute where the system tells where this process is.
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
