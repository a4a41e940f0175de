//! What a monitor on the switch sees of another port: `mirror=PORT[:rx|tx|both]`.

use super::grammar::{Fault, Keys};
use super::value::{self, Parsed};
use std::fmt;

/// How the value is written.
const FORM: &str = "the name of a port, perhaps with :rx, :tx or :both behind it";

/// Copies of what a port sends or is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Mirror {
    /// The port, by name; a listener stands for its clients. It may come later.
    pub port: String,
    /// What it sends into the switch.
    pub rx: bool,
    /// What is sent to it.
    pub tx: bool,
}

impl Mirror {
    /// Parses `PORT[:rx|tx|both]`.
    pub(super) fn parse(text: &str) -> Parsed<Self> {
        let (port, way) = text.split_once(':').unwrap_or((text, "both"));
        let (rx, tx) = match way {
            "rx" => (true, false),
            "tx" => (false, true),
            "both" => (true, true),
            _ => return Err(FORM.to_owned()),
        };
        // A client has a number behind its listener's name.
        let (name, number) = port.split_once('#').unwrap_or((port, "1"));
        value::name(name).map_err(|_| FORM.to_owned())?;
        number.parse::<u32>().map_err(|_| FORM.to_owned())?;
        Ok(Self { port: port.to_owned(), rx, tx })
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match (self.rx, self.tx) {
            (true, false) => ":rx",
            (false, true) => ":tx",
            _ => "",
        };
        write!(out, "{}{way}", self.port)
    }
}

/// Takes all mirrors; none with `mirror=off`. `None`: the key is not there.
///
/// # Errors
/// A wrong value, or `off` beside another.
pub(super) fn take(keys: &mut Keys) -> Result<Option<Vec<Mirror>>, Fault> {
    let read = |text: &str| if text == "off" { Ok(None) } else { Mirror::parse(text).map(Some) };
    let values = keys.values("mirror", read)?;
    if values.len() > 1 && values.contains(&None) {
        return Err(Fault::new("mirror=off stands alone"));
    }
    Ok((!values.is_empty()).then(|| values.into_iter().flatten().collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_and_their_words() {
        for (text, again) in [("a", "a"), ("a:both", "a"), ("a#12:rx", "a#12:rx"), ("inst.1:tx", "inst.1:tx")] {
            assert_eq!(Mirror::parse(text).unwrap().to_string(), again);
        }
        for wrong in ["", ":rx", "a:", "a:in", "a b", "a#", "a#x", "#1", "a:rx:tx"] {
            assert!(Mirror::parse(wrong).is_err(), "{wrong}");
        }
    }
}
