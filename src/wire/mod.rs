//! What is on the wire: addresses, views of headers, checksums. Pure functions over bytes; nothing here panics on
//! input or allocates per frame.

mod addr;
mod head;
mod offload;

pub use addr::{Cidr, Mac};
pub use head::{stations, vlan_tags};
pub use offload::{BadOffload, Checksum, Gso, Offload};
