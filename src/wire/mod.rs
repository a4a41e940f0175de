//! What is on the wire: addresses, views of headers, checksums. Pure functions over bytes; nothing here panics on
//! input or allocates per frame.

mod addr;
pub mod arp;
pub mod checksum;
pub mod coalesce;
#[cfg(test)]
pub(crate) mod fixture;
mod head;
pub mod ip;
pub mod layers;
pub mod neighbour;
mod offload;
pub mod rewrite;
pub mod segment;
pub mod view;

pub use addr::{Cidr, Mac};
pub use coalesce::{Coalescer, Merged};
pub use head::{stations, vlan_tags};
pub use layers::BadFrame;
pub use offload::{BadOffload, Checksum, Gso, Offload};
pub use rewrite::{Rewriter, Rule};
pub use segment::{finish, finish_checksum};
pub use view::{BadEthernet, Ethernet, Tag};
