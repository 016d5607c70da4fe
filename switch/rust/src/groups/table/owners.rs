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

impl Table {
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
