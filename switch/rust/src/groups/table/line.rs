//! Where a hash leads: one cache line, in which is, of eight connections, all that the short way asks for (`quick.rs`):
//! thousands of connections don't fit the fastest caches, and each line that a packet needs from farther away costs as
//! much as copying one of its payload. In columns, so that all eight are compared at once.
//!
//! What is said here of a connection may be older than what is known there, but never wrong: stamps are of rules
//! that did let it pass; whoever changes its state, or forgets it, says so here. That it was heard is
//! written down once in half a second: a line that is only read need not be written back to memory. When that was is kept
//! in a few bits, together with the number of what the connection has in common with others (`common.rs`), so that one
//! word says whether a packet passes. These bits come round in 37 minutes; who was not heard for so long has no place any
//! more ([`Table::tick`](super::Table::tick)).

use super::NONE;
use super::common::{Common, Commons, NOBODY};

/// For so long a connection is known to have been heard; then it is looked at again. So one that is kept up by the short way
/// alone may end so much sooner than its time.
pub(in crate::groups) const STALE: u32 = 1 << EPOCH;
const EPOCH: u32 = 9;
/// Bits of a tag that say when.
const WHEN: u32 = 32 - NOBODY.trailing_ones();
/// After so many epochs another one may have the place: a second at least.
const QUIET: u32 = 3;
/// Connections that have a place.
pub(super) const PLACES: usize = 8;

/// What a tag says of the connections in each place that have this in common and were heard at that time. Places have their
/// epochs begin one after the other, or all connections would be looked at again at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Tags([u32; PLACES]);

impl Tags {
    /// No connection has these.
    pub(in crate::groups) const NOBODYS: Tags = Tags([u32::MAX; PLACES]);

    #[inline]
    pub(in crate::groups) fn of(common: u32, heard: u32) -> Tags {
        let mut tags = [0; PLACES];
        for (tag, place) in tags.iter_mut().zip(0..) {
            *tag = common << WHEN | epoch(heard, place);
        }
        Tags(tags)
    }
}

/// When something is heard, as a tag says it.
#[inline]
fn epoch(time: u32, place: u32) -> u32 {
    time.wrapping_add(place * (STALE / PLACES as u32)) >> EPOCH & ((1 << WHEN) - 1)
}

/// What is known of a connection that has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Brief {
    /// Which one.
    pub(in crate::groups) place: usize,
    /// As a packet has them, the low end's first.
    pub(super) ports: u32,
    tag: u32,
}

impl Brief {
    /// The number of what it has in common with others.
    #[inline]
    pub(in crate::groups) fn common(&self) -> u32 {
        self.tag >> WHEN
    }

    /// Whether that it was heard at this time need not be written down.
    #[inline]
    pub(in crate::groups) fn is_fresh(&self, now: u32) -> bool {
        self.tag & ((1 << WHEN) - 1) == epoch(now, self.place as u32)
    }
}

/// Eight connections in brief.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(in crate::groups) struct Line {
    ports: [u32; PLACES],
    tags: [u32; PLACES],
}

/// Where all of them is.
#[derive(Clone, Debug)]
#[repr(C, align(32))]
pub(in crate::groups) struct Places([u32; PLACES]);

impl Places {
    pub(super) const EMPTY: Places = Places([NONE; PLACES]);

    /// Where all of the connection in a place is.
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> u32 {
        self.0[place % PLACES]
    }
}

impl Line {
    pub(super) const EMPTY: Line = Line { ports: [0; PLACES], tags: [NOBODY << WHEN; PLACES] };

    /// Whether a connection with these ports and tags is there. No branch: in which place it is nobody can guess.
    #[inline(always)]
    pub(in crate::groups) fn has(&self, ports: u32, tags: &Tags) -> bool {
        let mut any = false;
        for i in 0..PLACES {
            any |= self.is(i, ports, tags);
        }
        any
    }

    #[inline(always)]
    fn is(&self, place: usize, ports: u32, tags: &Tags) -> bool {
        (self.ports[place] ^ ports) | (self.tags[place] ^ tags.0[place]) == 0
    }

    /// What is in the places of connections that have these ports.
    #[inline]
    pub(in crate::groups) fn with(&self, ports: u32) -> impl Iterator<Item = Brief> {
        let mut bits = 0_u32;
        for i in 0..PLACES {
            bits |= u32::from(self.ports[i] == ports) << i;
        }
        std::iter::from_fn(move || {
            let place = bits.trailing_zeros() as usize;
            bits &= bits.wrapping_sub(1);
            (place < PLACES).then(|| self.get(place))
        })
    }

    #[inline(always)]
    fn get(&self, place: usize) -> Brief {
        let place = place % PLACES;
        Brief { place, ports: self.ports[place], tag: self.tags[place] }
    }
}

/// A line, and where those are that have a place in it.
pub(in crate::groups) struct Row<'a>(pub(super) &'a Line, pub(super) &'a Places);

impl Row<'_> {
    /// As [`Line::has`]; and if it is there, where all of it is.
    #[inline(always)]
    pub(in crate::groups) fn find(&self, ports: u32, tags: &Tags) -> (bool, u32) {
        let (mut any, mut at) = (0, 0);
        for i in 0..PLACES {
            // All bits, or none.
            let here = u32::from(self.0.is(i, ports, tags)).wrapping_neg();
            any |= here;
            at |= self.1.0[i] & here;
        }
        (any != 0, at)
    }

    /// What is in the places that somebody has, and who.
    pub(super) fn briefs(&self) -> impl Iterator<Item = (Brief, u32)> {
        let all = (0..PLACES).map(|place| (self.0.get(place), self.1.at(place)));
        all.filter(|(_, at)| *at != NONE)
    }

    /// Whether there is a place for the connection at `at`: its own, or nobody's.
    pub(in crate::groups) fn offers(&self, at: u32) -> bool {
        self.1.0.iter().any(|other| *other == at || *other == NONE)
    }
}

/// The same to be written to.
pub(super) struct RowMut<'a>(pub(super) &'a mut Line, pub(super) &'a mut Places);

impl RowMut<'_> {
    /// The connection at `at` has this place. Of one that had it in the line that was split it is the same one here, for
    /// epochs are of places.
    pub(super) fn set(&mut self, brief: Brief, at: u32) {
        let place = brief.place % PLACES;
        self.0.ports[place] = brief.ports;
        self.0.tags[place] = brief.tag;
        self.1.0[place] = at;
    }

    /// The connection at `at` was just heard; what it has in common with others, and its ports, if it goes the short way.
    /// It has a place already, or gets one where nobody is, or somebody who is quiet, so that nine that are busy don't
    /// take each other's in turn. Whether it has one.
    pub(super) fn note(
        &mut self,
        at: u32,
        heard: u32,
        goes: Option<(Common, u32)>,
        commons: &mut Commons,
    ) -> bool {
        let known = self.place_of(at);
        let Some((common, ports)) = goes else {
            if let Some(place) = known {
                self.clear(place, commons);
            }
            return false;
        };
        let Some(place) = known.or_else(|| self.place_for(at, heard)) else { return false };
        let old = self.0.get(place).common();
        let same = commons.get(old) == Some(&common);
        let number = if same { Some(old) } else { commons.take(&common) };
        if !same {
            commons.give_back(old);
        }
        let Some(number) = number else {
            self.empty(place);
            return false;
        };
        self.set(Brief { place, ports, tag: number << WHEN | epoch(heard, place as u32) }, at);
        true
    }

    fn place_of(&self, at: u32) -> Option<usize> {
        self.1.0.iter().position(|other| *other == at)
    }

    /// A place for one that has none: not always the first that is free, so that about as many have each.
    fn place_for(&self, at: u32, heard: u32) -> Option<usize> {
        let mut places = (0..PLACES).map(|i| (at as usize).wrapping_add(i) % PLACES);
        let free = places.clone().find(|place| self.1.0[*place] == NONE);
        // Of one that is behind, when it was heard may be written down later than of another.
        let quiet = |place: &usize| {
            let silent = epoch(heard, *place as u32).wrapping_sub(self.0.tags[*place]) & ((1 << WHEN) - 1);
            (QUIET..1 << (WHEN - 1)).contains(&silent)
        };
        free.or_else(|| places.find(quiet))
    }

    /// There is no connection at `at` any more, or it has not been heard for long.
    pub(super) fn forget(&mut self, at: u32, commons: &mut Commons) {
        if let Some(place) = self.place_of(at) {
            self.clear(place, commons);
        }
    }

    fn clear(&mut self, place: usize, commons: &mut Commons) {
        commons.give_back(self.0.get(place).common());
        self.empty(place);
    }

    fn empty(&mut self, place: usize) {
        self.set(Brief { place, ports: 0, tag: NOBODY << WHEN }, NONE);
    }
}
