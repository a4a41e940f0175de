//! What the program, the tests, the benches and the fuzz targets of this crate use beyond its public names.
//!
//! It is no part of the library: no name here is promised from one version to the next. Whoever needs one of them to
//! embed zbridge should get a public name instead. The modules are the rooms that the names come from.
#![allow(missing_docs)]

pub mod capture {
    pub use crate::capture::filter::{Filter, Seen, WORDS, WordRow};
    pub use crate::capture::line::describe;
    pub use crate::capture::pcapng::LinkType;
    pub use crate::capture::pcapng::read::{BadBlock, Block, Blocks, Counted, Interface, Packet};
    pub use crate::capture::words::{Book, FORMS, LONGEST, Spoken};
}

pub mod cli {
    pub use crate::cli::{main, port_table};
}

pub mod codec {
    pub use crate::codec::{BadLength, LengthPrefix};

    pub mod slip {
        pub use crate::codec::slip::{Decoder, END, ESC, ESC_END, ESC_ESC, Event, Fault, encode, max_encoded};
    }

    pub mod uart_pipe {
        pub use crate::codec::uart_pipe::{Decoder, Event, MAX_FRAME, encode};
    }
}

pub mod control {
    pub use crate::control::line::Lines;
    pub use crate::control::reply::{Reply, print};
    pub use crate::control::request::Request;
}

pub mod scenario {
    pub use crate::scenario::{Condition, Look, compile, timeline};
}

pub mod limits {
    pub use crate::limits::{
        BATCH_BYTES, FDB_LIMIT_MAX, INHALE_BYTES, INHALE_FRAMES, MAX_FRAME, MIN_FRAME, NAT_MEMORY, PREFIX, SKIP_MAX,
    };
}

pub mod port {
    pub use crate::port::datagram::Sequenced;
    pub use crate::port::interface::LinkState;
    pub use crate::port::packet::Packet;
    pub use crate::port::seat::{Carrier, Seat};
    pub use crate::port::serial::Serial;
    pub use crate::port::stream::Stream;
    pub use crate::port::tap::{Tap, may_open_again};
    pub use crate::port::{Broken, Budget, Gone, Inhaled};

    pub mod frame_io {
        pub use crate::port::frame_io::{FrameIo, Got, Refusal, receive, transmit};
    }

    pub mod serial {
        pub use crate::port::serial::Octets;
    }

    pub mod stream {
        pub use crate::port::stream::Octets;
    }
}

pub mod service {
    pub use crate::service::nat::Nat;

    pub mod lan {
        pub use crate::service::lan::dhcp4::{Dhcp4, Dhcp4Config};
        pub use crate::service::lan::dhcp6::{Dhcp6, Dhcp6Config};
        pub use crate::service::lan::leases::{Fixed, Leases, Pool};

        pub mod client {
            pub use crate::service::lan::client::{Action, Client};

            pub mod frame {
                pub use crate::service::lan::client::frame::*;
            }
        }

        pub mod dns {
            pub use crate::service::lan::dns::{Client, Dns, DnsConfig, Names, Output};
        }

        pub mod tftp {
            pub use crate::service::lan::tftp::packet::Fault;
            pub use crate::service::lan::tftp::{Output, PORT, Tftp};
        }
    }
}

pub mod usbip {
    pub use crate::usbip::split::Splitter;
}

pub mod wire {
    pub use crate::wire::checksum::{Sum, update};
    pub use crate::wire::coalesce::Coalescer;
    pub use crate::wire::head::{stations, vlan_tags};
    pub use crate::wire::layers::{BadFrame, Layers, Network, Transport};
    pub use crate::wire::rewrite::Rewriter;
    pub use crate::wire::segment::{MAX_SEGMENTS, finish, finish_checksum, is_tunnelled, longest};
    pub use crate::wire::view::Ethernet;
}
