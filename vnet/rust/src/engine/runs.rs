//! Runs: who sends super-frames is read on ahead of the one port that gets them.
//!
//! A guest that receives a bulk transfer answers it with acknowledgements, one or two for each burst. If they
//! are taken in turn with the bursts, each wakes the sender for a little more, and the engine's thread does the
//! sender's work on top of its own, while the other CPUs wait for it: eight TCP connections between two
//! namespaces had 14.0 Gbit/s then, and 15.8 with runs. They need to be long enough to empty the sender's queue:
//! 1 MiB gains nothing, 4 MiB half of it, and 16 MiB no more than 8.
//!
//! So a port with a burst of [`BULK`] bytes, all for one other port as far as its first frame tells, has the next
//! turns for itself until it has nothing or [`RUN`] bytes went ahead: and only while no port but those two
//! waits or is polled. The one that receives waits for as long as it takes to move those bytes, some
//! milliseconds; nobody else waits at all. What a run costs its port owes as a whole (`turns.rs`), so that the
//! other port gets as much time after it; and when both send in bulk, runs alternate.

use super::ports::PortSet;
use super::turns::Cost;
use switch::PortId;

/// A burst of so many bytes is bulk: two super-frames at least.
const BULK: u64 = 96 << 10;
/// So many may go ahead of the other port's frames.
const RUN: u64 = 8 << 20;

/// The run that goes on, or may begin with the next turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    port: PortId,
    to: PortId,
    /// Bytes that may still go ahead; 0: there is no run.
    left: u64,
    /// What it cost so far.
    spent: Cost,
    /// This turn is the port's alone.
    alone: bool,
    /// Whose the latest run was.
    last: Option<PortId>,
}

impl Run {
    /// Whose turn this is alone, if it is anybody's.
    #[inline]
    pub fn next(&mut self, ready: &PortSet, hot: &PortSet) -> Option<PortId> {
        self.alone =
            self.left > 0 && !ready.has_others(self.port, self.to) && !hot.has_others(self.port, self.to);
        if !self.alone {
            self.left = 0;
            return None;
        }
        self.last = Some(self.port);
        self.last
    }

    /// It had nothing in its turn.
    #[inline]
    pub fn end(&mut self) {
        (self.left, self.alone) = (0, false);
    }

    /// A port gave a burst, whose first frame went to port `to`, if it was to one. What the port owes for it.
    #[inline]
    pub fn gave(&mut self, port: PortId, bytes: u64, to: Option<PortId>, cost: Cost) -> Cost {
        let bulk = to.filter(|_| bytes >= BULK);
        if self.alone {
            self.left = if bulk == Some(self.to) { self.left.saturating_sub(bytes) } else { 0 };
            self.spent += cost;
            return self.spent;
        }
        if let Some(to) = bulk
            && (self.left == 0 || self.last == Some(self.port))
        {
            *self = Run { port, to, left: RUN, spent: cost, ..*self };
        }
        cost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PortId = 3;
    const B: PortId = 70;
    const C: PortId = 4000;
    const BURST: u64 = 256 << 10;

    fn set(ports: &[PortId]) -> PortSet {
        let mut set = PortSet::new();
        ports.iter().for_each(|port| set.insert(*port));
        set
    }

    /// How many turns port A gets for itself, while these wait, after it gave such a burst.
    fn turns(waiting: &[PortId], bytes: u64, to: Option<PortId>) -> u64 {
        let (mut run, mut n) = (Run::default(), 0);
        run.gave(A, bytes, to, 1);
        while run.next(&set(waiting), &set(&[])) == Some(A) {
            n += 1;
            assert_eq!(run.gave(A, bytes, to, 1), n + 1, "all of it is owed");
        }
        n
    }

    #[test]
    fn bulk_goes_ahead_until_so_many_bytes_went() {
        assert_eq!(turns(&[A, B], BURST, Some(B)), RUN / BURST);
        assert_eq!(turns(&[A], BURST, Some(B)), RUN / BURST);
        assert_eq!(turns(&[A, B], BULK - 1, Some(B)), 0, "not of short frames");
        assert_eq!(turns(&[A, B], BURST, None), 0, "not of what goes to many, or nowhere");
    }

    #[test]
    fn never_of_a_third() {
        for third in [0, C] {
            assert_eq!(turns(&[A, B, third], BURST, Some(B)), 0);
        }
        let mut run = Run::default();
        run.gave(A, BURST, Some(B), 1);
        assert_eq!(run.next(&set(&[A]), &set(&[B, C])), None, "one that is polled waits as well");
    }

    #[test]
    fn a_third_and_another_burst_end_it() {
        let mut run = Run::default();
        run.gave(A, BURST, Some(B), 1);
        assert_eq!(run.next(&set(&[A, B]), &set(&[])), Some(A));
        run.gave(A, BURST, Some(B), 1);
        assert_eq!(run.next(&set(&[A, B, C]), &set(&[])), None);
        assert_eq!(run.next(&set(&[A, B]), &set(&[])), None, "it is over");
        for (bytes, to) in [(60, Some(B)), (BURST, Some(C)), (BURST, None)] {
            let mut run = Run::default();
            run.gave(A, BURST, Some(B), 1);
            assert_eq!(run.next(&set(&[A, B]), &set(&[])), Some(A));
            run.gave(A, bytes, to, 1);
            assert_eq!(run.next(&set(&[A, B]), &set(&[])), None);
        }
    }

    #[test]
    fn of_two_that_send_in_bulk_each_goes_ahead_in_turn() {
        let (mut run, mut seen) = (Run::default(), vec![]);
        for _ in 0..6 {
            run.gave(A, BURST, Some(B), 1);
            run.gave(B, BURST, Some(A), 1);
            while let Some(port) = run.next(&set(&[A, B]), &set(&[])) {
                let other = if port == A { B } else { A };
                run.gave(port, BURST, Some(other), 1);
                seen.push(port);
            }
        }
        seen.dedup();
        assert!(seen == [A, B, A, B, A, B] || seen == [B, A, B, A, B, A], "{seen:?}");
    }
}
