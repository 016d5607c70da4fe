//! Loops: what happens when switches are joined in a loop and run no spanning tree.
//!
//! Every flooded frame then goes round for ever, and comes out at every guest each time. What gives a
//! loop away is that stations seem to move: a switch hears the same source from one side, then from the
//! other, with every frame. A link at which stations move a thousand times a second is blocked for a while, at the
//! one end where that was seen; so a loop is cut. The time doubles with each storm that follows soon.
//!
//! However much is flooded is no reason: any guest can flood, and a link has other tenants. Where nobody moves that
//! is noted, and left to the limits of who floods.
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
/// Frames from one end of a link that are flooded in a second without a word. More than thousands of guests need
/// that all look for one another at once.
const FLOODS: u64 = 200_000;
/// How often there is a word.
const PAUSE: Nanos = 60 * SECOND;
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
    /// Nothing is said of floods until then.
    quiet: Nanos,
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
        if watch.until.is_some() {
            return;
        }
        if moved < MOVES {
            if watch.floods >= FLOODS && now >= watch.quiet {
                watch.quiet = now + PAUSE;
                let line = format!(
                    "{} frames flooded within a second, but {moved} moves of stations, which loops have more of: see who floods \
                     (vnet top), and limit it (storm at its NIC)",
                    watch.floods
                );
                events.push(port, EventKind::Log(line));
            }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use switch::{Decision, Out, PortConfig, SwitchConfig, View};

    /// A switch with two ends of links, 0 and 1, and a guest's port.
    fn lab() -> (Switch, Loops, Events) {
        let mut switch = Switch::new(SwitchConfig::default());
        for port in 0..3 {
            switch.add_port(port, PortConfig::access(1)).unwrap();
        }
        (switch, Loops::default(), Events::new().unwrap())
    }

    fn lines(events: &Events) -> Vec<PortId> {
        events
            .take()
            .0
            .into_iter()
            .filter(|event| matches!(event.kind, EventKind::Log(_)))
            .map(|event| event.port)
            .collect()
    }

    fn is_open(switch: &Switch, port: PortId) -> bool {
        switch.flood_ports(1).contains(&port)
    }

    #[test]
    fn floods_alone_block_nothing() {
        let (mut switch, mut loops, events) = lab();
        for second in 0..120 {
            for part in 0..10 {
                let now = second * SECOND + part * SECOND / 10;
                loops.watch(now, 0, &mut switch, FLOODS as u32, &events);
                assert!(is_open(&switch, 0));
            }
        }
        assert_eq!(lines(&events), [0, 0], "a line a minute");
        assert_eq!(loops.deadline(), None);
    }

    #[test]
    fn stations_that_move_all_the_time_block_one_end() {
        let (mut switch, mut loops, events) = lab();
        let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[0x88, 0xb5], &[0; 46]].concat();
        let mut blocked = None;
        for n in 0..10_000_u64 {
            let (now, port) = (n * 10_000, (n % 2) as PortId);
            let mut out = [Decision::default()];
            switch.classify(now, port, [View::plain(&frame, 60)], &mut out);
            let floods = u32::from(matches!(out[0].out, Out::Flood(_)));
            loops.watch(now, port, &mut switch, floods, &events);
            if blocked.is_none() && !(is_open(&switch, 0) && is_open(&switch, 1)) {
                blocked = Some(n);
            }
        }
        assert!(blocked.is_some_and(|n| n < 3 * MOVES), "{blocked:?}");
        assert!(is_open(&switch, 0) != is_open(&switch, 1));
        assert_eq!(lines(&events).len(), 1);
    }
}
