//! Where a hash leads: one cache line. It has the head of a chain of connections, and beside it, of two of
//! them, all that the short way asks for (`quick.rs`): thousands of connections don't fit the fastest caches, and
//! each line that a packet needs from farther away costs as much as copying one of its payload.
//!
//! What is said here of a connection may be older than what is known there, but never wrong: stamps are of rules
//! that did let it pass; whoever changes its state, or forgets it, says so here. That it was heard is
//! written down when the last time is some `STALE` ago, here and there: a line that is only read need not be written
//! back to memory.

use super::conn::{Conn, State, seconds};
use super::{Key, NONE};
use crate::VlanId;
use crate::groups::tcp;
use crate::headers::{TCP, UDP};

/// After this a connection is looked at again: so one that is kept up by the short way alone may end so much
/// sooner than its time.
pub(in crate::groups) const STALE: u32 = seconds(1) / 2;
/// After this another one may have the place.
const QUIET: i32 = seconds(1) as i32;

/// Both ends of a connection or a packet of IPv4, ascending, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct Ends {
    pub(in crate::groups) low: u32,
    pub(in crate::groups) high: u32,
    /// Of the low end, of the high one.
    pub(in crate::groups) ports: u32,
    /// VLAN, `IS_TCP`, `KNOWN`, and from which ends packets need nobody's leave, or this one comes.
    /// 0: it does not go this way.
    pub(in crate::groups) what: u16,
}

/// Bits of `what` above the VLAN.
const FROM_LOW: u16 = 1 << 12;
const FROM_HIGH: u16 = 1 << 13;
const IS_TCP: u16 = 1 << 14;
const KNOWN: u16 = 1 << 15;
const VLAN: u16 = FROM_LOW - 1;

impl Ends {
    /// What a packet of UDP or TCP, sent by the `near` end (0: the low one), says.
    #[inline]
    pub(in crate::groups) fn what(vlan: VlanId, tcp: bool, near: usize) -> u16 {
        let from = FROM_LOW << (near & 1);
        let tcp = if tcp { IS_TCP } else { 0 };
        vlan & VLAN | KNOWN | tcp | from
    }

    #[inline]
    pub(in crate::groups) fn vlan(&self) -> VlanId {
        self.what & VLAN
    }

    #[inline]
    pub(in crate::groups) fn is_tcp(&self) -> bool {
        self.what & IS_TCP != 0
    }
}

/// What the short way asks for of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Brief {
    pub(in crate::groups) ends: Ends,
    /// By end: the stamp of the port and rules that allowed it there.
    pub(in crate::groups) allowed: [u32; 2],
    pub(in crate::groups) heard: u32,
}

impl Brief {
    /// Of a connection, as far as it goes this way.
    pub(super) fn of(conn: &Conn) -> Brief {
        let Key([a, low, b, high, word]) = conn.key;
        let (family, proto, vlan) = (word >> 8 & 0xff, word as u8, (word >> 16) as u16);
        let from = match conn.state {
            State::Tcp(tcp::State::Established) if proto == TCP => FROM_LOW | FROM_HIGH | IS_TCP,
            State::Answered if proto == UDP => FROM_LOW | FROM_HIGH,
            State::New if proto == UDP => FROM_LOW << (conn.origin & 1),
            _ => 0,
        };
        let goes = from != 0 && family == 4 && a | b == 0 && vlan & !VLAN == 0;
        Brief {
            ends: Ends {
                low: low as u32,
                high: high as u32,
                ports: (word >> 32) as u32,
                what: if goes { from | vlan | KNOWN } else { 0 },
            },
            allowed: conn.allowed,
            heard: conn.heard,
        }
    }
}

/// Two connections in brief, and the chain of all.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(in crate::groups) struct Line {
    ends: [[u32; 3]; 2],
    allowed: [[u32; 2]; 2],
    heard: [u32; 2],
    at: [u32; 2],
    what: [u16; 2],
    /// The first connection of the chain.
    pub(super) head: u32,
}

impl Line {
    pub(super) const EMPTY: Line = Line {
        ends: [[0; 3]; 2],
        allowed: [[0; 2]; 2],
        heard: [0; 2],
        at: [NONE; 2],
        what: [0; 2],
        head: NONE,
    };

    /// The place of the connection between these ends, if a packet from there goes the short way. Only
    /// whether there is one decides a branch: which of the two, nobody can guess before the line is there.
    #[inline]
    pub(in crate::groups) fn find(&self, ends: &Ends) -> Option<usize> {
        let (first, second) = (self.differs(0, ends), self.differs(1, ends));
        (first.min(second) == 0).then_some(usize::from(first != 0))
    }

    /// Whether it is there.
    #[inline]
    pub(in crate::groups) fn is_at(&self, place: usize, ends: &Ends) -> bool {
        self.differs(place, ends) == 0
    }

    #[inline]
    fn differs(&self, place: usize, ends: &Ends) -> u32 {
        let [low, high, ports] = self.ends[place & 1];
        // From which other end its packets may come does not matter.
        let sure = ends.what | !(FROM_LOW | FROM_HIGH);
        let what = (self.what[place & 1] & sure) ^ ends.what;
        (low ^ ends.low) | (high ^ ends.high) | (ports ^ ends.ports) | u32::from(what)
    }

    /// By end, the stamps; when it was heard; where all of it is.
    #[inline]
    pub(in crate::groups) fn get(&self, place: usize) -> ([u32; 2], u32, u32) {
        (self.allowed[place & 1], self.heard[place & 1], self.at[place & 1])
    }

    /// The connection at `at`, which was just heard, in brief. It has a place already, or gets one where nobody
    /// is, or somebody who is quiet, so that three that are busy don't take each other's in turn. `false`: it
    /// goes the short way and has none.
    pub(super) fn note(&mut self, at: u32, brief: &Brief) -> bool {
        let heard = brief.heard;
        let which = |good: &dyn Fn(usize) -> bool| [0, 1].into_iter().find(|&place| good(place));
        let known = which(&|place| self.at[place] == at);
        if brief.ends.what == 0 {
            if let Some(place) = known {
                self.clear(place);
            }
            return true;
        }
        let free = || which(&|place| self.at[place] == NONE);
        // Of one that is behind, when it was heard may be written down later than of another.
        let since = |place: usize| heard.wrapping_sub(self.heard[place]) as i32;
        let quiet = || which(&|place| since(place) > QUIET);
        let Some(place) = known.or_else(free).or_else(quiet) else { return false };
        let Ends { low, high, ports, what } = brief.ends;
        self.ends[place & 1] = [low, high, ports];
        self.what[place & 1] = what;
        self.allowed[place & 1] = brief.allowed;
        self.heard[place & 1] = heard;
        self.at[place & 1] = at;
        true
    }

    /// There is no connection at `at` any more.
    pub(super) fn forget(&mut self, at: u32) {
        for place in [0, 1] {
            if self.at[place] == at {
                self.clear(place);
            }
        }
    }

    fn clear(&mut self, place: usize) {
        (self.what[place & 1], self.at[place & 1]) = (0, NONE);
    }

    /// The connections that have a place, and what is said of them.
    #[cfg(test)]
    pub(super) fn briefs(&self) -> impl Iterator<Item = (u32, Brief)> {
        [0, 1].into_iter().filter(|&place| self.at[place] != NONE).map(|place| {
            let ([low, high, ports], what) = (self.ends[place], self.what[place]);
            let (allowed, heard, at) = self.get(place);
            (at, Brief { ends: Ends { low, high, ports, what }, allowed, heard })
        })
    }
}
