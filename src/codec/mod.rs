//! How frames are marked in a stream of bytes.

mod length_prefix;

pub use length_prefix::{BadLength, LengthPrefix};
