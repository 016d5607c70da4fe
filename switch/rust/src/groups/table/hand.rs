//! The hand that goes round once in eight seconds, a thousand connections at a time: it forgets those that are old, and
//! takes from those that are silent their places in lines (`line.rs`), where time comes round.

use super::conn::{coarse, seconds};
use super::{Key, Table};
use crate::Nanos;

/// Connections looked at by one `tick`, and how long it takes to look at all.
const STRIDE: usize = 1024;
const ROUND: Nanos = 8_000_000_000;
/// Who is silent for so long loses its place in its line, which does not tell longer times apart.
const SILENT: u32 = seconds(600);
/// What lines say holds only if the hand comes after this at the latest.
pub(super) const LATE: u32 = seconds(60);

impl Table {
    /// Forget some of what is old.
    pub(in crate::groups) fn tick(&mut self, now: Nanos) {
        if now < self.due {
            return;
        }
        let time = coarse(now);
        if self.is_late(time) {
            self.blind = Some(now + 2 * ROUND);
        } else if self.blind.is_some_and(|until| until <= now) {
            self.blind = None;
        }
        for _ in 0..STRIDE.min(self.conns.len()) {
            if self.hand >= self.conns.len() {
                self.hand = 0;
            }
            let at = self.hand as u32;
            self.visit(at, time);
            self.hand += 1;
        }
        let strides = (self.conns.len() / STRIDE + 1) as u64;
        self.due = now + ROUND / strides;
        self.late = coarse(self.due).wrapping_add(LATE);
    }

    /// The hand comes by a connection.
    #[inline]
    fn visit(&mut self, at: u32, now: u32) {
        let Some(conn) = self.get_mut(at).filter(|conn| conn.key != Key::NONE) else { return };
        if conn.is_old(now) {
            self.remove(at);
        } else if conn.placed && now.wrapping_sub(conn.heard) > SILENT {
            conn.placed = false;
            let hash = conn.hash;
            self.displace(at, hash);
        }
    }

    /// When `tick` has something to do.
    pub(in crate::groups) fn deadline(&self) -> Option<Nanos> {
        (self.used > 0).then_some(self.due)
    }

    /// Whether what lines say holds: not if time has passed by that the hand did not see.
    #[inline]
    pub(in crate::groups) fn is_sure(&self, now: u32) -> bool {
        self.blind.is_none() && !self.is_late(now)
    }

    #[inline]
    fn is_late(&self, now: u32) -> bool {
        (now.wrapping_sub(self.late) as i32) > 0
    }
}
