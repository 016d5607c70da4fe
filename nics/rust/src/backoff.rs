//! How long to wait before the next try: 0.1 s, doubling up to 5 s, without jitter, so that a run
//! under virtual time repeats itself.

use switch::Nanos;

/// The wait before the next try.
#[derive(Debug)]
pub struct Backoff {
    next: Nanos,
}

impl Backoff {
    pub const FIRST: Nanos = 100_000_000;
    pub const LONGEST: Nanos = 5_000_000_000;

    #[must_use]
    pub fn new() -> Self {
        Backoff { next: Self::FIRST }
    }

    /// How long to wait now; the next wait is twice as long.
    pub fn step(&mut self) -> Nanos {
        let now = self.next;
        self.next = (now * 2).min(Self::LONGEST);
        now
    }

    /// It worked: begin with the shortest wait next time.
    pub fn reset(&mut self) {
        self.next = Self::FIRST;
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::new()
    }
}

/// At most one log line a second about things that a peer can make happen as often as it likes.
#[derive(Debug, Default)]
pub struct LogLimit {
    quiet_until: Nanos,
    held: u64,
}

impl LogLimit {
    const PAUSE: Nanos = 1_000_000_000;

    /// Whether a line may be written now; if so, how many were held back since the last one.
    pub fn admit(&mut self, now: Nanos) -> Option<u64> {
        if now < self.quiet_until {
            self.held += 1;
            return None;
        }
        self.quiet_until = now + Self::PAUSE;
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds() {
        let mut backoff = Backoff::new();
        let waits: Vec<Nanos> = (0..8).map(|_| backoff.step() / 1_000_000).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.step(), Backoff::FIRST);
    }

    #[test]
    fn a_log_line_a_second_tells_how_many_it_stands_for() {
        let mut limit = LogLimit::default();
        assert_eq!(limit.admit(5), Some(0));
        assert_eq!(limit.admit(6), None);
        assert_eq!(limit.admit(7), None);
        assert_eq!(limit.admit(5 + LogLimit::PAUSE), Some(2));
    }
}
