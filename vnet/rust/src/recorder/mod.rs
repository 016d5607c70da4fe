//! The flight recorder: what lately passed each port, kept in memory for whoever asks afterwards.
//!
//! Always on, so it must cost next to nothing: a frame's first bytes and what became of it are written
//! once, when its burst was delivered, into a ring of its ingress port's own ([`ring`]); where an egress adds
//! something, which is that it refused the frame, that is a record there, of the same packet number. Dropped
//! frames have a ring beside that of the others, so that neither drives the other out.
//!
//! Each port is kept whole up to some rate, and beyond it of each burst the first few, and drops before
//! others: at that rate a ring holds a moment anyway, and so a longer one. What is left out is counted and
//! told. Nothing that one port does changes what is kept of another.
//!
//! Memory is taken as frames come, a chunk at a time, up to a bound for each port and one for all.

mod past;
mod ring;
mod trigger;

pub use past::{Past, PastStats};
pub use trigger::Trigger;

use nics::offload::complete_in_place;
use nics::{Frame, HEAD, Offload, TxFrame};
use ring::{CHUNK, FIRST, GAP, Record, Ring, USUAL, Verdict};
use switch::{Decision, DropReason, Nanos, Out, PortId, VlanId};
use trigger::Triggers;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes a port at most.
    pub size: usize,
    /// Bytes of all ports together at most, beside the first chunks of each ring ([`ring::FIRST`]).
    pub total: usize,
    /// The first bytes of each frame, at most [`HEAD`]: the others are not ours to look at later.
    pub snap: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { size: 256 << 10, total: 64 << 20, snap: USUAL }
    }
}

/// A frame every 2^SHIFT ns is kept in the long run, about half a million a second, whatever the bursts ...
const SHIFT: u32 = 11;

/// ... after so many frames at once, which is about what a ring of the usual size holds ...
const CREDIT: usize = 2048;

/// ... and beyond that so many of each turn, and of drops among others so many.
const FEW: usize = 1;
const FEW_DROPS: usize = 8;

/// What is kept of one port.
#[derive(Debug)]
struct Track {
    passed: Ring,
    dropped: Ring,
    /// Frames that were not kept, since the latest record of either ring.
    passed_gap: u32,
    dropped_gap: u32,
    credit: usize,
    few: usize,
    /// When credit was last given.
    turn: Nanos,
    /// What each trigger has counted.
    counts: trigger::Counts,
}

impl Track {
    fn new() -> Self {
        Track {
            passed: Ring::default(),
            dropped: Ring::default(),
            passed_gap: 0,
            dropped_gap: 0,
            credit: CREDIT,
            few: FEW,
            turn: 0,
            counts: trigger::Counts::new(),
        }
    }

    /// How many of `n` frames to keep.
    #[inline]
    fn allow(&mut self, now: Nanos, n: usize) -> usize {
        if now != self.turn {
            let earned = (now >> SHIFT).saturating_sub(self.turn >> SHIFT);
            self.credit = (self.credit + earned.min(CREDIT as u64) as usize).min(CREDIT);
            self.few = FEW;
            self.turn = now;
        }
        if n <= self.credit {
            self.credit -= n;
            return n;
        }
        let kept = n.min(self.few);
        self.few -= kept;
        kept
    }

    /// In line, so that the record is put together in registers: written in words and read as a whole it would have to
    /// wait until all stores before it have reached the cache.
    #[inline(always)]
    fn keep(&mut self, mut record: Record, head: &[u8], offload: Offload, rooms: &mut Rooms) {
        let (ring, gap, most) = if record.verdict.dropped().is_some() {
            (&mut self.dropped, &mut self.dropped_gap, rooms.most_dropped)
        } else {
            (&mut self.passed, &mut self.passed_gap, rooms.most_passed)
        };
        record.gap = (*gap).min(GAP);
        *gap -= record.gap;
        let kept = ring.push(&record, &head[..head.len().min(rooms.snap)], most, &mut rooms.left);
        // Of a part nobody can tell whether the checksum is right; of all of it, everybody will.
        if offload.flags & Offload::NEEDS_CSUM != 0 && kept.len() == record.len as usize {
            complete_in_place(kept, offload);
        }
    }

    fn keep_out(
        &mut self,
        now: Nanos,
        packet: u64,
        vlan: VlanId,
        tx: &TxFrame<'_>,
        verdict: Verdict,
        rooms: &mut Rooms,
    ) {
        let mut scratch = [0; HEAD + 4];
        let record = Record { time: now, packet, len: tx.len() as u32, vlan, verdict, gap: 0 };
        self.keep(record, tx.head(&mut scratch), tx.offload(), rooms);
    }

    fn leave_out(&mut self, verdict: Verdict, n: usize) {
        let gap = if verdict.dropped().is_some() { &mut self.dropped_gap } else { &mut self.passed_gap };
        *gap = gap.saturating_add(n as u32);
    }
}

/// What rings may take.
#[derive(Debug)]
struct Rooms {
    /// Chunks that may still be taken.
    left: usize,
    /// Chunks of one ring at most.
    most_passed: usize,
    most_dropped: usize,
    snap: usize,
}

impl Rooms {
    /// Three quarters of a port's bytes are for what passed, one for what was dropped.
    fn new(settings: &Settings) -> Self {
        let chunks = settings.size / CHUNK;
        let most_dropped = (chunks / 4).max(FIRST);
        Rooms {
            left: settings.total / CHUNK,
            most_passed: chunks.saturating_sub(most_dropped).max(FIRST),
            most_dropped,
            snap: settings.snap.min(HEAD),
        }
    }
}

/// All that is kept of one engine's ports.
#[derive(Debug)]
pub struct Recorder {
    /// By port; empty while the recorder is off.
    tracks: Vec<Option<Box<Track>>>,
    rooms: Rooms,
    /// None: off.
    settings: Option<Settings>,
    triggers: Triggers,
}

impl Recorder {
    #[must_use]
    pub fn new() -> Self {
        Recorder {
            tracks: Vec::new(),
            rooms: Rooms::new(&Settings::default()),
            settings: Some(Settings::default()),
            triggers: Triggers::default(),
        }
    }

    /// Go by other settings, None: off. What was kept is forgotten if they differ.
    pub fn set(&mut self, settings: Option<Settings>, triggers: Vec<Trigger>) {
        self.triggers = Triggers::new(triggers);
        if settings != self.settings {
            self.settings = settings;
            self.tracks.clear();
            self.rooms = Rooms::new(&settings.unwrap_or_default());
        }
    }

    /// The port is gone, and what was kept of it.
    pub fn forget(&mut self, port: PortId) {
        if let Some(track) = self.tracks.get_mut(usize::from(port)).and_then(Option::take) {
            self.rooms.left += track.passed.taken() + track.dropped.taken();
        }
    }

    #[cold]
    fn begin(&mut self, port: PortId) {
        let index = usize::from(port);
        if self.tracks.len() <= index {
            self.tracks.resize_with(index + 1, || None);
        }
        if let Some(track) = self.tracks.get_mut(index) {
            track.get_or_insert_with(|| Box::new(Track::new()));
        }
    }

    /// A burst came in, with what was decided about each frame. `packet`: the first one's number; `same`:
    /// all have the first one's decision.
    #[inline]
    pub fn rx(
        &mut self,
        now: Nanos,
        port: PortId,
        packet: u64,
        burst: &[Frame<'_>],
        decisions: &[Decision],
        same: bool,
    ) {
        let Some((track, rooms, triggers)) = self.track(port) else { return };
        let kept = track.allow(now, burst.len());
        let frames = burst.iter().zip(decisions).enumerate();
        for (i, (frame, decision)) in frames.clone().take(kept) {
            track.keep(record(now, packet + i as u64, frame, decision), frame.head(), frame.offload, rooms);
        }
        if kept < burst.len() {
            thin(track, rooms, now, packet, frames.skip(kept), same);
        }
        if triggers.any() {
            triggers.burst(now, port, &mut track.counts, decisions);
        }
    }

    /// A frame, or a copy of it, that would have left by `port`, was refused there.
    pub fn refused(
        &mut self,
        now: Nanos,
        port: PortId,
        packet: u64,
        vlan: VlanId,
        tx: &TxFrame<'_>,
        reason: DropReason,
    ) {
        self.refusals(now, port, 1, std::iter::once((packet, vlan, tx, reason)));
    }

    /// The same for `n` of a burst: number, VLAN, frame and reason of each.
    pub fn refusals<'a, 'f: 'a>(
        &mut self,
        now: Nanos,
        port: PortId,
        n: usize,
        each: impl Iterator<Item = (u64, VlanId, &'a TxFrame<'f>, DropReason)>,
    ) {
        let Some((track, rooms, triggers)) = self.track(port).filter(|_| n > 0) else { return };
        let kept = track.allow(now, n);
        for (at, (packet, vlan, tx, reason)) in each.enumerate() {
            let verdict = Verdict::Refused(reason);
            if at < kept {
                track.keep_out(now, packet, vlan, tx, verdict, rooms);
            } else {
                track.leave_out(verdict, 1);
            }
            if triggers.any() {
                triggers.count(now, port, &mut track.counts, reason, 1);
            }
        }
    }

    /// A frame of the switch's own left by `port`.
    pub fn own(&mut self, now: Nanos, port: PortId, packet: u64, tx: &TxFrame<'_>) {
        let Some((track, rooms, _)) = self.track(port) else { return };
        if track.allow(now, 1) > 0 {
            track.keep_out(now, packet, 0, tx, Verdict::Own, rooms);
        } else {
            track.leave_out(Verdict::Own, 1);
        }
    }

    /// The port's track; None while the recorder is off.
    fn track(&mut self, port: PortId) -> Option<(&mut Track, &mut Rooms, &mut Triggers)> {
        self.settings?;
        if !matches!(self.tracks.get(usize::from(port)), Some(Some(_))) {
            self.begin(port);
        }
        let track = self.tracks.get_mut(usize::from(port))?.as_mut()?;
        Some((track, &mut self.rooms, &mut self.triggers))
    }

    /// `n` drops at `port` of which there are no frames to be kept.
    pub fn count(&mut self, now: Nanos, port: PortId, reason: DropReason, n: u64) {
        if !self.triggers.any() {
            return;
        }
        if let Some((track, _, triggers)) = self.track(port) {
            triggers.count(now, port, &mut track.counts, reason, n);
        }
    }

    /// Triggers, by number, that went off since the last call, and the ports where.
    pub fn fired(&mut self) -> impl Iterator<Item = (PortId, u32)> {
        self.triggers.fired()
    }

    /// Copy a piece of what is kept; see [`past`].
    fn copy(&self, cursor: &mut past::Cursor, piece: &mut past::Piece) -> bool {
        past::copy(&self.tracks, cursor, piece)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder::new()
    }
}

#[inline]
fn record(now: Nanos, packet: u64, frame: &Frame<'_>, decision: &Decision) -> Record {
    let verdict = match decision.out {
        Out::Port(port) => Verdict::To(port),
        Out::Flood(_) => Verdict::Flood,
        Out::Group(_) | Out::Report(_) => Verdict::Group,
        Out::Local | Out::Answer => Verdict::Local,
        Out::Drop(reason) => Verdict::Dropped(reason),
    };
    Record { time: now, packet, len: frame.len() as u32, vlan: decision.vlan, verdict, gap: 0 }
}

/// The rest of a burst of which the first frames were kept: some drops yet, if there may be any.
#[inline(never)]
fn thin<'a, 'f: 'a>(
    track: &mut Track,
    rooms: &mut Rooms,
    now: Nanos,
    packet: u64,
    mut rest: impl ExactSizeIterator<Item = (usize, (&'a Frame<'f>, &'a Decision))>,
    same: bool,
) {
    if same {
        let left = rest.len();
        if let Some((i, (frame, decision))) = rest.next() {
            track.leave_out(record(now, packet + i as u64, frame, decision).verdict, left);
        }
        return;
    }
    let mut drops = FEW_DROPS;
    for (i, (frame, decision)) in rest {
        let record = record(now, packet + i as u64, frame, decision);
        if record.verdict.dropped().is_some() && drops > 0 {
            drops -= 1;
            track.keep(record, frame.head(), frame.offload, rooms);
        } else {
            track.leave_out(record.verdict, 1);
        }
    }
}

#[cfg(test)]
mod tests;
