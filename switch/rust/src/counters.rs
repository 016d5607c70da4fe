//! Counters that the engine writes and anybody reads, at any time, without a call or a lock.

use crate::DropReason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A counter with one writer. Adding is a plain load and store; no locked instruction.
#[derive(Debug, Default)]
#[repr(transparent)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Add `n`. Only the engine's turn may call it: two writers would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value now.
    #[inline]
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one port took in, sent out and dropped, and why.
///
/// `rx_*` is what the switch took in at this port, before any drop; `tx_*` what its NIC accepted.
/// `forwarded` counts received frames that at least one egress was chosen for, so that
/// `rx_frames = forwarded + the sum of all drops with side Ingress`, at any moment between bursts.
#[derive(Debug)]
#[repr(align(64))]
pub struct PortCounters {
    pub rx_frames: Counter,
    pub rx_bytes: Counter,
    pub tx_frames: Counter,
    pub tx_bytes: Counter,
    pub forwarded: Counter,
    pub drops: [Counter; DropReason::COUNT],
    /// Nanoseconds that the NIC was left alone, because nearly all that its guest sent was dropped.
    pub held: Counter,
}

impl Default for PortCounters {
    fn default() -> Self {
        PortCounters {
            rx_frames: Counter::default(),
            rx_bytes: Counter::default(),
            tx_frames: Counter::default(),
            tx_bytes: Counter::default(),
            forwarded: Counter::default(),
            drops: [const { Counter(AtomicU64::new(0)) }; DropReason::COUNT],
            held: Counter::default(),
        }
    }
}

impl PortCounters {
    /// A frame that was counted as forwarded is dropped after all.
    pub(crate) fn takes_back(&self, reason: DropReason) {
        self.forwarded.add(u64::MAX);
        self.dropped(reason, 1);
    }

    /// Count `n` frames dropped for `reason`.
    #[inline]
    pub fn dropped(&self, reason: DropReason, n: u64) {
        self.drops[reason as usize].add(n);
    }
}
