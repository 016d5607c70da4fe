//! What makes the recorder's keeper write down the past: drops, more of them than is usual.

use super::PortId;
use switch::{Decision, DropReason, Nanos, Out};

/// Goes off at a port that drops more than `over` frames for these reasons within `per` ns, and then not
/// again, at no port, for `pause` ns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    pub reasons: Vec<DropReason>,
    pub over: u64,
    pub per: Nanos,
    pub pause: Nanos,
}

/// What one port has dropped, for each trigger: since when, and how many.
pub type Counts = Vec<(Nanos, u64)>;

#[derive(Debug)]
struct Armed {
    trigger: Trigger,
    /// `trigger.reasons`, a flag each.
    meant: [bool; DropReason::COUNT],
    quiet_until: Nanos,
}

/// All triggers.
#[derive(Debug, Default)]
pub struct Triggers {
    armed: Vec<Armed>,
    fired: Vec<(PortId, u32)>,
}

impl Triggers {
    pub fn new(triggers: Vec<Trigger>) -> Self {
        let arm = |trigger: Trigger| {
            let mut meant = [false; DropReason::COUNT];
            for reason in &trigger.reasons {
                meant[*reason as usize] = true;
            }
            Armed { trigger, meant, quiet_until: 0 }
        };
        Triggers { armed: triggers.into_iter().map(arm).collect(), fired: Vec::new() }
    }

    #[inline]
    pub fn any(&self) -> bool {
        !self.armed.is_empty()
    }

    /// Count a burst's drops, runs of one reason at once.
    pub fn burst(&mut self, now: Nanos, port: PortId, counts: &mut Counts, decisions: &[Decision]) {
        let mut rest = decisions;
        while let Some(first) = rest.first() {
            let run = rest.iter().take_while(|decision| decision.out == first.out).count();
            if let Out::Drop(reason) = first.out {
                self.count(now, port, counts, reason, run as u64);
            }
            rest = &rest[run..];
        }
    }

    /// Count `n` drops at a port.
    pub fn count(&mut self, now: Nanos, port: PortId, counts: &mut Counts, reason: DropReason, n: u64) {
        counts.resize(self.armed.len(), (0, 0));
        for (number, (armed, (since, count))) in self.armed.iter_mut().zip(counts).enumerate() {
            if !armed.meant[reason as usize] {
                continue;
            }
            if now.saturating_sub(*since) >= armed.trigger.per {
                (*since, *count) = (now, 0);
            }
            *count += n;
            if *count > armed.trigger.over && now >= armed.quiet_until {
                armed.quiet_until = now.saturating_add(armed.trigger.pause);
                self.fired.push((port, number as u32));
            }
        }
    }

    pub fn fired(&mut self) -> impl Iterator<Item = (PortId, u32)> {
        self.fired.drain(..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn triggers(over: u64) -> Triggers {
        let reasons = vec![DropReason::GuardMac, DropReason::GuardControl];
        Triggers::new(vec![Trigger { reasons, over, per: SECOND, pause: 10 * SECOND }])
    }

    #[test]
    fn it_goes_off_when_more_are_dropped_within_the_time_and_then_rests() {
        let mut triggers = triggers(10);
        let mut counts = Counts::default();
        let mut drops = |at, reason, n| {
            triggers.count(at, 3, &mut counts, reason, n);
            triggers.fired().collect::<Vec<_>>()
        };
        assert_eq!(drops(5, DropReason::GuardMac, 6), []);
        assert_eq!(drops(6, DropReason::Runt, 1000), []);
        assert_eq!(drops(7, DropReason::GuardControl, 4), []);
        // The time is over: these count anew.
        assert_eq!(drops(5 + SECOND, DropReason::GuardMac, 10), []);
        assert_eq!(drops(5 + SECOND, DropReason::GuardMac, 1), [(3, 0)]);
        assert_eq!(drops(6 + SECOND, DropReason::GuardMac, 1000), []);
        assert_eq!(drops(11 * SECOND + 4, DropReason::GuardMac, 1000), []);
        assert_eq!(drops(11 * SECOND + 5, DropReason::GuardMac, 1000), [(3, 0)]);
    }

    #[test]
    fn drops_of_a_burst_are_counted_each() {
        let mut triggers = triggers(2);
        let drop = Decision::dropped(DropReason::GuardMac);
        let other = Decision::dropped(DropReason::Giant);
        let mut counts = Counts::default();
        triggers.burst(1, 0, &mut counts, &[drop, other, drop]);
        assert_eq!(triggers.fired().count(), 0);
        triggers.burst(1, 0, &mut counts, &[other, other, drop]);
        assert_eq!(triggers.fired().collect::<Vec<_>>(), [(0, 0)]);
    }
}
