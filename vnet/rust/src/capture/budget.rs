//! How much of the engine's time captures may take: so much that guests whom nobody captures hardly notice.
//!
//! At a port's full line, a capture of everything would cost several times what forwarding does, and all
//! guests of the engine would pay for it. So captures have a [`SHARE`] of the time in which there is work, and
//! half of that in which there is none; what they don't take is there for later, up to [`DEPTH`]. When it is
//! used up, bursts are passed over until there is enough for a run of them again: they are counted at each
//! port, as what finds no room is.
//!
//! The share is less than what guests may lose, and what is written counts for twice what it takes here: it goes
//! through the caches that forwarding uses, and somebody's core writes it to a disk.
//!
//! What a frame costs is estimated, as in `engine/turns.rs`: no clock is read for it.

use switch::Nanos;

/// One part of so many, while there is other work ...
const SHARE: u64 = 48;
/// ... and while there is none: guests may wait for what this engine does, and go on when it is done.
const IDLE: u64 = 2;
/// Some 20,000 short frames, or 7,000 long ones.
const DEPTH: i64 = 5_000_000;
/// Begun again with that: some ten bursts in a row tell more than one of a hundred.
const ENOUGH: i64 = 200_000;

/// What looking at a frame costs, running a filter on it, and writing it; about nanoseconds.
pub const LOOK: u64 = 15;
pub const FILTER: u64 = 25;
pub const WRITE: u64 = 200;
/// So many bytes of a frame are copied in about a nanosecond.
pub const BYTES: u64 = 3;

/// What is left.
#[derive(Debug)]
pub struct Budget {
    /// Nanoseconds; below 0 while it is overdrawn.
    credit: i64,
    /// When it last grew.
    at: Nanos,
    /// Since then there was nothing to do.
    idle: bool,
    spent: bool,
}

impl Budget {
    /// A full one.
    pub fn new(now: Nanos) -> Self {
        Budget { credit: DEPTH, at: now, idle: true, spent: false }
    }

    /// It is `now`, and from now on `idle` or not.
    pub fn earn(&mut self, now: Nanos, idle: bool) {
        let passed = now.saturating_sub(self.at);
        let earned = passed / if self.idle { IDLE } else { SHARE };
        self.credit = self.credit.saturating_add_unsigned(earned).min(DEPTH);
        (self.at, self.idle) = (now, idle);
    }

    /// So much was taken.
    #[inline]
    pub fn take(&mut self, cost: u64) {
        self.credit = self.credit.saturating_sub_unsigned(cost);
    }

    /// Decide for a burst: every sighting of its frames is seen, or none.
    #[inline]
    pub fn settle(&mut self) {
        self.spent = self.credit <= if self.spent { ENOUGH } else { 0 };
    }

    /// Whether this burst is passed over.
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_there_is_work_it_earns_little_and_while_there_is_none_half() {
        let mut budget = Budget::new(0);
        budget.earn(0, false);
        budget.take(DEPTH as u64);
        let spent = |budget: &mut Budget| {
            budget.settle();
            budget.is_spent()
        };
        assert!(spent(&mut budget));
        let enough = ENOUGH as u64;
        budget.earn(enough * SHARE, false);
        assert!(spent(&mut budget));
        budget.earn((enough + 1) * SHARE, true);
        assert!(!spent(&mut budget));
        budget.take(enough + 1);
        assert!(spent(&mut budget));
        budget.earn((enough + 1) * SHARE + enough * IDLE, true);
        assert!(spent(&mut budget));
        budget.earn((enough + 1) * (SHARE + IDLE), false);
        assert!(!spent(&mut budget));
    }

    #[test]
    fn what_was_not_taken_is_kept_up_to_a_bound() {
        let mut budget = Budget::new(0);
        budget.earn(u64::MAX, false);
        budget.take(DEPTH as u64);
        budget.settle();
        assert!(budget.is_spent());
    }
}
