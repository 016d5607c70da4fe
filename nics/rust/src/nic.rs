//! The contract of a door.

use crate::context::{Context, PORTS_MAX};
use crate::frame::{Arena, BURST, Burst, TxFrame};
use crate::offload::Offload;
use crate::origin::Origins;
use crate::poller::Readiness;
use arrayvec::ArrayVec;
use std::io;
use switch::{DropReason, Nanos, PortId};

/// What a door takes at its egress. Whatever it does not take, the engine completes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub struct Caps {
    /// Frames whose checksum is still to be computed.
    pub csum: bool,
    /// TCP super-frames over IPv4, over IPv6, and ones that use ECN.
    pub tso4: bool,
    pub tso6: bool,
    pub ecn: bool,
    /// UDP super-frames (`UDP_L4`).
    pub uso: bool,
    /// The longest frame it can carry, in bytes.
    pub max_frame: u32,
}

impl Caps {
    /// No offloads at all.
    #[must_use]
    pub const fn plain(max_frame: u32) -> Self {
        Caps { csum: false, tso4: false, tso6: false, ecn: false, uso: false, max_frame }
    }

    /// Whether a frame in this state can be handed over as it is.
    #[inline]
    #[must_use]
    pub fn take(&self, offload: Offload) -> bool {
        if offload.flags & Offload::NEEDS_CSUM != 0 && !self.csum {
            return false;
        }
        if offload.gso_type & Offload::GSO_ECN != 0 && !self.ecn {
            return false;
        }
        match offload.gso_type & !Offload::GSO_ECN {
            Offload::GSO_NONE => true,
            Offload::GSO_TCPV4 => self.tso4,
            Offload::GSO_TCPV6 => self.tso6,
            Offload::GSO_UDP_L4 => self.uso,
            _ => false,
        }
    }
}

/// What `rx_burst` leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rx {
    /// There may be more: call again next turn.
    More,
    /// Drained: wait for readiness, a kick or a tick.
    Idle,
}

/// What became of the frames given to `tx_burst`: all were taken, but for those named here.
#[derive(Debug, Default)]
pub struct TxReport {
    /// The port that the frames came in by.
    pub ingress: PortId,
    /// Who sent them, told to links and, where `by_origin` says so, to uplinks.
    pub origins: Origins,
    pub by_origin: bool,
    drops: ArrayVec<(u8, DropReason), BURST>,
}

impl TxReport {
    /// Whose frame number `index` of the burst is, for doors that must be fair: the port of who sent it,
    /// behind whatever links, or else the one that it came in by.
    #[inline]
    #[must_use]
    pub fn sender(&self, index: usize) -> PortId {
        let origin = self.origins.of(index).port();
        if self.by_origin && usize::from(origin) < PORTS_MAX { origin } else { self.ingress }
    }

    /// Frame number `index` of the burst was not taken, for `reason` (an egress one).
    #[inline]
    pub fn drop(&mut self, index: usize, reason: DropReason) {
        debug_assert!(index < BURST);
        // A burst is at most BURST long and each frame is reported at most once, so there is room;
        // a door that breaks that rule loses a count, not the process.
        let _ = self.drops.try_push((index as u8, reason));
    }

    /// None of frames `from..to` was taken.
    pub fn drop_rest(&mut self, from: usize, to: usize, reason: DropReason) {
        for index in from..to {
            self.drop(index, reason);
        }
    }

    #[must_use]
    pub fn drops(&self) -> &[(u8, DropReason)] {
        &self.drops
    }

    /// Why frame number `index` was not taken, if it wasn't.
    #[must_use]
    pub fn reason(&self, index: usize) -> Option<DropReason> {
        self.drops.iter().find(|(at, _)| usize::from(*at) == index).map(|(_, reason)| *reason)
    }

    pub fn clear(&mut self) {
        self.drops.clear();
    }
}

/// So few frames are hurried on with: they are no bulk, and what is written for them early is not written in vain.
pub const FEW: usize = 3;

/// A door: bursts in from one guest or interface, bursts out to it.
///
/// All calls come from one thread at a time (the engine's turn). No call may block, and none may
/// panic on anything that a guest sent. Time is an argument.
pub trait Nic: Send {
    /// The kind's name, as in a topology file.
    fn kind(&self) -> &'static str;

    /// What the egress takes now. May change with what the guest negotiates.
    fn caps(&self) -> Caps;

    /// Whether the peer is there and its link is up. Frames for a door without carrier are dropped.
    /// A change is announced as an [`EventKind::Carrier`](crate::EventKind::Carrier) by the door.
    fn carrier(&self) -> bool;

    /// The operator sets the link up or down; a door that can show its guest, does. The switch side
    /// stops by itself.
    fn set_link(&mut self, _up: bool, _now: Nanos) {}

    /// The same for one of several doors in this one.
    fn set_member(&mut self, _member: usize, _up: bool, _now: Nanos) {}

    /// The carrier of doors in this one may have changed. Returns what `tick` does.
    fn look(&mut self, _now: Nanos) -> bool {
        false
    }

    /// Frames wait for `rx_burst` of which nobody will tell: the other end of a link sent them.
    fn waits(&self) -> bool {
        false
    }

    /// What is to be seen of several doors in this one.
    fn bond(&self) -> Option<crate::bond::View> {
        None
    }

    /// Of several doors in this one, the number and name of that by which a frame with this head would be sent.
    fn way_of(&self, _head: &[u8]) -> Option<(usize, String)> {
        None
    }

    /// The door has been given a port: register descriptors with `cx.poller`, keep `cx`.
    fn attach(&mut self, _cx: Context, _now: Nanos) -> io::Result<()> {
        Ok(())
    }

    /// The door leaves its port: unregister, close, remove its socket files.
    fn detach(&mut self) {}

    /// The descriptor registered under `sub` is ready. Returns whether `rx_burst` should be called.
    fn ready(&mut self, _sub: u16, _readiness: Readiness, _now: Nanos) -> bool {
        false
    }

    /// Receive up to a burst, no more than it has `room` for. Frames are lent until `rx_done`.
    /// `arena` is memory for doors that have none of their own.
    fn rx_burst<'a>(&'a mut self, now: Nanos, arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx;

    /// The frames of the last burst are no longer looked at: their buffers may go back to the guest.
    fn rx_done(&mut self) {}

    /// Send up to [`BURST`] frames, in order. What is not taken is named in `report`; the rest was
    /// copied or sent before this returns. Frames are within `caps`.
    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport);

    /// `tx_burst` will be called within some hundred nanoseconds, with [`FEW`] frames at the most: somebody may be waiting for
    /// them.
    fn brace(&mut self) {}

    /// The last `tx_burst` of this turn is over: one system call or notification for all of it.
    /// Returns whether `rx_burst` should be called (an in-process guest may have answers ready).
    fn flush(&mut self, _now: Nanos) -> bool {
        false
    }

    /// When `tick` wants to be called, if ever.
    fn deadline(&self) -> Option<Nanos> {
        None
    }

    /// A deadline has passed. Returns whether `rx_burst` should be called.
    fn tick(&mut self, _now: Nanos) -> bool {
        false
    }

    /// The door's frames come and go in shared memory: while there is traffic the engine looks in
    /// without waiting for a notification.
    fn polled(&self) -> bool {
        false
    }

    /// A look at a polled door that tells nobody: `rx_burst` would give nothing, as it did when it was called last. False
    /// when that is not certain. Who has nothing to do may get ready for what is sent to it next.
    fn quiet(&mut self, _now: Nanos) -> bool {
        false
    }

    /// The engine is about to sleep: ask the guest for notifications. Returns false when work came
    /// in meanwhile.
    fn arm(&mut self) -> bool {
        true
    }

    /// Take what the door itself dropped since the last call: (reason, frames), reasons of side
    /// `Door`.
    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        None
    }
}
