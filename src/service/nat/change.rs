//! What is changed of a gateway while it runs: forwards here, names and leases by its servers.

use super::Nat;
use crate::config::Forward;
use crate::error::{Class, Error, Result};
use crate::service::change::{Change, Changed};
use crate::service::outside::{Outside, Want};
use crate::time::Instant;

/// Forwards of one gateway: each has a descriptor, and is looked at in every turn.
const FORWARDS: usize = 1024;

impl Nat {
    /// See [`Service::change`](crate::service::Service::change).
    pub(super) fn carry_out(&mut self, now: Instant, change: &Change, host: &mut dyn Outside) -> Result<Changed> {
        match *change {
            Change::AddForward { forward, public } => self.begin_forward(forward, public, host),
            Change::DelForward { protocol, listen } => {
                let Some(socket) = self.forwards.remove(protocol, listen) else { return Ok(Changed::Missing) };
                host.close(socket, false);
                Ok(Changed::Done)
            }
            _ => self.local.change(now, change),
        }
    }

    fn begin_forward(&mut self, forward: Forward, public: bool, host: &mut dyn Outside) -> Result<Changed> {
        if !forward.leads_into(&self.networks) {
            return Ok(Changed::Elsewhere);
        }
        forward.check(&self.networks, self.public || public)?;
        // Port 0 is a free one, each time another.
        if let Some(before) = self.forwards.find(forward.protocol, forward.listen) {
            let same = before.guest == forward.guest;
            return Ok(if same { Changed::Already } else { Changed::Otherwise(before.to_string()) });
        }
        if self.forwards.count() >= FORWARDS {
            return Err(Error::new(Class::Runtime, format!("there are {FORWARDS} forwards already")));
        }
        let (socket, found) = host.obtain(&Want::Forward(forward.protocol, forward.listen))?;
        let forward = Forward { listen: found.listening().unwrap_or(forward.listen), ..forward };
        self.forwards.add(socket, forward);
        Ok(Changed::Forward(forward))
    }
}
