//! `--fates FILE` and `--replay FILE`: the keys `fates=` and `replay=` of the only switch that there is.

use crate::config::{Config, SwitchSpec};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// What the command line says of fates.
#[derive(clap::Args, Clone, PartialEq, Eq, Default, Debug)]
pub struct FatesArgs {
    /// Write what impairments did to each frame, a line each, for --replay
    #[arg(long, value_name = "FILE")]
    pub fates: Option<PathBuf>,

    /// Do to frames again what --fates has written, by their numbers, and say where the traffic differs
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
}

impl FatesArgs {
    /// Whether nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Has the only switch of `config` do so.
    ///
    /// # Errors
    /// There are several.
    pub fn give(&self, config: &mut Config) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let used = config.switches_in_use();
        let [only] = used.as_slice() else {
            let names: Vec<&str> = used.iter().map(|switch| switch.name.as_str()).collect();
            let name = names.first().copied().unwrap_or("NAME");
            let what = format!("--fates and --replay are for one switch, and there are {}", names.join(", "));
            return Err(Error::usage(what).hint(format!("say it of each: --switch {name},fates=FILE")));
        };
        let mut switch: SwitchSpec = only.clone();
        switch.fates = self.fates.clone().or(switch.fates);
        switch.replay = self.replay.clone().or(switch.replay);
        match config.switches.iter_mut().find(|known| known.name == switch.name) {
            Some(known) => *known = switch,
            None => config.switches.push(switch),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PortSpec;

    #[test]
    fn they_are_keys_of_the_only_switch() {
        let args = FatesArgs { fates: Some("f".into()), replay: None };
        let mut config = Config::default();
        config.add_port(PortSpec::parse("unix:/a").unwrap()).unwrap();
        args.give(&mut config).unwrap();
        assert_eq!(config.switches_in_use()[0].canonical(), "default,fates=f");
        let replay = FatesArgs { fates: None, replay: Some("r".into()) };
        replay.give(&mut config).unwrap();
        assert_eq!(config.switches_in_use()[0].canonical(), "default,fates=f,replay=r");
        config.add_port(PortSpec::parse("unix:/b,switch=lab").unwrap()).unwrap();
        let error = args.give(&mut config).unwrap_err();
        assert_eq!(error.advice(), Some("say it of each: --switch default,fates=FILE"), "{error}");
        assert_eq!(FatesArgs::default().give(&mut config), Ok(()));
    }
}
