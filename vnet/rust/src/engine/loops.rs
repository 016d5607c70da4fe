//! Loops: what happens when switches are joined in a loop and run no spanning tree.
//!
//! Every flooded frame then goes round for ever, and comes out at every guest each time. What gives a
//! loop away is that stations seem to move: a switch hears the same source from one side, then from the
//! other, with every frame. A link at which stations move a thousand times a second, or by which far more
//! is flooded than any network needs, is blocked for a while, at the one end where that was seen; so a
//! loop is cut. The time doubles with each storm that follows soon.
//!
//! Only links are watched. A guarded guest can't play another's address, so it makes nobody move; one
//! that may can have a link blocked, as it can take frames away from their station.

use super::ports::Slot;
use nics::{EventKind, Events};
use std::collections::BTreeMap;
use switch::{Nanos, PortId, Switch};

const SECOND: Nanos = 1_000_000_000;
/// Moves of stations to one end of a link that are taken in a second.
const MOVES: u64 = 1_000;
/// Frames from one end of a link that may be flooded in a second. Less than a loop does, and more than
/// thousands of guests that all look for one another at once.
const FLOODS: u64 = 200_000;
/// How long a link is blocked, at first and at most.
const FIRST: Nanos = 10 * SECOND;
const LONGEST: Nanos = 320 * SECOND;

#[derive(Debug, Default)]
struct Watch {
    /// When the second that is counted began.
    since: Nanos,
    floods: u64,
    moves: u64,
    /// Which storm it was counted for.
    number: u64,
    /// Blocked until then.
    until: Option<Nanos>,
}

/// All ends of links that anything came in by.
#[derive(Debug, Default)]
pub(super) struct Loops {
    ports: BTreeMap<PortId, Watch>,
    /// Loops so far. With each all counting begins anew: where one port was blocked, the loop is cut,
    /// and what others counted is no reason to block them too.
    number: u64,
    deadline: Option<Nanos>,
    /// For how long a link was blocked last, and when that was over.
    last: Nanos,
    over: Nanos,
}

impl Loops {
    /// A burst came in by the end of a link; `floods` of its frames were flooded.
    pub fn watch(&mut self, now: Nanos, port: PortId, switch: &mut Switch, floods: u32, events: &Events) {
        let moves = switch.moves(port);
        let number = self.number;
        let watch = self.ports.entry(port).or_insert_with(|| Watch { moves, ..Watch::default() });
        if now.saturating_sub(watch.since) >= SECOND || watch.number != number {
            watch.number = number;
            watch.since = now;
            watch.floods = 0;
            watch.moves = moves;
        }
        watch.floods += u64::from(floods);
        let moved = moves - watch.moves;
        if moved < MOVES && watch.floods < FLOODS || watch.until.is_some() {
            return;
        }
        let soon = self.over + 60 * SECOND > now && self.last > 0;
        self.last = if soon { (self.last * 2).min(LONGEST) } else { FIRST };
        let until = now + self.last;
        watch.until = Some(until);
        self.number += 1;
        self.deadline = Some(self.deadline.map_or(until, |at| at.min(until)));
        let line = format!(
            "a storm: {} frames flooded and {moved} moves of stations within a second, as in a loop; blocked for \
             {} s (a spanning tree would help: stp: rstp)",
            watch.floods,
            self.last / SECOND
        );
        events.push(port, EventKind::Log(line));
        // The port is there: a burst just came in by it.
        let _ = switch.set_looped(port, true);
    }

    /// When `calm` has something to do.
    pub fn deadline(&self) -> Option<Nanos> {
        self.deadline
    }

    /// Open what has been blocked for long enough.
    pub fn calm(&mut self, now: Nanos, switches: &mut [Switch], slots: &[Slot], events: &Events) {
        for (&port, watch) in &mut self.ports {
            if watch.until.is_some_and(|until| until <= now) {
                watch.until = None;
                self.over = now;
                watch.since = now;
                watch.floods = 0;
                let Some(slot) = slots.get(usize::from(port)) else { continue };
                let Some(switch) = switches.get_mut(usize::from(slot.switch)) else { continue };
                watch.moves = switch.moves(port);
                if switch.set_looped(port, false).is_ok() {
                    events.push(port, EventKind::Log("the storm may be over; open again".into()));
                }
            }
        }
        self.deadline = self.ports.values().filter_map(|watch| watch.until).min();
    }

    /// A port is gone.
    pub fn forget(&mut self, port: PortId) {
        self.ports.remove(&port);
    }
}
