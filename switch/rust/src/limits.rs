//! How much a guest may carry: token buckets in whole nanoseconds, without a fraction lost.
//!
//! Directions are the guest's: `egress` is what it sends, `ingress` what it receives. What counts is what
//! a wire would see: each segment of a super-frame with its headers, Ethernet header included, FCS,
//! preamble and gap not.
//!
//! A bucket does not count tokens. It knows when it will be full again (`full`), and everything taken
//! moves that further away by what it takes to flow in at the rate. That division's remainder is
//! carried on, so that over any time exactly the rate passes. Something may be taken from a bucket
//! that is not in debt, however large it is: a super-frame passes whole, and is paid for before the
//! next one may.

use crate::{Flood, Nanos};

const SECOND: u64 = 1_000_000_000;

/// What a bucket holds when nobody says otherwise: so much time's worth of its rate. An engine that
/// comes late by no more than that loses nothing of the rate; and in 10 s it makes 0.1 % of a difference.
const DEPTH: Nanos = 10_000_000;

/// ... but two full frames in any case.
const FRAMES: u64 = 2 * 1518 * 8;

/// One direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limit {
    /// bit/s; 0: any.
    pub rate: u64,
    /// Bytes that may pass at once after a pause; 0: what flows in during 10 ms, two frames at least.
    pub burst: u64,
    /// Bytes that may pass at once, once, before anything else counts.
    pub one_time_burst: u64,
    /// Frames a second; 0: any.
    pub packets: u64,
}

/// Floods that a guest may cause, in frames a second; 0: any.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Storm {
    pub broadcast: u64,
    pub multicast: u64,
    /// Unicast to a station that is not known.
    pub unknown: u64,
}

/// All limits of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// What the guest sends.
    pub egress: Limit,
    /// What it receives.
    pub ingress: Limit,
    pub storm: Storm,
}

impl Limit {
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.rate == 0 && self.packets == 0
    }

    fn bits(&self) -> Option<Bucket> {
        let burst = match self.burst {
            0 => FRAMES.max(time_to_units(DEPTH, self.rate)),
            bytes => bytes.saturating_mul(8),
        };
        Bucket::new(self.rate, burst, self.one_time_burst.saturating_mul(8))
    }

    fn frames(&self) -> Option<Bucket> {
        Bucket::new(self.packets, time_to_units(DEPTH, self.packets).max(1), 0)
    }
}

/// How long `units` take to flow in at `rate`, in nanoseconds, rounded up.
fn units_to_time(units: u64, rate: u64) -> Nanos {
    let time = (u128::from(units) * u128::from(SECOND)).div_ceil(u128::from(rate.max(1)));
    u64::try_from(time).unwrap_or(u64::MAX)
}

/// What flows in at `rate` in `time`, in whole units.
fn time_to_units(time: Nanos, rate: u64) -> u64 {
    u64::try_from(u128::from(time) * u128::from(rate) / u128::from(SECOND)).unwrap_or(u64::MAX)
}

/// One token bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Units a second.
    rate: u64,
    /// How long an empty one takes to be full.
    depth: Nanos,
    /// When it is full, if nothing more is taken.
    full: Nanos,
    /// ... and so many rate-ths of a nanosecond later.
    rest: u64,
    /// Units that are left of what is given once.
    once: u64,
}

impl Bucket {
    /// A full one; `None` when the rate is 0, which means any.
    #[must_use]
    pub fn new(rate: u64, burst: u64, once: u64) -> Option<Bucket> {
        let depth = units_to_time(burst, rate);
        (rate > 0).then_some(Bucket { rate, depth, full: 0, rest: 0, once })
    }

    /// Since when, or when at last, something may be taken.
    #[inline]
    #[must_use]
    pub fn ready(&self) -> Nanos {
        if self.once > 0 { 0 } else { self.full.saturating_sub(self.depth) }
    }

    /// Take `units`, whatever there is.
    #[inline]
    pub fn take(&mut self, now: Nanos, units: u64) {
        let given = self.once.min(units);
        self.once -= given;
        let units = units - given;
        if units == 0 {
            return;
        }
        if self.full < now {
            (self.full, self.rest) = (now, 0);
        }
        let owed = u128::from(units) * u128::from(SECOND) + u128::from(self.rest);
        let rate = u128::from(self.rate);
        // What would not fit into 64 bits is 584 years.
        self.full = self.full.saturating_add(u64::try_from(owed / rate).unwrap_or(u64::MAX));
        self.rest = (owed % rate) as u64;
    }

    /// Whole units in it.
    #[must_use]
    pub fn level(&self, now: Nanos) -> u64 {
        let missing = self.full.saturating_sub(now);
        time_to_units(self.depth.saturating_sub(missing), self.rate).saturating_add(self.once)
    }

    /// How long it may be left alone without running over: a quarter of its depth.
    fn patience(&self) -> Nanos {
        self.depth / 4
    }

    /// Go on as `next`: what is owed stays owed, in units, and what is there stays as far as it fits. Nothing
    /// is made of the difference between two depths, neither a debt nor a gift. `once` is given again only
    /// when it changed.
    fn become_(&mut self, mut next: Bucket, now: Nanos, once_is_new: bool) {
        // In units times nanoseconds a second, so that no fraction is lost however often this is done.
        let product = |time: Nanos, rate: u64| u128::from(time) * u128::from(rate);
        let (holds, will_hold) = (product(self.depth, self.rate), product(next.depth, next.rate));
        let missing = match self.full.checked_sub(now) {
            Some(time) => product(time, self.rate) + u128::from(self.rest),
            None => 0,
        };
        let (level, debt) = (holds.saturating_sub(missing), missing.saturating_sub(holds));
        let missing = will_hold.saturating_sub(level).saturating_add(debt);
        let rate = u128::from(next.rate);
        next.full = now.saturating_add(u64::try_from(missing / rate).unwrap_or(u64::MAX));
        next.rest = (missing % rate) as u64;
        if !once_is_new {
            next.once = self.once;
        }
        *self = next;
    }
}

/// The buckets of one direction.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    limit: Limit,
    bits: Option<Bucket>,
    frames: Option<Bucket>,
}

/// Longest that a port is left alone for the sake of fewer wake-ups.
const PATIENCE: Nanos = 500_000;

impl Meter {
    /// `None`: there is no limit.
    #[must_use]
    pub fn new(limit: Limit) -> Option<Meter> {
        (!limit.is_any()).then(|| Meter { limit, bits: limit.bits(), frames: limit.frames() })
    }

    /// What it was made from.
    #[must_use]
    pub fn limit(&self) -> &Limit {
        &self.limit
    }

    /// Since when, or when at last, a frame may pass.
    #[inline]
    #[must_use]
    pub fn ready(&self) -> Nanos {
        let of = |bucket: &Option<Bucket>| bucket.as_ref().map_or(0, Bucket::ready);
        of(&self.bits).max(of(&self.frames))
    }

    /// When to look again after a frame may not pass: a little later, so that it is worth it.
    #[must_use]
    pub fn wake(&self) -> Nanos {
        let of = |bucket: &Option<Bucket>| bucket.as_ref().map_or(PATIENCE, Bucket::patience);
        self.ready().saturating_add(of(&self.bits).min(of(&self.frames)).min(PATIENCE))
    }

    /// Frames have passed, `bytes` in all.
    #[inline]
    pub fn take(&mut self, now: Nanos, frames: u64, bytes: u64) {
        if let Some(bucket) = &mut self.bits {
            bucket.take(now, bytes.saturating_mul(8));
        }
        if let Some(bucket) = &mut self.frames {
            bucket.take(now, frames);
        }
    }

    /// How many frames may pass now, if they are of `usual` bytes; at least one, if any.
    #[must_use]
    pub fn room(&self, now: Nanos, usual: u64) -> usize {
        if self.ready() > now {
            return 0;
        }
        let bits = self.bits.as_ref().map_or(u64::MAX, |bucket| bucket.level(now) / (usual.max(60) * 8));
        let frames = self.frames.as_ref().map_or(u64::MAX, |bucket| bucket.level(now));
        usize::try_from(bits.min(frames)).unwrap_or(usize::MAX).max(1)
    }

    /// Go on with another limit, debts and all.
    pub fn change(&mut self, limit: Limit, now: Nanos) {
        let new_once = limit.one_time_burst != self.limit.one_time_burst;
        for (bucket, next) in [(&mut self.bits, limit.bits()), (&mut self.frames, limit.frames())] {
            match (bucket.as_mut(), next) {
                (Some(bucket), Some(next)) => bucket.become_(next, now, new_once),
                _ => *bucket = next,
            }
        }
        self.limit = limit;
    }
}

/// The buckets for floods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StormMeter {
    storm: Storm,
    broadcast: Option<Bucket>,
    multicast: Option<Bucket>,
    unknown: Option<Bucket>,
}

impl StormMeter {
    /// Go on with `storm`; buckets whose rate is the same stay as they are.
    pub(crate) fn next(before: Option<&StormMeter>, storm: Storm) -> Option<StormMeter> {
        let bucket = |rate: u64, had: Option<(u64, Option<Bucket>)>| match had {
            Some((before, bucket)) if before == rate => bucket,
            _ => Bucket::new(rate, time_to_units(100_000_000, rate).max(1), 0),
        };
        (storm != Storm::default()).then(|| StormMeter {
            storm,
            broadcast: bucket(storm.broadcast, before.map(|b| (b.storm.broadcast, b.broadcast))),
            multicast: bucket(storm.multicast, before.map(|b| (b.storm.multicast, b.multicast))),
            unknown: bucket(storm.unknown, before.map(|b| (b.storm.unknown, b.unknown))),
        })
    }

    /// Whether a flood of `frames` may pass.
    #[inline]
    pub(crate) fn passes(&mut self, now: Nanos, kind: Flood, frames: u16) -> bool {
        let bucket = match kind {
            Flood::Broadcast => &mut self.broadcast,
            Flood::Multicast | Flood::LinkLocal => &mut self.multicast,
            Flood::Unknown => &mut self.unknown,
        };
        let Some(bucket) = bucket else { return true };
        let passes = bucket.ready() <= now;
        if passes {
            bucket.take(now, u64::from(frames));
        }
        passes
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECONDS: Nanos = 1_000_000_000;
    const MBIT: u64 = 1_000_000;

    fn limit(rate: u64, burst: u64) -> Limit {
        Limit { rate, burst, ..Limit::default() }
    }

    /// Bytes that pass at once.
    fn passes(meter: &Meter, now: Nanos) -> u64 {
        if meter.ready() > now { 0 } else { meter.bits.unwrap().level(now) / 8 }
    }

    #[test]
    fn a_lower_limit_makes_no_debt_of_what_was_not_used() {
        let now = 5 * SECONDS;
        // All the burst is used, or a little of a large one.
        for (burst, used) in [(0, 12_500_000), (1 << 30, 12_000_000)] {
            let mut meter = Meter::new(limit(10_000 * MBIT, burst)).unwrap();
            meter.take(now, 1, used);
            assert!(meter.ready() <= now);
            meter.change(limit(MBIT, 0), now);
            assert!(meter.ready() <= now, "{burst} {used}");
            assert!(passes(&meter, now) <= 2 * 1518);
        }
    }

    #[test]
    fn debt_stays_in_units_whatever_the_rate() {
        let now = 5 * SECONDS;
        let mut meter = Meter::new(limit(1000 * MBIT, 10_000)).unwrap();
        meter.take(now, 1, 10_000 + 65_000);
        for (rate, burst) in [(MBIT, 3000), (1000 * MBIT, 1 << 30), (10 * MBIT, 0), (MBIT, 100_000)] {
            meter.change(limit(rate, burst), now);
            assert_eq!(meter.ready() - now, 65_000 * 8 * SECONDS / rate, "{rate}");
        }
    }

    #[test]
    fn what_is_there_stays_as_far_as_it_fits() {
        let now = 5 * SECONDS;
        let mut meter = Meter::new(limit(8 * MBIT, 50_000)).unwrap();
        meter.take(now, 1, 20_000);
        // A larger burst has to flow in first, at the new rate: a step up and down again gives nothing.
        meter.change(limit(80 * MBIT, 100_000), now);
        assert_eq!(passes(&meter, now), 30_000);
        assert_eq!(passes(&meter, now + 3_000_000), 60_000);
        assert_eq!(passes(&meter, now + SECONDS), 100_000);
        meter.change(limit(8 * MBIT, 50_000), now);
        assert_eq!(passes(&meter, now), 30_000);
        meter.change(limit(8 * MBIT, 10_000), now);
        assert_eq!(passes(&meter, now), 10_000);
        // Not even a fraction of a frame, however often.
        let slow = |rate| Limit { packets: rate, ..Limit::default() };
        let mut meter = Meter::new(slow(2)).unwrap();
        meter.take(now, 2, 120);
        for step in 0..50 {
            meter.change(slow(2 - step % 2), now + step * SECONDS / 100);
        }
        // 25 times 10 ms at two frames a second, and 24 times at one.
        let lacking = meter.ready() - (now + SECONDS * 49 / 100);
        assert_eq!(lacking, SECONDS - (25 * 20_000_000 + 24 * 10_000_000), "at one frame a second");
    }

    #[test]
    fn what_is_given_once_is_given_again_only_when_it_changes() {
        let once = |rate, once| Limit { one_time_burst: once, ..limit(rate, 10_000) };
        let mut meter = Meter::new(once(1000 * MBIT, 50_000)).unwrap();
        meter.take(0, 1, 20_000);
        meter.change(once(MBIT, 50_000), 0);
        assert_eq!(passes(&meter, 0), 30_000 + 10_000);
        meter.take(0, 1, 45_000);
        assert_eq!(meter.ready(), 5_000 * 8 * SECONDS / MBIT);
        // It comes first, and what was owed before is owed still.
        meter.change(once(MBIT, 10_000), 0);
        assert_eq!(passes(&meter, 0), 10_000);
        meter.take(0, 1, 10_000);
        assert_eq!(meter.ready(), 5_000 * 8 * SECONDS / MBIT);
    }

    #[test]
    fn no_limit_is_too_large() {
        let extremes = [1, 1000, MBIT, u64::MAX];
        for (before, after) in extremes.into_iter().flat_map(|a| extremes.map(|b| (a, b))) {
            for (used, now) in [(0, 0), (u64::MAX, 0), (u64::MAX, u64::MAX)] {
                let mut meter = Meter::new(limit(before, after)).unwrap();
                meter.take(now, u64::MAX, used);
                meter.change(limit(after, before), now);
                meter.take(now, 1, 1);
                let _ = (meter.ready(), meter.room(now, 60));
            }
        }
    }
}
