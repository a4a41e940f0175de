//! Captures: what is wanted of them ([`Wish`]), which frames are meant ([`filter`]), the file that they are
//! ([`Recorder`], [`pcapng`]), how a frame reads in a line ([`mod@line`]), what became of frames ([`fates`]), and frames made
//! of words ([`words`]). No descriptor and no clock: bytes and times come in, bytes and lines come out.

pub mod fates;
pub mod filter;
pub mod line;
pub mod pcapng;
mod record;
mod sight;
mod wish;
pub mod words;

pub use record::{Counted, Piece, PortNews, Recorder};
pub use sight::{Part, Sight, Sights};
pub use wish::{SNAP_RANGE, Wish};
