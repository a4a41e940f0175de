//! A UART of this machine, as `serial:DEVICE@BAUD` of a serial line names it, and how its line is set.

use super::KeyRow;
use crate::config::grammar::{Fault, Keys, Writer};
use crate::config::value;
use std::path::PathBuf;

/// Bits a second, unless said.
const BAUD: u32 = 115_200;

pub(super) const PARITY: KeyRow = KeyRow {
    word: "parity",
    value: Some("none|even|odd"),
    repeatable: false,
    live: false,
    summary: "serial: the parity bit (default: none)",
};
pub(super) const STOP: KeyRow = KeyRow {
    word: "stop",
    value: Some("1|2"),
    repeatable: false,
    live: false,
    summary: "serial: stop bits (default: 1)",
};
pub(super) const RTSCTS: KeyRow = KeyRow {
    word: "rtscts",
    value: None,
    repeatable: false,
    live: false,
    summary: "serial: flow control by RTS and CTS",
};

/// The parity bit of a UART.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parity {
    /// There is none.
    None,
    /// The number of ones is even.
    Even,
    /// The number of ones is odd.
    Odd,
}

impl Parity {
    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Even => "even",
            Self::Odd => "odd",
        }
    }
}

/// A UART of this machine, and how its line is set: 8 data bits.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Uart {
    /// Its device.
    pub device: PathBuf,
    /// Bits a second, 50..=12,000,000.
    pub baud: u32,
    /// The parity bit.
    pub parity: Parity,
    /// Two stop bits instead of one.
    pub two_stop_bits: bool,
    /// Flow control by RTS and CTS.
    pub rtscts: bool,
}

impl Uart {
    /// Understands `DEVICE[@BAUD]` and the keys of the line.
    pub(super) fn parse(address: &str, keys: &mut Keys) -> Result<Self, Fault> {
        let bad = |form: &str| Fault::new(format!("serial:{address}: expected {form}"));
        let (device, baud) = match address.rsplit_once('@') {
            Some((device, baud)) => {
                let baud = value::number(baud, 50..=12_000_000);
                (device, baud.map_err(|form| bad(&format!("DEVICE@BAUD, BAUD {form}")))?)
            }
            None => (address, BAUD),
        };
        let device = value::path(device).map_err(|form| bad(&form))?;
        let parity = keys.value("parity", |text| match text {
            "none" => Ok(Parity::None),
            "even" => Ok(Parity::Even),
            "odd" => Ok(Parity::Odd),
            _ => Err("none, even or odd".to_owned()),
        })?;
        let stop = keys.value("stop", |text| value::number(text, 1..=2u8))?;
        Ok(Self {
            device,
            baud,
            parity: parity.unwrap_or(Parity::None),
            two_stop_bits: stop == Some(2),
            rtscts: keys.flag("rtscts")?.unwrap_or(false),
        })
    }

    /// Writes its keys, leaving out what is the default.
    pub(super) fn write(&self, out: &mut Writer) {
        out.option("parity", (self.parity != Parity::None).then(|| self.parity.word()));
        out.option("stop", self.two_stop_bits.then_some(2));
        if self.rtscts {
            out.flag("rtscts");
        }
    }
}
