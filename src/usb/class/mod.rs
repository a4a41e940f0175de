//! Functions that come with zbridge. Each makes a whole [`super::Device`] from an [`Identity`].

pub mod cdc_acm;
pub mod hid;
pub mod loopback;
pub mod storage;

pub use cdc_acm::CdcAcm;
pub use hid::Hid;
pub use loopback::{Loopback, Pattern};
pub use storage::MassStorage;

use super::{Description, Speed};

/// The identity of a device that a user may change.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Identity {
    /// The speed; high unless said otherwise.
    pub speed: Speed,
    /// `idVendor`, if not the function's own.
    pub vendor: Option<u16>,
    /// `idProduct`, if not the function's own.
    pub product: Option<u16>,
    /// The serial number, if not the function's own.
    pub serial: Option<String>,
}

impl Default for Identity {
    fn default() -> Self {
        Self { speed: Speed::High, vendor: None, product: None, serial: None }
    }
}

impl Identity {
    /// An identity at `speed`, otherwise the function's own.
    pub fn at(speed: Speed) -> Self {
        Self { speed, ..Self::default() }
    }

    /// `description`, as the user wants it.
    fn apply(&self, mut description: Description) -> Description {
        description.speed = self.speed;
        description.vendor = self.vendor.unwrap_or(description.vendor);
        description.product = self.product.unwrap_or(description.product);
        description.serial = self.serial.clone().or(description.serial);
        description
    }
}
