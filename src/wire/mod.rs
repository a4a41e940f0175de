//! What is on the wire: addresses, views of headers, checksums. Pure functions over bytes; nothing here panics on
//! input or allocates per frame.

mod addr;
pub(crate) mod arp;
pub(crate) mod checksum;
pub(crate) mod coalesce;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod head;
pub(crate) mod headers;
pub(crate) mod ip;
pub(crate) mod layers;
pub(crate) mod neighbour;
mod offload;
pub(crate) mod rewrite;
pub(crate) mod segment;
pub(crate) mod view;

pub use addr::{BadCidr, BadMac, Cidr, Mac};
pub(crate) use coalesce::{Coalescer, Merged};
pub(crate) use head::{stations, vlan_tags};
pub use offload::{BadOffload, Checksum, Gso, Offload};
pub(crate) use rewrite::Rewriter;
pub use rewrite::Rule;
pub(crate) use segment::finish;
pub(crate) use view::Ethernet;
