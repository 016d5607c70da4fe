//! Turns of an engine that looks on.
//!
//! Most of them find what the one before found: nothing. A frame waits for as long as such a turn takes, so it does
//! nothing but look at the NICs that are polled, and whoever has something is served at once: what else a turn asks
//! for (descriptors, timers, limits of time) was asked for half a microsecond ago at most, when all of it was found to be
//! later than that.

use super::{Engine, Next};
use switch::{Nanos, PortId};

/// Between two turns in which everything is asked for.
const STILL: Nanos = 500;

/// What a look at the NICs that are polled came to.
pub(super) enum Look {
    /// They have nothing, and nothing else has changed.
    Still,
    /// This is the first that may have something. Nobody is before it.
    Found(PortId),
    /// Everything has to be asked for.
    Unknown,
}

impl Engine {
    /// Look at the NICs that are polled, if that is all that has to be done at `now`, which it is then.
    #[inline]
    pub(super) fn look(&mut self, now: Nanos) -> Look {
        if now >= self.still || now < self.now || self.waker.pending() {
            return Look::Unknown;
        }
        if !self.ready.is_empty() || !self.touched.is_empty() || !self.crossed.is_empty() {
            return Look::Unknown;
        }
        if now != self.now {
            self.crowd.spared(now - self.now);
            self.now = now;
        }
        let mut from = 0;
        while let Some(port) = self.hot.next(from) {
            let Some(slot) = self.slots.get_mut(usize::from(port)) else { return Look::Unknown };
            if !slot.is_quiet(now) {
                // Who owes pays turn by turn.
                let owes = slot.share.owed(self.turns.get()) > 0;
                return if owes { Look::Unknown } else { Look::Found(port) };
            }
            from = port + 1;
        }
        Look::Still
    }

    /// A turn is over, and `next` comes: how long it is enough to look at the NICs that are polled. At `cool` one of them
    /// has to be armed.
    #[inline]
    pub(super) fn stay(&mut self, next: Next, cool: Nanos) {
        let idle = self.worked != self.now
            && next == Next::Again
            && !self.bridges.busy(&self.delivery.bpdus)
            && !self.delivery.captures.any();
        if !idle {
            self.still = 0;
            return;
        }
        let known = [self.timers.next(), self.bridges.deadline(), self.loops.deadline()];
        let latest = cool.min(self.now.saturating_add(STILL));
        self.still = known.into_iter().flatten().fold(latest, Nanos::min);
    }
}
