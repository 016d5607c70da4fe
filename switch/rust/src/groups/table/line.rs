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
pub(in crate::groups) const STALE: u32 = 512;
/// After this another one may have the place.
const QUIET: i32 = seconds(1) as i32;

/// Both ends of a connection or a packet of IPv4, by ascending address, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::groups) struct Ends {
    /// Of the low end, of the high one. Never the same: of such no line says anything.
    pub(in crate::groups) addresses: u64,
    /// Their ports, as a packet has them; below these `IS_TCP`, `KNOWN`, from which ends packets need nobody's leave, or
    /// this one comes, and the VLAN; and 16 bits that are a line's own. 0: it does not go this way.
    pub(in crate::groups) word: u64,
}

/// Bits of `word`.
const OWN: u64 = 0xffff;
const VLAN: u64 = 0xfff << 16;
const FROM_LOW: u64 = 1 << 28;
const FROM_HIGH: u64 = 1 << 29;
const IS_TCP: u64 = 1 << 30;
const KNOWN: u64 = 1 << 31;

impl Ends {
    /// The word of packets of UDP or TCP, sent by the `near` end (0: the low one), but for the ports.
    #[inline]
    pub(in crate::groups) fn what(vlan: VlanId, tcp: bool, near: usize) -> u64 {
        let from = FROM_LOW << (near & 1);
        let tcp = if tcp { IS_TCP } else { 0 };
        u64::from(vlan) << 16 & VLAN | KNOWN | tcp | from
    }

    /// As a packet has them: not this machine's order of bytes.
    #[inline]
    pub(in crate::groups) fn ports(&self) -> u32 {
        (self.word >> 32) as u32
    }

    #[inline]
    pub(in crate::groups) fn vlan(&self) -> VlanId {
        ((self.word & VLAN) >> 16) as u16
    }

    #[inline]
    pub(in crate::groups) fn is_tcp(&self) -> bool {
        self.word & IS_TCP != 0
    }

    /// Such a packet does not go this way, wherever its connection is: from an address to itself, or of DHCP.
    pub(in crate::groups) fn is_odd(&self) -> bool {
        let ports = u32::from_be(self.ports());
        let ports = [ports >> 16, ports & 0xffff];
        let dhcp = !self.is_tcp() && ports.iter().any(|port| matches!(port, 67 | 68));
        self.word == 0 || dhcp || self.addresses == self.addresses.rotate_left(32)
    }
}

/// What connections are looked for by that have all but their ports in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::groups) struct Sought {
    addresses: u64,
    /// Bits of the word that say something: from which other end packets may come does not matter.
    sure: u64,
}

impl Sought {
    #[inline]
    pub(in crate::groups) fn of(ends: &Ends) -> Sought {
        Sought { addresses: ends.addresses, sure: !(OWN | FROM_LOW | FROM_HIGH) | ends.word }
    }
}

/// What the short way asks for of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Brief {
    pub(in crate::groups) ends: Ends,
    /// The stamps of the ports and rules that allowed it, of the low end and, above, of the high one.
    pub(in crate::groups) allowed: u64,
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
        let ports = u64::from(((word >> 32) as u32).to_be()) << 32;
        let mut ends =
            Ends { addresses: low << 32 | high, word: ports | from | u64::from(vlan) << 16 | KNOWN };
        let goes = from != 0 && family == 4 && a | b == 0 && vlan >> 12 == 0;
        if !goes || ends.is_odd() {
            ends.word = 0;
        }
        let [one, other] = conn.allowed;
        Brief { ends, allowed: u64::from(other) << 32 | u64::from(one), heard: conn.heard }
    }
}

/// Two connections in brief, and the chain of all, the first connection of which is in what their words leave of 32 bits.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(in crate::groups) struct Line {
    addresses: [u64; 2],
    words: [u64; 2],
    allowed: [u64; 2],
    heard: [u32; 2],
    at: [u32; 2],
}

impl Line {
    pub(super) const EMPTY: Line =
        Line { addresses: [0; 2], words: [OWN; 2], allowed: [0; 2], heard: [0; 2], at: [NONE; 2] };

    /// The first connection of the chain.
    #[inline]
    pub(in crate::groups) fn head(&self) -> u32 {
        let [low, high] = self.words;
        ((high & OWN) << 16 | low & OWN) as u32
    }

    pub(super) fn set_head(&mut self, at: u32) {
        let [low, high] = &mut self.words;
        *low = *low & !OWN | u64::from(at) & OWN;
        *high = *high & !OWN | u64::from(at) >> 16;
    }

    /// The place of the connection that is sought, with this word, or another one. No branch: which of the two it is,
    /// nobody can guess before the line is there. Should both have the same ports, but other addresses, it may
    /// be the other one all the same, and the chain has it.
    #[inline]
    pub(in crate::groups) fn find(&self, sought: &Sought, word: u64) -> usize {
        usize::from(self.words[0] & sought.sure != word)
    }

    /// 0 if it is there, and a packet from there goes the short way.
    #[inline]
    pub(in crate::groups) fn differs(&self, place: usize, sought: &Sought, word: u64) -> u64 {
        (self.addresses[place & 1] ^ sought.addresses) | ((self.words[place & 1] & sought.sure) ^ word)
    }

    /// The stamps; when it was heard; where all of it is.
    #[inline]
    pub(in crate::groups) fn get(&self, place: usize) -> (u64, u32, u32) {
        (self.allowed[place & 1], self.heard[place & 1], self.at[place & 1])
    }

    /// Whether a place is nobody's.
    pub(in crate::groups) fn has_room(&self) -> bool {
        self.at.contains(&NONE)
    }

    /// The connection at `at`, which was just heard, in brief. It has a place already, or gets one where nobody
    /// is, or somebody who is quiet, so that three that are busy don't take each other's in turn. `false`: it
    /// goes the short way and has none.
    pub(super) fn note(&mut self, at: u32, brief: &Brief) -> bool {
        let heard = brief.heard;
        let which = |good: &dyn Fn(usize) -> bool| [0, 1].into_iter().find(|&place| good(place));
        let known = which(&|place| self.at[place] == at);
        if brief.ends.word == 0 {
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
        self.addresses[place & 1] = brief.ends.addresses;
        self.say(place, brief.ends.word);
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
        self.say(place, 0);
        self.at[place & 1] = NONE;
    }

    /// Have this word but for what is the line's own in it.
    fn say(&mut self, place: usize, word: u64) {
        let old = &mut self.words[place & 1];
        *old = *old & OWN | word;
    }

    /// The connections that have a place, and what is said of them.
    #[cfg(test)]
    pub(super) fn briefs(&self) -> impl Iterator<Item = (u32, Brief)> {
        [0, 1].into_iter().filter(|&place| self.at[place] != NONE).map(|place| {
            let ends = Ends { addresses: self.addresses[place], word: self.words[place] & !OWN };
            let (allowed, heard, at) = self.get(place);
            (at, Brief { ends, allowed, heard })
        })
    }
}
