//! The one table of drop reasons: what programs see of each, what people read, and what they can do.

/// Declares [`DropReason`] and its table in one place.
macro_rules! drop_reasons {
    ($($name:ident, $word:literal, $stage:ident, $meaning:literal, $advice:literal;)+) => {
        /// Why a frame, or one copy of it, ended early.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum DropReason {
            $(#[doc = $meaning] $name,)+
        }

        /// The table of drop reasons, in the order of the enum.
        pub const DROP_REASONS: &[DropRow] = &[
            $(DropRow {
                reason: DropReason::$name,
                word: $word,
                stage: Stage::$stage,
                meaning: $meaning,
                advice: $advice,
            },)+
        ];
    };
}

/// Where a frame was when it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// The whole frame ended on its way in: no copy was made.
    Ingress,
    /// One copy ended on its way out of one port.
    Egress,
}

impl Stage {
    /// Its word in output and JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ingress => "in",
            Self::Egress => "out",
        }
    }
}

/// A row of the table: what programs see (`word`) and what people read (`meaning`, `advice`).
#[non_exhaustive]
pub struct DropRow {
    /// The reason.
    pub reason: DropReason,
    /// Its name in output and JSON.
    pub word: &'static str,
    /// Way in or way out.
    pub stage: Stage,
    /// One line on what happened.
    pub meaning: &'static str,
    /// One line on what to do.
    pub advice: &'static str,
}

drop_reasons! {
    Malformed, "malformed", Ingress, "shorter than an Ethernet header (14 bytes)",
        "the sender frames in another way: compare the kind of the port with what the peer speaks";
    Oversize, "oversize", Ingress, "longer than the port's mtu and its VLAN tags allow",
        "raise `mtu=` of the port, or lower the mtu of the sender's interface";
    IngressDown, "ingress-down", Ingress, "the port that it came from was down",
        "`zbridge status` says why the port is down; what is sent before it is up is lost";
    ReservedGroup, "reserved-group", Ingress,
        "to 01-80-C2-00-00-00..0F, which a bridge never relays (IEEE 802.1Q 8.6.3)",
        "nothing is wrong: LLDP, STP, LACP, EAPOL and gPTP end at the next bridge, which is this one";
    SameSegment, "same-segment", Ingress, "the destination is on the port that the frame came from",
        "nothing is wrong if both hosts are behind that port; if not, two have one MAC address: `zbridge stations` marks it";
    NoEgress, "no-egress", Ingress, "no other port that is up may take it",
        "attach another port or peer: `zbridge status` shows which ports wait, and for what";
    LineNoise, "line-noise", Ingress, "bytes on a serial line that were no frame: some were lost, or were never one",
        "compare speed and flow control on both sides; no console or log may share the line";
    Unresolved, "unresolved", Ingress, "from an IP-only peer, for a host that nobody answered for",
        "compare the address with those of `zbridge stations`: that host is off, or on another switch";
    Isolated, "isolated", Ingress, "between two ports that are both isolated",
        "leave out `isolate` on one of the two ports if they are to talk";
    Guarded, "guarded", Ingress,
        "it claims a MAC or IP address that is another port's, or is neighbour discovery in fragments (`guard`)",
        "the log names the address and its port: give the sender another one (`rewrite=`), or leave out `guard`";
    RxLost, "rx-lost", Ingress, "lost on the way in, as the port's impairments say",
        "as configured: `rx.loss`, `rx.nth` of the port; `zbridge set PORT rx.loss=0` ends it";
    RxFull, "rx-full", Ingress, "more were held on the way in than the port's impairments allow",
        "as configured: `rx.delay` or `rx.rate` holds frames back; raise `rx.limit`, or send less";
    RxDown, "rx-down", Ingress, "the port was set down, as if its cable were pulled",
        "as told: `zbridge set PORT up` ends it; with the key `down`, a port is so from its start";
    TooBig, "too-big", Egress, "longer than the mtu of the port it should leave by, or than its medium can carry",
        "give both sides one mtu: raise `mtu=` of this port, or lower the mtu of the sender's interface";
    BadOffload, "bad-offload", Egress, "its checksum or segments could not be finished: it is not what its port said of it",
        "the sender's driver is at fault: switch its offloads off (`ethtool -K IFNAME tx off tso off`)";
    QueueFull, "queue-full", Egress, "the port's queue was full: of frames (`queue=`), or of bytes (8 MiB)",
        "the peer reads more slowly than it is sent to: `queue=` bridges a longer burst, of up to 8 MiB; beyond, send less";
    QueuesFull, "queues-full", Egress, "the queues of the switch held together what they may (queue-limit=)",
        "find the ports with much `queued` in `zbridge status`, or raise `queue-limit=` of the switch";
    Stalled, "stalled", Egress, "the port's queue was full because its peer has not been reading for a while",
        "look at the peer: it hangs, or is stopped in a debugger; it gets frames again as soon as it reads";
    LinkDown, "link-down", Egress, "the port was down",
        "`zbridge status` says why the port is down: no cable, no carrier, or the interface is not set up";
    NoPeer, "no-peer", Egress, "nobody was at the other end",
        "attach a peer: `zbridge status` shows the line to paste";
    NotForPeer, "not-for-peer", Egress, "nothing that the IP-only peer of the port could use",
        "nothing is wrong: a peer that speaks bare IP has no use for other protocols and other hosts' frames";
    RadioLoss, "radio-loss", Egress, "lost on the air, as the links of the medium say",
        "as configured: `links=` of the switch says with what probability a frame arrives";
    Collision, "collision", Egress, "lost on the air: the receiver was busy with another frame",
        "as configured (`collisions`): nodes that do not hear each other sent at the same time";
    TxLost, "tx-lost", Egress, "lost on the way out, as the port's impairments say",
        "as configured: `tx.loss`, `tx.nth` of the port; `zbridge set PORT tx.loss=0` ends it";
    TxFull, "tx-full", Egress, "more were held on the way out than the port's impairments allow",
        "as configured: `tx.delay` or `tx.rate` holds frames back; raise `tx.limit`, or send less";
    TxDown, "tx-down", Egress, "still queued or held when the port was set down, or to a station that is bound to it",
        "as told: `zbridge set PORT up` ends it; with the key `down`, a port is so from its start";
    Cut, "cut", Egress, "between two ports that were cut from each other",
        "as told: `zbridge heal` ends all cuts, and says which there were";
    System, "system", Egress, "the system refused it (no buffers, I/O error)",
        "look at the log and at the machine's memory; on an interface, `ip -s link` has its own errors";
    Removed, "removed", Egress, "still queued when its port was removed, or at the end",
        "nothing to do: it waited for a peer that has gone with its port";
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = DROP_REASONS.len();

    /// This reason's row.
    pub fn row(self) -> &'static DropRow {
        &DROP_REASONS[self as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_enum_and_words_are_unique() {
        for (index, row) in DROP_REASONS.iter().enumerate() {
            assert_eq!(row.reason as usize, index);
            assert_eq!(DROP_REASONS.iter().filter(|other| other.word == row.word).count(), 1, "{}", row.word);
        }
    }
}
