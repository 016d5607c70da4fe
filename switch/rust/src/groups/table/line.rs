//! Where a hash leads: one cache line, in which is, of four connections, all that the short way asks for (`quick.rs`):
//! thousands of connections don't fit the fastest caches, and each line that a packet needs from farther away costs as
//! much as copying one of its payload. In columns, so that all four are compared at once.
//!
//! What is said here of a connection may be older than what is known there, but never wrong: stamps are of rules
//! that did let it pass; whoever changes its state, or forgets it, says so here. That it was heard is
//! written down when the last time is some `STALE` ago, here and there: a line that is only read need not be written
//! back to memory.

use super::NONE;
use super::common::{Common, Commons, NOBODY};
use super::conn::seconds;

/// After this a connection is looked at again: so one that is kept up by the short way alone may end so much
/// sooner than its time.
pub(in crate::groups) const STALE: u32 = 512;
/// After this another one may have the place.
const QUIET: i32 = seconds(1) as i32;
/// Connections that have a place.
pub(super) const PLACES: usize = 4;

/// What is known of a connection that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Brief {
    /// As a packet has them, the low end's first.
    pub(super) ports: u32,
    /// The number of what it has in common with others.
    pub(in crate::groups) common: u32,
    pub(in crate::groups) heard: u32,
    /// Where all of it is.
    pub(in crate::groups) at: u32,
}

/// Four connections in brief.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(in crate::groups) struct Line {
    ports: [u32; PLACES],
    commons: [u32; PLACES],
    heard: [u32; PLACES],
    at: [u32; PLACES],
}

impl Line {
    pub(super) const EMPTY: Line =
        Line { ports: [0; PLACES], commons: [NOBODY; PLACES], heard: [0; PLACES], at: [NONE; PLACES] };

    /// Whether a connection with these ports, which has that in common with others and was heard a moment ago, is there; and
    /// if so, where all of it is. No branch: in which place it is nobody can guess.
    #[inline(always)]
    pub(in crate::groups) fn find(&self, ports: u32, common: u32, now: u32) -> (bool, u32) {
        const { assert!(STALE.is_power_of_two()) };
        let (mut any, mut at) = (0, 0);
        for i in 0..PLACES {
            let stale = now.wrapping_sub(self.heard[i]) & !(STALE - 1);
            let differs = (self.ports[i] ^ ports) | (self.commons[i] ^ common) | stale;
            // All bits, or none.
            let here = u32::from(differs == 0).wrapping_neg();
            any |= here;
            at |= self.at[i] & here;
        }
        (any != 0, at)
    }

    /// What is in the places of connections that have these ports.
    #[inline(always)]
    pub(in crate::groups) fn with(&self, ports: u32) -> impl Iterator<Item = Brief> {
        (0..PLACES).filter(move |&place| self.ports[place] == ports).map(|place| self.get(place))
    }

    /// What is in the places that somebody has.
    pub(super) fn briefs(&self) -> impl Iterator<Item = Brief> {
        (0..PLACES).map(|place| self.get(place)).filter(|brief| brief.at != NONE)
    }

    #[inline(always)]
    fn get(&self, place: usize) -> Brief {
        let place = place % PLACES;
        Brief {
            ports: self.ports[place],
            common: self.commons[place],
            heard: self.heard[place],
            at: self.at[place],
        }
    }

    fn set(&mut self, place: usize, brief: Brief) {
        let place = place % PLACES;
        self.ports[place] = brief.ports;
        self.commons[place] = brief.common;
        self.heard[place] = brief.heard;
        self.at[place] = brief.at;
    }

    /// Whether a place is nobody's.
    pub(in crate::groups) fn has_room(&self) -> bool {
        self.at.contains(&NONE)
    }

    /// One that had a place in the line that was split: it has one here.
    pub(super) fn take_in(&mut self, brief: Brief) {
        if let Some(place) = self.at.iter().position(|at| *at == NONE) {
            self.set(place, brief);
        }
    }

    /// The connection at `at` was just heard; what it has in common with others, and its ports, if it goes the short way.
    /// It has a place already, or gets one where nobody is, or somebody who is quiet, so that five that are busy don't
    /// take each other's in turn.
    pub(super) fn note(&mut self, at: u32, heard: u32, goes: Option<(Common, u32)>, commons: &mut Commons) {
        let known = self.at.iter().position(|other| *other == at);
        let Some((common, ports)) = goes else {
            if let Some(place) = known {
                self.clear(place, commons);
            }
            return;
        };
        let free = || self.at.iter().position(|other| *other == NONE);
        // Of one that is behind, when it was heard may be written down later than of another.
        let quiet = || self.heard.iter().position(|since| heard.wrapping_sub(*since) as i32 > QUIET);
        let Some(place) = known.or_else(free).or_else(quiet) else { return };
        let old = self.get(place).common;
        let same = commons.get(old) == Some(&common);
        let number = if same { old } else { commons.take(&common) };
        if !same {
            commons.give_back(old);
        }
        self.set(place, Brief { ports, common: number, heard, at });
    }

    /// There is no connection at `at` any more.
    pub(super) fn forget(&mut self, at: u32, commons: &mut Commons) {
        if let Some(place) = self.at.iter().position(|other| *other == at) {
            self.clear(place, commons);
        }
    }

    fn clear(&mut self, place: usize, commons: &mut Commons) {
        commons.give_back(self.get(place).common);
        self.set(place, Brief { ports: 0, common: NOBODY, heard: 0, at: NONE });
    }
}
