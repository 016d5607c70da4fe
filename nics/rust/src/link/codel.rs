//! Controlled delay, an active queue management (RFC 8289): when frames have waited longer than the
//! target for a whole interval, drop one now and then, more often the longer it lasts.

use switch::Nanos;

/// State of one queue.
#[derive(Clone, Debug, Default)]
pub struct Codel {
    /// When the wait will have been too long for an interval; `None`: it is not.
    first_above: Option<Nanos>,
    /// The next drop, while dropping.
    drop_next: Nanos,
    /// Drops since dropping began ...
    count: u32,
    /// ... and when it began last.
    last_count: u32,
    dropping: bool,
}

impl Codel {
    /// Whether the frame at the queue's head, which waited for `waited`, is dropped at `now`;
    /// `few`: the queue behind it holds no more than one full frame.
    pub fn drops(&mut self, now: Nanos, waited: Nanos, few: bool, target: Nanos, interval: Nanos) -> bool {
        let late = self.late(now, waited, few, target, interval);
        if self.dropping {
            if !late {
                self.dropping = false;
                return false;
            }
            if now < self.drop_next {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.drop_next = control_law(self.drop_next, interval, self.count);
            return true;
        }
        if !late {
            return false;
        }
        self.dropping = true;
        // When it was dropping not long ago, begin with about the rate that was right then.
        let delta = self.count.wrapping_sub(self.last_count);
        let recent = now.saturating_sub(self.drop_next) < interval.saturating_mul(16);
        self.count = if delta > 1 && recent { delta } else { 1 };
        self.drop_next = control_law(now, interval, self.count);
        self.last_count = self.count;
        true
    }

    fn late(&mut self, now: Nanos, waited: Nanos, few: bool, target: Nanos, interval: Nanos) -> bool {
        if waited < target || few {
            self.first_above = None;
            return false;
        }
        match self.first_above {
            None => {
                self.first_above = Some(now + interval);
                false
            }
            Some(at) => now >= at,
        }
    }
}

/// RFC 8289 section 3.3.
fn control_law(at: Nanos, interval: Nanos, count: u32) -> Nanos {
    at + (interval as f64 / f64::from(count.max(1)).sqrt()) as Nanos
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn a_short_wait_or_a_short_queue_is_left_alone() {
        let mut codel = Codel::default();
        assert!((0..1000).all(|n| !codel.drops(n * MS, 4 * MS, false, 5 * MS, 100 * MS)));
        assert!((0..1000).all(|n| !codel.drops(n * MS, 40 * MS, true, 5 * MS, 100 * MS)));
    }

    #[test]
    fn drops_come_by_the_square_root_law() {
        let mut codel = Codel::default();
        let at: Vec<Nanos> =
            (0..1000).filter(|n| codel.drops(n * MS, 50 * MS, false, 5 * MS, 100 * MS)).collect();
        // 100 ms after the first late frame, then after 100/sqrt(1), 100/sqrt(2), 100/sqrt(3) ...
        assert_eq!(at[..5], [100, 200, 271, 329, 379]);
        let before = at.len();
        assert!(!codel.drops(1000 * MS, MS, false, 5 * MS, 100 * MS));
        // Late again: it takes an interval, and goes on at about the rate that it had.
        let again: Vec<Nanos> =
            (1001..1300).filter(|n| codel.drops(n * MS, 50 * MS, false, 5 * MS, 100 * MS)).collect();
        assert_eq!(again[0], 1101);
        assert!(again[1] - again[0] < 35, "{again:?} after {before} drops");
    }
}
