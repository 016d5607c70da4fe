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
//!
//! Where TCP does not pace (Cubic), the senders' queue has whatever their windows allow, 70 MB with eight
//! connections, and no run empties it. Then runs are of no use: acknowledgements that are taken in turn give back
//! memory that is still in the cache. So after [`FULL`] runs in a row that were cut off a longer one finds out: if
//! [`WHOLE`] does not empty the queue either, there are no more runs before it was empty once. With BBR, whose
//! eight connections have 14 MB on the way, it does, and runs go on: there they are of use though each is cut off.

use super::ports::PortSet;
use super::turns::Cost;
use switch::PortId;

/// A burst of so many bytes is bulk: two super-frames at least.
const BULK: u64 = 96 << 10;
/// So many may go ahead of the other port's frames.
const RUN: u64 = 8 << 20;
/// After so many runs in a row that did not empty a queue ...
const FULL: u32 = 2;
/// ... so many bytes may go ahead once.
const WHOLE: u64 = 32 << 20;

/// The run that goes on, or may begin with the next turn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    port: PortId,
    to: PortId,
    /// Bytes that may still go ahead; 0: there is no run.
    left: u64,
    /// Runs of this port that were cut off since its queue was empty.
    full: u32,
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
        (self.left, self.alone, self.full) = (0, false, 0);
    }

    /// A port gave a burst, whose first frame went to port `to`, if it was to one. What the port owes for it.
    #[inline]
    pub fn gave(&mut self, port: PortId, bytes: u64, to: Option<PortId>, cost: Cost) -> Cost {
        let bulk = to.filter(|_| bytes >= BULK);
        if port == self.port && bulk.is_none() {
            self.full = 0;
        }
        if self.alone {
            self.left = if bulk == Some(self.to) { self.left.saturating_sub(bytes) } else { 0 };
            self.full += u32::from(self.left == 0 && bulk == Some(self.to));
            self.spent += cost;
            return self.spent;
        }
        let full = if port == self.port { self.full } else { 0 };
        if let Some(to) = bulk
            && (self.left == 0 || self.last == Some(self.port))
            && full <= FULL
        {
            let left = if full < FULL { RUN } else { WHOLE };
            *self = Run { port, to, left, full, spent: cost, ..*self };
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
    fn a_queue_that_runs_do_not_empty_is_given_none_until_it_was_empty() {
        let (waiting, none) = (set(&[A, B]), set(&[]));
        // How many runs it gets in a row while it has as much as it likes; the last is the longest.
        let runs = |run: &mut Run| {
            for n in 0.. {
                run.gave(A, BURST, Some(B), 1);
                run.gave(B, 60, Some(A), 1);
                if run.next(&waiting, &none) != Some(A) {
                    return n;
                }
                let mut bytes = 0;
                while run.next(&waiting, &none) == Some(A) {
                    run.gave(A, BURST, Some(B), 1);
                    bytes += BURST;
                }
                assert_eq!(bytes, if n < FULL { RUN } else { WHOLE });
            }
            0
        };
        let mut run = Run::default();
        assert_eq!(runs(&mut run), FULL + 1);
        assert_eq!(runs(&mut run), 0);
        run.gave(B, BURST, Some(A), 1);
        assert_eq!(run.next(&waiting, &none), Some(B), "the other port is none of its");
        run.end();
        assert_eq!(runs(&mut run), FULL + 1, "of which it has run anew");
        run.gave(A, 60, Some(B), 1);
        assert_eq!(runs(&mut run), FULL + 1, "its queue was empty");
        let mut emptied = Run::default();
        for _ in 0..2 * FULL {
            emptied.gave(A, BURST, Some(B), 1);
            assert_eq!(emptied.next(&waiting, &none), Some(A), "each run found the queue empty");
            emptied.end();
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
