//! What is on the wire: addresses, views of headers, checksums. Pure functions over bytes; nothing here panics on
//! input or allocates per frame.

mod addr;
pub mod checksum;
mod offload;
pub mod view;

pub use addr::{Cidr, Mac};
pub use offload::{BadOffload, Checksum, Gso, Offload};
pub use view::{BadEthernet, Ethernet, Tag};
