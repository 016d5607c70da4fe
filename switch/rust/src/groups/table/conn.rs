//! One connection: what is kept of it, and how long.

use crate::groups::packet::Key;
use crate::groups::tcp::{self, Half, Knock};
use crate::{Nanos, PortId};

/// Coarse time: about milliseconds.
#[inline]
pub(in crate::groups) fn coarse(now: Nanos) -> u32 {
    (now >> 20) as u32
}

pub(super) const fn seconds(n: u64) -> u32 {
    ((n * 1_000_000_000) >> 20) as u32
}

/// What a connection is at, and how long it lives on from its last packet in that state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum State {
    Tcp(tcp::State),
    /// Any other protocol; ICMP queries.
    New,
    Answered,
    Query,
}

impl State {
    /// For people.
    pub(in crate::groups) fn name(self) -> &'static str {
        match self {
            State::Tcp(tcp::State::SynSent) => "syn-sent",
            State::Tcp(tcp::State::SynReceived) => "syn-received",
            State::Tcp(tcp::State::Established) => "established",
            State::Tcp(tcp::State::Closing) => "closing",
            State::Tcp(tcp::State::TimeWait) => "time-wait",
            State::Tcp(tcp::State::Closed) => "closed",
            State::New => "new",
            State::Answered => "answered",
            State::Query => "query",
        }
    }

    /// TCP: established for a day, where RFC 5382 asks for two hours and four minutes; UDP as in RFC
    /// 4787, 4.3.
    pub(in crate::groups) fn lifetime(self) -> u32 {
        const { assert!(seconds(86_400) < u32::MAX / 4) };
        match self {
            State::Tcp(tcp::State::Established) => seconds(86_400),
            State::Tcp(tcp::State::Closing | tcp::State::TimeWait) => seconds(120),
            State::Tcp(tcp::State::SynSent | tcp::State::SynReceived) => seconds(60),
            State::Tcp(tcp::State::Closed) => seconds(10),
            State::New | State::Query => seconds(30),
            State::Answered => seconds(180),
        }
    }
}

/// One connection. The first cache line is all that a packet of it needs that does not go the short way, but for
/// TCP's windows, which are all that one needs which does.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(in crate::groups) struct Conn {
    /// All zero: nobody's place.
    pub(in crate::groups) key: Key,
    /// The next one in the chain, or of places that are free.
    pub(super) next: u32,
    /// When it was last heard, but for what goes the short way: see `line.rs`.
    pub(in crate::groups) heard: u32,
    /// By end: the stamp of the port and rules that last allowed it there.
    pub(in crate::groups) allowed: [u32; 2],
    pub(in crate::groups) state: State,
    pub(in crate::groups) origin: u8,
    pub(super) answered: bool,
    pub(super) owner: PortId,
    /// It had a place in its line, and may have it yet.
    pub(super) placed: bool,
    pub(in crate::groups) halves: [Half; 2],
    /// Neighbours in the owner's list: (older, newer).
    pub(super) list: (u32, u32),
    pub(in crate::groups) born: u32,
    pub(super) hash: u32,
    /// Destination port, or type and code, of its first packet.
    pub(in crate::groups) number: u16,
    /// Ports of the switch at which it began: the one that its first packet came in by, and the two latest others whose
    /// gates let something of the end that began come in. `u16::MAX`: none.
    pub(in crate::groups) began: [PortId; 3],
    pub(in crate::groups) knock: Knock,
}

impl Conn {
    /// Whether it is over.
    #[inline]
    pub(in crate::groups) fn is_old(&self, now: u32) -> bool {
        now.wrapping_sub(self.heard) > self.state.lifetime()
    }

    /// Whether it began at this port, too.
    pub(in crate::groups) fn began_at(&self, port: PortId) -> bool {
        self.began.contains(&port)
    }

    /// It did.
    pub(in crate::groups) fn begin_at(&mut self, port: PortId) {
        if !self.began_at(port) {
            let [first, _, latest] = self.began;
            self.began = [first, latest, port];
        }
    }

    /// Who pays for it.
    pub(in crate::groups) fn owner(&self) -> PortId {
        self.owner
    }
}

/// What a connection begins with.
pub(in crate::groups) struct Birth {
    pub(in crate::groups) key: Key,
    pub(in crate::groups) origin: usize,
    pub(in crate::groups) state: State,
    pub(in crate::groups) halves: [Half; 2],
    pub(in crate::groups) number: u16,
    pub(in crate::groups) began: PortId,
    pub(in crate::groups) allowed: [u32; 2],
    pub(in crate::groups) owner: PortId,
    /// How many the owner may have.
    pub(in crate::groups) limit: u32,
    /// The one with the same ends that it takes the place of.
    pub(in crate::groups) instead: Option<u32>,
}
