//! The engine's side of its ports: which NIC stands where, and what it is waiting for.

use super::MOVED;
use super::shape::Shaper;
use super::turns::Share;
use nics::Nic;
use nics::context::PORTS_MAX;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use switch::{Nanos, PortCounters, PortId};

/// A set of ports, walked in ascending order so that the same input gives the same output.
///
/// A bit a port, and above them a bit for each word that has any: finding the next member takes two
/// steps, however many ports there are.
#[derive(Debug)]
pub struct PortSet {
    filled: u64,
    words: [u64; PORTS_MAX / 64],
}

const _: () = assert!(PORTS_MAX == 64 * 64);

impl PortSet {
    #[must_use]
    pub fn new() -> Self {
        PortSet { filled: 0, words: [0; PORTS_MAX / 64] }
    }

    #[inline]
    pub fn insert(&mut self, port: PortId) {
        let word = usize::from(port) / 64;
        self.words[word] |= 1 << (port % 64);
        self.filled |= 1 << word;
    }

    #[inline]
    pub fn remove(&mut self, port: PortId) {
        let word = usize::from(port) / 64;
        self.words[word] &= !(1 << (port % 64));
        if self.words[word] == 0 {
            self.filled &= !(1 << word);
        }
    }

    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    #[inline]
    #[must_use]
    pub fn contains(&self, port: PortId) -> bool {
        self.words.get(usize::from(port) / 64).is_some_and(|word| word >> (port % 64) & 1 != 0)
    }

    /// Whether there are members besides these.
    #[inline]
    #[must_use]
    pub fn has_others(&self, one: PortId, other: PortId) -> bool {
        let mut from = 0;
        while let Some(port) = self.next(from) {
            if port != one && port != other {
                return true;
            }
            from = port + 1;
        }
        false
    }

    /// A member besides this one.
    #[inline]
    #[must_use]
    pub fn other(&self, port: PortId) -> Option<PortId> {
        self.next(0).and_then(|first| if first == port { self.next(port + 1) } else { Some(first) })
    }

    /// The lowest member at or above `from`.
    #[inline]
    #[must_use]
    pub fn next(&self, from: PortId) -> Option<PortId> {
        let index = usize::from(from) / 64;
        let word = self.words.get(index)? & (!0 << (from % 64));
        let (index, word) = if word != 0 {
            (index, word)
        } else {
            let above = self.filled & (!0_u64).checked_shl(index as u32 + 1).unwrap_or(0);
            let index = above.trailing_zeros() as usize;
            (index, *self.words.get(index)?)
        };
        Some((index * 64) as PortId + word.trailing_zeros() as PortId)
    }
}

/// One port's place.
#[derive(Default)]
pub struct Slot {
    /// The NIC; absent while it is being received from, so that it can't be sent to: no frame ever
    /// goes back to where it came from.
    pub nic: Option<Box<dyn Nic>>,
    pub switch: u16,
    pub counters: Option<Arc<PortCounters>>,
    /// The other end, if this is one of a link: what is sent here arrives there.
    pub peer: Option<PortId>,
    /// When the NIC's timer is set for, as the heap knows it.
    pub deadline: Option<Nanos>,
    /// Since when a polled NIC had nothing; `None` while it is not being polled.
    pub polled_since: Option<Nanos>,
    /// Until then a polled NIC is not looked at: see [`Slot::pause`].
    pub paused: Nanos,
    /// What its guest may send and receive, if that is limited.
    pub shaper: Option<Box<Shaper>>,
    /// Its part of the engine's time.
    pub share: Share,
}

/// From the beginning of a burst on: what a few cache lines take from one core to another one far away and back.
const PAUSE: Nanos = 1_000;
/// Who sends fewer frames at once waits for an answer, perhaps.
const SEVERAL: usize = 4;

impl Slot {
    /// A burst of so many frames, of `room` at most, was taken from a NIC in shared memory that is looked at all the time.
    /// If that was all that it had, its guest is filling the ring now, and is left alone with it for a moment. Who looks on takes
    /// the ring's cache lines away for a frame or two again and again, and both sides wait for those lines more than they
    /// work: an engine that was faster than its guest, on another core far away, moved a third less for that.
    #[inline]
    pub fn pause(&mut self, now: Nanos, count: usize, room: usize) {
        if self.share.in_memory() && (SEVERAL..room).contains(&count) {
            self.paused = now.saturating_add(PAUSE);
        }
    }

    /// A look at a polled NIC that has nothing: all that a turn does for it then, and most turns of an engine that looks
    /// on are nothing else. Since when it had nothing is noted as a burst in vain would.
    #[inline]
    pub fn is_quiet(&mut self, now: Nanos) -> bool {
        if now < self.paused {
            return true;
        }
        let quiet = self.nic.as_mut().is_some_and(|nic| nic.quiet(now));
        if quiet && self.polled_since == Some(MOVED) {
            self.polled_since = Some(now);
        }
        quiet
    }

    /// When the NIC or its limits want to be called.
    #[inline]
    fn wanted(&self) -> Option<Nanos> {
        let nic = self.nic.as_ref().and_then(|nic| nic.deadline());
        let rests = self.share.deadline();
        // While the NIC is left alone, so are its timers: it could not be asked what it has.
        let nic = nic.map(|at| at.max(rests.unwrap_or(0)));
        match &self.shaper {
            None => nic.into_iter().chain(rests).min(),
            Some(shaper) => {
                let nic = nic.map(|at| at.max(shaper.held()));
                nic.into_iter().chain(rests).chain(shaper.deadline()).min()
            }
        }
    }
}

/// The NICs' deadlines. Entries that were overtaken by an earlier one are skipped when they come up.
///
/// A far one that is overtaken again and again is noted anew each time, and none of these entries comes up for long: when
/// there are many more of them than ports, they are made anew of what the ports have noted.
#[derive(Debug, Default)]
pub struct Timers(BinaryHeap<Reverse<(Nanos, PortId)>>);

/// So many entries for each port, and some more, are not too many.
const MOST_EACH: usize = 4;
const FEW: usize = 64;

impl Timers {
    /// Note what `slot`'s NIC wants, if that is earlier than what is noted.
    #[inline]
    pub fn schedule(&mut self, port: PortId, slot: &mut Slot) {
        let Some(wanted) = slot.wanted() else { return };
        if slot.deadline.is_none_or(|noted| wanted < noted) {
            slot.deadline = Some(wanted);
            self.0.push(Reverse((wanted, port)));
        }
    }

    /// The next port whose noted deadline has come. The caller clears it.
    pub fn due(&mut self, now: Nanos, slots: &[Slot]) -> Option<PortId> {
        if self.0.len() > MOST_EACH * slots.len() + FEW {
            self.tidy(slots);
        }
        while let Some(Reverse((at, port))) = self.0.peek().copied() {
            let current = slots.get(usize::from(port)).is_some_and(|slot| slot.deadline == Some(at));
            if current && at > now {
                return None;
            }
            self.0.pop();
            if current {
                return Some(port);
            }
        }
        None
    }

    /// Have one entry for each noted deadline, and no others.
    #[cold]
    fn tidy(&mut self, slots: &[Slot]) {
        let noted = |(port, slot): (usize, &Slot)| Some(Reverse((slot.deadline?, port as PortId)));
        self.0.clear();
        self.0.extend(slots.iter().enumerate().filter_map(noted));
    }

    /// When the next one is due.
    #[must_use]
    pub fn next(&self) -> Option<Nanos> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use nics::{Arena, Burst, Caps, Rx, TxFrame, TxReport};

    /// A NIC that waits for a far time, and for a near one, too, now and then.
    #[derive(Debug)]
    struct Waits {
        near: Option<Nanos>,
        far: Nanos,
    }

    impl Nic for Waits {
        fn kind(&self) -> &'static str {
            "test"
        }
        fn caps(&self) -> Caps {
            Caps::plain(1514)
        }
        fn carrier(&self) -> bool {
            true
        }
        fn deadline(&self) -> Option<Nanos> {
            Some(self.near.unwrap_or(self.far))
        }
        fn rx_burst<'a>(&'a mut self, _now: Nanos, _arena: &'a mut Arena, _burst: &mut Burst<'a>) -> Rx {
            Rx::Idle
        }
        fn tx_burst(&mut self, _now: Nanos, _frames: &[TxFrame<'_>], _report: &mut TxReport) {}
    }

    #[test]
    fn a_far_deadline_that_is_overtaken_again_and_again_takes_no_more_memory() {
        let waits = |near, far| Some(Box::new(Waits { near, far }) as Box<dyn Nic>);
        let (mut timers, mut slots) = (Timers::default(), vec![]);
        slots.resize_with(3, Slot::default);
        let far = |port: usize| 1_000_000 + port as Nanos;
        for now in (0..10_000).step_by(2) {
            for (port, slot) in slots.iter_mut().enumerate() {
                slot.nic = waits(Some(now + 1), far(port));
                timers.schedule(port as PortId, slot);
            }
            for port in 0..3 {
                assert_eq!(timers.due(now + 1, &slots), Some(port));
                let slot = &mut slots[usize::from(port)];
                (slot.deadline, slot.nic) = (None, waits(None, far(usize::from(port))));
                timers.schedule(port, slot);
            }
            assert_eq!(timers.due(now + 1, &slots), None);
            assert!(timers.0.len() <= MOST_EACH * slots.len() + FEW, "{}", timers.0.len());
        }
        // Nothing was forgotten.
        for port in 0..3 {
            let at = far(port);
            assert_eq!((timers.next(), timers.due(at - 1, &slots)), (Some(at), None));
            assert_eq!(timers.due(at, &slots), Some(port as PortId));
            slots[port].deadline = None;
            assert_eq!(timers.due(at, &slots), None);
        }
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn who_fills_its_ring_is_left_alone_for_a_moment() {
        let paused = |kind: &str, count: usize, room: usize| {
            // Without a NIC it is quiet for no other reason.
            let mut slot = Slot { share: Share::of(kind), ..Slot::default() };
            slot.pause(5_000, count, room);
            let quiet = [5_000, 5_999, 6_000].map(|now| slot.is_quiet(now));
            assert!(quiet == [true, true, false] || quiet == [false; 3], "{quiet:?}");
            quiet[0]
        };
        assert!(paused("vhost-user", 4, 64) && paused("vhost-user", 63, 64));
        assert!(!paused("vhost-user", 64, 64), "it may have more");
        assert!(!paused("vhost-user", 3, 64), "it may wait for an answer");
        assert!(!paused("vhost-user", 8, 8), "no more was asked for");
        assert!(!paused("tap", 16, 64), "nobody looks on there");
    }

    #[test]
    fn ports_are_walked_in_order() {
        let mut set = PortSet::new();
        for port in [4095, 0, 64, 63, 130] {
            set.insert(port);
        }
        let mut seen = vec![];
        let mut from = 0;
        while let Some(port) = set.next(from) {
            seen.push(port);
            from = port + 1;
        }
        assert_eq!(seen, [0, 63, 64, 130, 4095]);
        assert!(seen.iter().all(|port| set.contains(*port)) && !set.contains(1) && !set.contains(131));
        for port in seen {
            set.remove(port);
        }
        assert!(set.is_empty());
    }
}
