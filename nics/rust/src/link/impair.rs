//! What a link does to frames one way, as numbers.

use switch::Nanos;

/// Millionths.
pub type Share = u32;

/// All of it at its default is a cable that does nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Impair {
    /// How much later frames arrive.
    pub delay: Nanos,
    /// How much the delay varies, and how.
    pub jitter: Nanos,
    pub spread: Spread,
    /// Frames that get lost, each for itself.
    pub loss: Share,
    /// And in bursts.
    pub bursts: Option<Bursts>,
    /// Frames that arrive twice.
    pub duplicate: Share,
    /// Frames that are not delayed, and so overtake those that are. All others keep their order,
    /// whatever the jitter.
    pub reorder: Share,
    /// Frames with a wrong bit in their payload.
    pub corrupt: Share,
    /// Bits of frames per second; 0 for as many as come.
    pub rate: u64,
    /// Where frames wait that come faster than `rate`.
    pub queue: Queue,
    /// The largest payload, in bytes; 0 for any. Longer frames are lost.
    pub mtu: u32,
}

impl Impair {
    /// Whether frames pass as if it were not there.
    #[must_use]
    pub fn is_none(&self) -> bool {
        let Impair {
            delay,
            jitter,
            spread: _,
            loss,
            bursts,
            duplicate,
            reorder: _,
            corrupt,
            rate,
            queue: _,
            mtu,
        } = self;
        *delay == 0
            && *jitter == 0
            && *loss == 0
            && bursts.is_none()
            && *duplicate == 0
            && *corrupt == 0
            && *rate == 0
            && *mtu == 0
    }

    /// Whether a frame may arrive later than it was sent.
    #[must_use]
    pub fn delays(&self) -> bool {
        self.delay != 0 || self.jitter != 0 || self.rate != 0
    }

    /// Whether a frame may get lost for no fault of its own, or arrive twice or damaged.
    #[must_use]
    pub fn loses(&self) -> bool {
        let Impair { loss, bursts, duplicate, corrupt, rate, .. } = self;
        *loss != 0 || bursts.is_some() || *duplicate != 0 || *corrupt != 0 || *rate != 0
    }
}

/// How jitter is distributed about the delay. No frame arrives before it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// From delay - jitter to delay + jitter, evenly.
    #[default]
    Uniform,
    /// A bell whose standard deviation is the jitter.
    Normal,
    /// Mostly a little less, sometimes much more (shape 4); the standard deviation is the jitter, the
    /// mean the delay.
    Pareto,
}

/// Loss in bursts: the model of Gilbert and Elliott. Between bursts frames are lost by
/// [`Impair::loss`]. A burst is 1 / `end` frames long on average.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bursts {
    /// That a burst begins with the next frame.
    pub begin: Share,
    /// That a burst is over with the next frame.
    pub end: Share,
    /// Frames that get lost in a burst.
    pub loss: Share,
}

/// Where frames wait, and which are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Frames that wait at most.
    pub packets: u32,
    /// Their bytes; 0 for any.
    pub bytes: u64,
    pub aqm: Aqm,
}

impl Default for Queue {
    fn default() -> Self {
        Queue { packets: 1000, bytes: 0, aqm: Aqm::Tail }
    }
}

/// How a queue is kept short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aqm {
    /// What does not fit is lost.
    Tail,
    /// Controlled delay (RFC 8289).
    Codel { target: Nanos, interval: Nanos },
}
