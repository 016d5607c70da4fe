//! Connections by owner and age: who pays for which, and which is the first to go.

use super::conn::seconds;
use super::{NONE, Table};
use crate::PortId;

/// Answered connections that are looked at to find a quiet one, and what is quiet: coarse time.
pub(super) const TRIES: usize = 8;
const QUIET: u32 = seconds(60);

/// Connections by age.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    pub(super) oldest: u32,
    pub(super) newest: u32,
}

pub(super) const EMPTY: List = List { oldest: NONE, newest: NONE };

/// A port's connections.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    pub(super) count: u32,
    pub(super) unanswered: List,
    pub(super) answered: List,
}

/// Ports by how many connections they own, most first, so that who has most is known without looking at all. A count
/// changes by one, and then its port changes places with the first, or the last, of those that have as many.
#[derive(Clone, Debug, Default)]
pub(super) struct Ranks {
    order: Vec<PortId>,
    /// By port: where it is in `order`.
    places: Vec<u32>,
    /// By count: how many ports have more.
    above: Vec<u32>,
}

impl Ranks {
    /// Have room for a port that owns all that there may be.
    pub(super) fn prepare(&mut self, limit: usize) {
        self.above.reserve(limit + 2);
    }

    /// Another port, which owns none.
    fn open(&mut self) {
        self.places.push(self.order.len() as u32);
        self.order.push(self.places.len() as PortId - 1);
    }

    /// Of the ports that own most, one.
    pub(super) fn first(&self) -> Option<PortId> {
        self.order.first().copied()
    }

    /// A port that owns `count` gets one more.
    fn more(&mut self, port: PortId, count: u32) {
        let count = count as usize;
        if self.above.len() <= count {
            self.above.resize(count + 1, 0);
        }
        let Some(above) = self.above.get_mut(count) else { return };
        let to = *above;
        *above += 1;
        self.swap(port, to);
    }

    /// A port that owns `count` loses one.
    fn less(&mut self, port: PortId, count: u32) {
        let Some(above) = self.above.get_mut((count as usize).wrapping_sub(1)) else { return };
        *above -= 1;
        let to = *above;
        self.swap(port, to);
    }

    fn swap(&mut self, port: PortId, to: u32) {
        let Some(&from) = self.places.get(usize::from(port)) else { return };
        let Some(&other) = self.order.get(to as usize) else { return };
        self.order.swap(from as usize, to as usize);
        for (port, place) in [(other, from), (port, to)] {
            if let Some(at) = self.places.get_mut(usize::from(port)) {
                *at = place;
            }
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.order.len() * size_of::<PortId>() + (self.places.len() + self.above.len()) * size_of::<u32>()
    }
}

impl Table {
    /// There is a place for what a port owns.
    pub(super) fn open(&mut self, port: PortId) {
        while self.owners.len() <= usize::from(port) {
            self.owners.push(Owner { count: 0, unanswered: EMPTY, answered: EMPTY });
            self.ranks.open();
        }
    }

    /// A port owns one more.
    pub(super) fn gain(&mut self, port: PortId) {
        if let Some(owner) = self.owners.get_mut(usize::from(port)) {
            self.ranks.more(port, owner.count);
            owner.count += 1;
        }
    }

    /// A port owns one less.
    pub(super) fn lose(&mut self, port: PortId) {
        if let Some(owner) = self.owners.get_mut(usize::from(port)) {
            self.ranks.less(port, owner.count);
            owner.count -= 1;
        }
    }

    /// How many a port owns.
    pub(in crate::groups) fn owned(&self, port: PortId) -> u32 {
        self.owners.get(usize::from(port)).map_or(0, |owner| owner.count)
    }

    /// It was answered: from now on it is not the first to go.
    #[inline]
    pub(in crate::groups) fn answer(&mut self, at: u32) {
        if self.get(at).is_some_and(|conn| !conn.answered) {
            self.delist(at);
            if let Some(conn) = self.get_mut(at) {
                conn.answered = true;
            }
            self.enlist(at);
        }
    }

    /// Forget all that a port owns.
    pub(in crate::groups) fn disown(&mut self, port: PortId) {
        for answered in [false, true] {
            while let Some(oldest) =
                self.list(port, answered).map(|list| list.oldest).filter(|&at| at != NONE)
            {
                self.remove(oldest);
            }
        }
    }

    /// Make room for one more of `owner`'s.
    pub(super) fn evict(&mut self, owner: PortId, now: u32) -> bool {
        let oldest =
            |table: &mut Table, answered| table.list(owner, answered).map_or(NONE, |list| list.oldest);
        let at = oldest(self, false);
        if at != NONE {
            self.remove(at);
            return true;
        }
        for _ in 0..TRIES {
            let at = oldest(self, true);
            let Some(conn) = self.get(at) else { return false };
            let quiet = now.wrapping_sub(conn.heard) > QUIET || conn.is_old(now);
            if quiet {
                self.remove(at);
                return true;
            }
            // Not this one: it goes to the end of the line.
            self.delist(at);
            self.enlist(at);
        }
        false
    }

    /// Make room for somebody who owns less than `owner`, who has no right to keep it, busy or not.
    pub(super) fn evict_some(&mut self, owner: PortId, now: u32) -> bool {
        let room = self.evict(owner, now);
        let oldest = self.list(owner, true).map_or(NONE, |list| list.oldest);
        if !room {
            self.remove(oldest);
        }
        room || oldest != NONE
    }

    fn list(&mut self, owner: PortId, answered: bool) -> Option<&mut List> {
        let owner = self.owners.get_mut(usize::from(owner))?;
        Some(if answered { &mut owner.answered } else { &mut owner.unanswered })
    }

    /// Add at the new end of its owner's list.
    pub(super) fn enlist(&mut self, at: u32) {
        let Some((owner, answered)) = self.get(at).map(|conn| (conn.owner, conn.answered)) else { return };
        let Some(list) = self.list(owner, answered) else { return };
        let before = std::mem::replace(&mut list.newest, at);
        if before == NONE {
            list.oldest = at;
        }
        if let Some(conn) = self.get_mut(before) {
            conn.list.1 = at;
        }
        if let Some(conn) = self.get_mut(at) {
            conn.list = (before, NONE);
        }
    }

    pub(super) fn delist(&mut self, at: u32) {
        let Some((owner, answered, (older, newer))) =
            self.get(at).map(|conn| (conn.owner, conn.answered, conn.list))
        else {
            return;
        };
        match self.get_mut(older) {
            Some(conn) => conn.list.1 = newer,
            None => {
                if let Some(list) = self.list(owner, answered) {
                    list.oldest = newer;
                }
            }
        }
        match self.get_mut(newer) {
            Some(conn) => conn.list.0 = older,
            None => {
                if let Some(list) = self.list(owner, answered) {
                    list.newest = older;
                }
            }
        }
    }
}
