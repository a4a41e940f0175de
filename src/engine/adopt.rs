//! Ports of descriptors that somebody else has opened: the interfaces of instances, what a program hands over.

use super::Engine;
use super::ports::Origin;
use crate::config::{PortSpec, misplaced};
use crate::error::{Error, Result};
use crate::port;
use std::os::fd::OwnedFd;
use std::sync::Arc;

impl Engine {
    /// Makes a port of a descriptor.
    pub(super) fn adopt_port(&mut self, spec: PortSpec, fd: OwnedFd) -> Result<()> {
        self.check_place(&spec)?;
        let edge = port::adopt(&spec, fd).map_err(|error| error.at(&spec.name))?;
        let spec = Arc::new(spec);
        let id = self.add_slot(&spec, &spec.name, Origin::Adopted(spec.clone()), Some(edge), String::new())?;
        // What came before it was watched.
        self.make_ready(id);
        Ok(())
    }

    /// Refuses a port whose name is taken or that is of another medium.
    pub(super) fn check_place(&self, spec: &PortSpec) -> Result<()> {
        if self.is_taken(&spec.name) {
            return Err(Error::usage(format!("there is a port named {} already", spec.name)).hint("give it a name="));
        }
        if spec.kind.is_radio() != self.switch.is_radio() {
            return Err(misplaced(spec, self.switch.is_radio()));
        }
        Ok(())
    }
}
