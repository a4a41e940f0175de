//! `zbridge check`: what a file would run, and what is odd or wrong about it, for people or as JSON.

use super::{Label, complain, play, print};
use crate::config::{Config, InstanceSpec};
use crate::control::{Failure, print as json};
use crate::error::{Error, Result};
use crate::programs;
use serde::Serialize;
use std::path::Path;

/// The answer as JSON.
#[derive(Serialize)]
struct Checked {
    /// Whether it would run.
    ok: bool,
    /// Why it would not: the first that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Failure>,
    /// All that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Failure>,
    /// What is odd.
    warnings: Vec<Failure>,
    /// Its ports.
    ports: Vec<Port>,
    /// Its programs.
    instances: Vec<Instance>,
}

#[derive(Serialize)]
struct Port {
    name: String,
    switch: String,
    kind: &'static str,
    target: String,
}

#[derive(Serialize)]
struct Instance {
    name: String,
    switch: String,
    command: Vec<String>,
    after: Vec<String>,
}

/// What a file would run. With `as_json` what is wrong is an answer, too, beside the error that it ends with.
///
/// # Errors
/// What is wrong with the file.
pub fn check(file: &Path, as_json: bool) -> Result<Vec<u8>> {
    match (examine(file), as_json) {
        (Ok((config, warnings)), true) => Ok(json(&checked(&config, &warnings))),
        (Ok((config, warnings)), false) => {
            warnings.iter().for_each(|warning| complain(Label::Warning, warning));
            let drawn = play::drawn(&config).map_err(|errors| super::but_the_last(errors, file))?;
            Ok((config.summary() + &drawn).into_bytes())
        }
        (Err(errors), _) => {
            if as_json {
                print(json(&refused(&errors)))?;
            }
            Err(super::but_the_last(errors, file))
        }
    }
}

fn refused(errors: &[Error]) -> Checked {
    let (warnings, ports, instances) = (Vec::new(), Vec::new(), Vec::new());
    let error = errors.first().map(Failure::from);
    Checked { ok: false, error, errors: errors.iter().map(Failure::from).collect(), warnings, ports, instances }
}

fn examine(file: &Path) -> Result<(Config, Vec<Error>), Vec<Error>> {
    let config = Config::load(file)?;
    let checks = [config.check(), config.check_programs()];
    if checks.iter().any(Result::is_err) {
        return Err(checks.into_iter().filter_map(Result::err).map(|error| error.at(file.display())).collect());
    }
    let mut warnings: Vec<Error> = checks.into_iter().flatten().flatten().map(Error::usage).collect();
    play::understood(&config).map(drop)?;
    warnings.extend(config.instances.iter().filter_map(missing));
    Ok((config, warnings))
}

/// Why the program of an instance could not be started now. It may still be built, so that it is only odd.
fn missing(instance: &InstanceSpec) -> Option<Error> {
    // A folder that is not there is told of by itself.
    let folder = instance.cwd.as_deref().is_none_or(Path::is_dir);
    let why = folder.then(|| programs::check(instance).err()).flatten();
    why.map(|why| why.error.at(format_args!("instance {}", instance.name)))
}

fn checked(config: &Config, warnings: &[Error]) -> Checked {
    let ports = config.ports.iter().map(|port| Port {
        name: port.name.clone(),
        switch: port.switch.clone(),
        kind: port.kind.word(),
        target: port.target(),
    });
    let instances = config.instances.iter().map(|instance| Instance {
        name: instance.name.clone(),
        switch: instance.switch.clone(),
        command: instance.command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        after: instance.after.clone(),
    });
    let warnings = warnings.iter().map(Failure::from).collect();
    Checked {
        ok: true,
        error: None,
        errors: Vec::new(),
        warnings,
        ports: ports.collect(),
        instances: instances.collect(),
    }
}
