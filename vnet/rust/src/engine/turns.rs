//! Whose turn it is: how ports share the engine's time.
//!
//! What a burst costs is estimated from its frames and bytes, and from whether they come by system calls or
//! lie in memory: no clock is read, and the same frames give the same order. Two things follow from it.
//!
//! **Deficit round robin.** In a turn each ready port may cost [`QUANTUM`]. A burst is taken whole all the same,
//! and what it cost more is owed: the port is passed by until it has paid, as long as others have something.
//! When all owe, time is taken on to the first that has paid; so the engine never rests while there is work.
//! Who sends in bulk to a single port may have several turns at once, and then owes for all (`runs.rs`).
//!
//! **Waste.** A guest's frames that are dropped where they come in are of use to nobody. What they cost is
//! counted [`WASTE`] times over, and a port that is [`DEPTH`] behind rests: its NIC is left alone, and what
//! its guest sends waits in its own memory, or is lost there, at the guest's own cost. So a flood of frames that a
//! guard or a limit drops gets one 25th of the engine's time, whether anybody else wants it or not: the same
//! CPU may be wanted by the guests. Uplinks and links never rest.

use nics::frame::ENOUGH;
use switch::Nanos;

/// About nanoseconds.
pub type Cost = u64;

/// What each port may cost in a turn before it owes: any burst of short frames. With much less, who sends super-frames
/// waits for turns that others fill with single acknowledgements, and eight TCP connections lose a third.
pub const QUANTUM: Cost = 100_000;

/// Descriptors are looked at when bursts have cost so much since, and taken as long ...
pub const UNPOLLED: Cost = 50_000;
/// ... or cost so much: a machine that is faster than estimated is not that much faster.
pub const UNPOLLED_MOST: Cost = 4 * UNPOLLED;

/// Of who sends in bulk a burst may have so many bytes while no third port has something.
pub const LONG: usize = 3 * ENOUGH;

/// Dropped frames may take one in so many parts of the time ...
const WASTE: u64 = 25;
/// ... over so long a time: some 11,000 short frames by system calls, 170,000 in memory.
const DEPTH: Nanos = 200_000_000;
/// A port rests no shorter than that: it has to be worth it.
const REST: Nanos = 1_000_000;
/// Its guest is told of in the log so often at the most.
const TOLD: Nanos = 60_000_000_000;

/// Kinds of NICs whose frames lie in memory. All others are asked by system calls, or have a host behind them.
const IN_MEMORY: [&str; 3] = ["vhost-user", "packet", "xdp"];

/// One port's part.
#[derive(Clone, Copy, Debug, Default)]
pub struct Share {
    /// Its frames lie in memory.
    memory: bool,
    /// Its latest burst was of super-frames.
    bulk: bool,
    tap: bool,
    /// What it has to pay before it is served again while others are: so much in that turn, and
    /// [`QUANTUM`] less in each turn after it, whether it has something or not.
    owed: Cost,
    turn: u64,
    /// When what it wasted will have been paid.
    paid: Nanos,
    /// It rests until then.
    rests: Option<Nanos>,
    /// When the log may be told of it again.
    tell: Nanos,
}

impl Share {
    /// Of a port with such a NIC.
    pub fn of(kind: &str) -> Share {
        Share { memory: IN_MEMORY.contains(&kind), tap: kind == "tap", ..Share::default() }
    }

    #[inline]
    pub fn in_memory(&self) -> bool {
        self.memory
    }

    /// A kernel receives what it is sent, on our CPU.
    #[inline]
    pub fn is_tap(&self) -> bool {
        self.tap
    }

    /// What frames cost, `bytes` in all.
    #[inline]
    pub fn cost(&self, frames: u64, bytes: u64) -> Cost {
        if self.memory { frames * 40 + bytes / 14 } else { frames * 700 + bytes / 8 }
    }

    #[inline]
    pub fn owed(&self, turn: u64) -> Cost {
        if self.owed == 0 {
            return 0;
        }
        self.owed.saturating_sub(QUANTUM.saturating_mul(turn - self.turn))
    }

    /// So much is paid by taking time on.
    #[inline]
    pub fn pay(&mut self, part: Cost) {
        self.owed = self.owed.saturating_sub(part);
    }

    /// A burst of so many bytes was taken in this turn.
    #[inline]
    pub fn took(&mut self, turn: u64, cost: Cost, bytes: u64) {
        (self.owed, self.turn, self.bulk) = (cost, turn, bytes >= ENOUGH as u64);
    }

    /// Whether its latest burst was of super-frames.
    #[inline]
    pub fn in_bulk(&self) -> bool {
        self.bulk
    }

    /// Of what was taken, so much was for nothing. Whether that is to be told.
    #[cold]
    pub fn wasted(&mut self, now: Nanos, cost: Cost) -> bool {
        self.paid = self.paid.max(now).saturating_add(cost.saturating_mul(WASTE));
        let over = self.paid.saturating_sub(DEPTH);
        if over <= now {
            return false;
        }
        self.rests = Some(over.max(now.saturating_add(REST)));
        let tells = self.tell <= now;
        if tells {
            self.tell = now.saturating_add(TOLD);
        }
        tells
    }

    /// Until when it rests, if it does at `now`.
    #[inline]
    pub fn rests(&self, now: Nanos) -> Option<Nanos> {
        self.rests.filter(|until| *until > now)
    }

    /// When it has to be looked at again.
    #[inline]
    pub fn deadline(&self) -> Option<Nanos> {
        self.rests
    }

    /// Whether it rested until now.
    pub fn rested(&mut self, now: Nanos) -> bool {
        self.rests.take_if(|until| *until <= now).is_some()
    }
}
