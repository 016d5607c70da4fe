//! Who sent a frame, told beside it over links: for whom it counts (`vnet/rust/src/engine/usage.rs`), and on whose
//! account is what it begins at the switches behind them (`switch/rust/src/account.rs`).
//!
//! At the switch where a frame comes in, that is its ingress port, and nobody has to tell. Behind a link
//! it is not; so a link carries two bytes for each frame, which no guest can write and no impairment damages.

use crate::frame::BURST;
use arrayvec::ArrayVec;
use switch::PortId;

/// The port that a frame came in by where it came into the fabric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin(u16);

/// Port numbers are below 4,096.
const PORT: u16 = 0x0fff;
const SPREAD: u16 = 0x8000;

impl Origin {
    /// No port: a switch's own frame, or nobody said.
    pub const NOBODY: Origin = Origin(0x7fff);

    #[inline]
    #[must_use]
    pub fn of(port: PortId) -> Origin {
        if port <= PORT { Origin(port) } else { Origin::NOBODY }
    }

    /// The port's number; that of nobody is beyond all ports.
    #[inline]
    #[must_use]
    pub fn port(self) -> PortId {
        self.0 & !SPREAD
    }

    /// The same for a copy of a frame that was flooded, and counted for its sender when that was done.
    #[inline]
    #[must_use]
    pub fn spread(self) -> Origin {
        Origin(self.0 | SPREAD)
    }

    /// Whether its sender's frame has been counted as one that stays in the fabric.
    #[inline]
    #[must_use]
    pub fn is_spread(self) -> bool {
        self.0 & SPREAD != 0
    }
}

impl Default for Origin {
    fn default() -> Self {
        Origin::NOBODY
    }
}

/// The origins of a burst: the same for all frames, or one for each.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    all: Origin,
    each: ArrayVec<Origin, BURST>,
}

impl Origins {
    /// All frames have this one.
    #[inline]
    pub fn set(&mut self, all: Origin) {
        self.all = all;
        self.each.clear();
    }

    /// That of the next frame; the first call after `set` is for the first. A frame beyond a burst's end
    /// is nobody's.
    #[inline]
    pub fn push(&mut self, origin: Origin) {
        self.all = Origin::NOBODY;
        let _ = self.each.try_push(origin);
    }

    #[inline]
    #[must_use]
    pub fn of(&self, index: usize) -> Origin {
        self.each.get(index).copied().unwrap_or(self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_port_or_nobody_spread_or_not() {
        for port in [0, 1, 4095] {
            let origin = Origin::of(port);
            assert_eq!((origin.port(), origin.is_spread()), (port, false));
            assert_eq!((origin.spread().port(), origin.spread().is_spread()), (port, true));
        }
        for nobody in [Origin::NOBODY, Origin::NOBODY.spread(), Origin::of(4096), Origin::of(PortId::MAX)] {
            assert!(nobody.port() > 4095);
        }
    }

    #[test]
    fn a_burst_has_one_origin_or_many() {
        let mut origins = Origins::default();
        assert_eq!(origins.of(0), Origin::NOBODY);
        origins.set(Origin::of(7));
        assert_eq!((origins.of(0), origins.of(63)), (Origin::of(7), Origin::of(7)));
        origins.set(Origin::NOBODY);
        for port in 0..70 {
            origins.push(Origin::of(port));
        }
        assert_eq!((origins.of(3), origins.of(63)), (Origin::of(3), Origin::of(63)));
        assert_eq!(origins.of(64), Origin::NOBODY);
        origins.set(Origin::of(1));
        assert_eq!(origins.of(3), Origin::of(1));
    }
}
