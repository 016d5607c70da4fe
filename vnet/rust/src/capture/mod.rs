//! Captures of running traffic: pcapng, written off the per-frame path.
//!
//! In the turn a frame that somebody asked for is filtered, and its first bytes are encoded as a
//! block and copied into a bounded ring ([`tap`]). A thread per capture writes the ring out
//! ([`writer`]), as slowly as its disk or reader likes; what does not fit meanwhile is lost to the
//! capture, counted, and told in the file. Ports that nobody captures pay one test of a bit a burst, and
//! their guests no more of the engine's time than [`budget`] says.
//!
//! The bytes of a file follow from the frames and their times alone. In virtual time, with a regular
//! file and [`Spec::inline`], they are written in the turn itself: nothing is lost, and the same run
//! gives the same file.

mod budget;
pub mod tap;

pub use nics::writer;

use budget::Budget;
use nics::bpf::Program;
use nics::context::PORTS_MAX;
use nics::pcapng::{self, Direction};
use nics::{Frame, TxFrame};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use switch::{DropReason, Nanos, PortId, TagEdit, VlanId, VlanSet};
use tap::Tap;
use writer::Handle;

/// What to capture, and how.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Every port, those to come included.
    pub all: bool,
    /// These ports ...
    pub ports: Vec<PortId>,
    /// ... and at any port, frames that the switch put in these VLANs.
    pub vlans: VlanSet,
    /// Only frames that came in, or only ones that went out. In a capture of both, a frame is seen
    /// at its ingress and again at each egress.
    pub direction: Option<Direction>,
    /// Only frames that were dropped.
    pub drops_only: bool,
    /// Only frames that pass this filter, of which `filter` is the text.
    pub program: Option<Program>,
    pub filter: String,
    /// The most bytes of a frame that are kept.
    pub snaplen: u32,
    /// Super-frames are shown as the segments that a wire would see, each of them filtered and counted; all
    /// have the packet number of the one frame.
    pub segment: bool,
    /// End after so many frames.
    pub limit: Option<u64>,
    /// Take as much of the engine's time as it needs, so that only what finds no room is lost.
    pub complete: bool,
    /// Bytes that may wait for the writer.
    pub room: usize,
    /// Write in the turn, without a thread. Only a regular file is written so; with anything else
    /// a slow reader would hold up the engine.
    pub inline: bool,
    /// Nanoseconds from the Unix epoch to the engine's time 0.
    pub epoch: Nanos,
    /// For the file's section header; empty strings are left out.
    pub hardware: String,
    pub os: String,
    pub application: String,
}

impl Spec {
    /// tcpdump's default, and more than any frame has.
    pub const SNAPLEN: u32 = 262_144;
    pub const ROOM: usize = 16 << 20;
}

impl Default for Spec {
    fn default() -> Self {
        Spec {
            all: false,
            ports: Vec::new(),
            vlans: VlanSet::default(),
            direction: None,
            drops_only: false,
            program: None,
            filter: String::new(),
            snaplen: Self::SNAPLEN,
            segment: false,
            limit: None,
            complete: false,
            room: Self::ROOM,
            inline: false,
            epoch: 0,
            hardware: String::new(),
            os: String::new(),
            application: String::new(),
        }
    }
}

/// How a port is named in captures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortInfo {
    pub name: String,
    pub description: String,
    pub mac: Option<[u8; 6]>,
    /// Bits per second.
    pub speed: Option<u64>,
}

impl PortInfo {
    /// A port that was not described.
    pub fn unknown(port: PortId) -> Self {
        PortInfo { name: format!("port{port}"), ..PortInfo::default() }
    }

    /// Its interface block in a capture.
    pub fn interface<'a>(&'a self, snaplen: u32, filter: &'a str) -> pcapng::Interface<'a> {
        pcapng::Interface {
            name: &self.name,
            description: &self.description,
            mac: self.mac,
            speed: self.speed,
            snaplen,
            filter,
        }
    }
}

/// One frame seen at one port.
#[derive(Clone, Copy, Debug)]
pub struct Sighting {
    pub now: Nanos,
    pub port: PortId,
    /// The VLAN it was classified to, 0 when it was dropped before that.
    pub vlan: VlanId,
    /// The same for the frame at its ingress and for all its copies at egresses.
    pub packet: u64,
    /// Why it was dropped there, if it was.
    pub dropped: Option<DropReason>,
}

/// A capture's number; never used twice.
pub type CaptureId = u32;

/// All captures of one engine.
#[derive(Debug, Default)]
pub struct CaptureSet {
    taps: Vec<(CaptureId, Tap)>,
    /// Ports that some capture wants to hear from, a bit each; empty while there is no capture.
    wanted: Vec<u64>,
    ports: BTreeMap<PortId, PortInfo>,
    last: CaptureId,
    now: Nanos,
    /// None while there is no capture, or none that is bounded by it.
    budget: Option<Budget>,
    /// Some capture is not bounded by it.
    unbounded: bool,
    /// All captures are of drops alone.
    drops_only: bool,
}

impl CaptureSet {
    /// Tell a port's name, before its first frame. Captures that are running take it up.
    pub fn describe(&mut self, port: PortId, info: PortInfo) {
        self.ports.insert(port, info);
        for (_, tap) in &mut self.taps {
            tap.retire(port);
            tap.introduce(port, &self.ports);
        }
    }

    /// How a port is named; one that nobody named, by its number.
    #[must_use]
    pub fn info(&self, port: PortId) -> PortInfo {
        self.ports.get(&port).cloned().unwrap_or_else(|| PortInfo::unknown(port))
    }

    /// The port is gone; its number may be another's soon, whom nobody asked for.
    pub fn forget(&mut self, port: PortId) {
        self.ports.remove(&port);
        for (_, tap) in &mut self.taps {
            tap.forget(port);
        }
        self.refresh();
    }

    /// Start a capture into `fd`, which is closed when it has ended.
    pub fn start(&mut self, now: Nanos, spec: Spec, fd: OwnedFd) -> io::Result<(CaptureId, Arc<Handle>)> {
        self.now = now;
        let (mut tap, handle) = Tap::start(now, spec, fd)?;
        for &port in self.ports.keys() {
            tap.introduce(port, &self.ports);
        }
        tap.flush(now, true);
        self.last += 1;
        self.taps.push((self.last, tap));
        self.refresh();
        Ok((self.last, handle))
    }

    /// Have a capture look at these ports, and for these VLANs at any port, instead of those that it had. One
    /// that looks at every port goes on with it; one that has ended is fine.
    pub fn select(&mut self, id: CaptureId, ports: &[PortId], vlans: &VlanSet) {
        for (_, tap) in self.taps.iter_mut().filter(|(number, _)| *number == id) {
            tap.select(ports, vlans.clone());
            for &port in self.ports.keys() {
                tap.introduce(port, &self.ports);
            }
        }
        self.refresh();
    }

    /// End a capture; one that has ended already is fine. Its handle tells when all is written.
    pub fn stop(&mut self, now: Nanos, id: CaptureId) {
        for (_, mut tap) in self.taps.extract_if(.., |(number, _)| *number == id) {
            tap.close(now);
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        self.wanted.clear();
        if !self.taps.is_empty() {
            self.wanted.resize(PORTS_MAX / 64, 0);
        }
        for (_, tap) in &self.taps {
            tap.mark_wanted(&mut self.wanted);
        }
        self.drops_only = self.taps.iter().all(|(_, tap)| tap.is_of_drops());
        self.unbounded = self.taps.iter().any(|(_, tap)| !tap.is_bounded());
        if self.taps.iter().any(|(_, tap)| tap.is_bounded()) {
            self.budget.get_or_insert_with(|| Budget::new(self.now));
        } else {
            self.budget = None;
        }
    }

    /// Whether there is any capture.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Whether some capture wants to see what comes in and goes out at `port`.
    #[inline]
    #[must_use]
    pub fn wants(&self, port: PortId) -> bool {
        self.wanted.get(usize::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
    }

    /// A burst begins: see whether there is time to look at it.
    #[inline]
    pub fn settle(&mut self) {
        if let Some(budget) = &mut self.budget {
            budget.settle();
        }
    }

    /// Whether some capture looks at frames of this burst at `port` that are dropped there. Where it only counts
    /// them, they are told of by [`CaptureSet::pass_over`].
    #[inline]
    #[must_use]
    pub fn looks_at_drops(&self, port: PortId) -> bool {
        self.wants(port) && (self.unbounded || !self.is_spent())
    }

    /// Whether some capture looks at all frames of this burst at `port`.
    #[inline]
    #[must_use]
    pub fn looks_at(&self, port: PortId) -> bool {
        !self.drops_only && self.looks_at_drops(port)
    }

    fn is_spent(&self) -> bool {
        self.budget.as_ref().is_some_and(Budget::is_spent)
    }

    /// `n` frames of a VLAN, `dropped` of them dropped, passed a port where no capture looks at them.
    pub fn pass_over(&mut self, port: PortId, vlan: VlanId, direction: Direction, n: u64, dropped: u64) {
        for (_, tap) in &mut self.taps {
            tap.pass_over(port, vlan, direction, n, dropped, &self.ports);
        }
    }

    /// A frame came in.
    pub fn rx(&mut self, sighting: &Sighting, frame: &Frame<'_>) {
        self.offer(sighting, Direction::In, &TxFrame { frame, edit: TagEdit::NONE });
    }

    /// A frame went out, or would have.
    pub fn tx(&mut self, sighting: &Sighting, frame: &TxFrame<'_>) {
        self.offer(sighting, Direction::Out, frame);
    }

    fn offer(&mut self, sighting: &Sighting, direction: Direction, frame: &TxFrame<'_>) {
        self.now = sighting.now;
        let spent = self.is_spent();
        let mut cost = 0;
        for (_, tap) in &mut self.taps {
            if !tap.is_bounded() {
                tap.offer(sighting, direction, frame, &self.ports);
            } else if spent {
                let dropped = u64::from(sighting.dropped.is_some());
                tap.pass_over(sighting.port, sighting.vlan, direction, 1, dropped, &self.ports);
            } else {
                cost += tap.offer(sighting, direction, frame, &self.ports);
            }
        }
        if let Some(budget) = &mut self.budget {
            budget.take(cost);
        }
    }

    /// The turn is over: let writers know, and end captures that are full or that failed. `idle`: nothing
    /// was done in it. `rests`: the next one may be far.
    pub fn flush(&mut self, now: Nanos, idle: bool, rests: bool) {
        let mut ended = false;
        for (_, tap) in &mut self.taps {
            tap.flush(now, rests);
            ended |= tap.is_done();
        }
        if let Some(budget) = &mut self.budget {
            budget.earn(now, idle || rests);
        }
        if ended {
            let now = self.now;
            for (_, mut tap) in self.taps.extract_if(.., |(_, tap)| tap.is_done()) {
                tap.close(now);
            }
            self.refresh();
        }
    }
}

impl Drop for CaptureSet {
    fn drop(&mut self) {
        for (_, tap) in &mut self.taps {
            tap.close(self.now);
        }
    }
}

#[cfg(test)]
mod tests;
