//! Mirrors: copies of what passes some ports, for somebody who watches.
//!
//! A mirror selects frames by where they pass (ports, each way) and by VLAN, and gives one copy of each
//! frame that a switch decides about to a port, or sends it on by ERSPAN ([`erspan`]). Frames are noted
//! while their burst is delivered, a bit each, and copied when all originals are on their way: a copy
//! delays nobody, and what its port can't take is dropped there, as `mirror-full`. A port that copies go
//! to is never a source, so that no copy is copied.
//!
//! What comes in is copied as it came, whatever becomes of it; what goes out as it leaves, before the
//! queue of the NIC, which may lose it still. Bursts at ports that nobody watches pay one test of a bit.

pub mod erspan;
mod made;

use crate::capture::{CaptureSet, Sighting};
use crate::engine::shape::{Ingress, Note};
use crate::engine::{PortSet, Slot};
use arrayvec::ArrayVec;
use erspan::Erspan;
use made::Made;
use nics::context::PORTS_MAX;
use nics::offload::Completer;
use nics::{BURST, Caps, Frame, Nic, Origin, TxFrame, TxReport};
use std::sync::Arc;
use switch::{
    Counter, Decision, DropReason, Limit, Meter, Nanos, PortCounters, PortId, TagEdit, VlanId, VlanSet,
};

/// Which frames, and where to.
#[derive(Clone, Debug)]
pub struct Spec {
    pub name: String,
    /// Ports whose frames are copied when they come in, and when they go out.
    pub ingress: Vec<PortId>,
    pub egress: Vec<PortId>,
    /// Only frames of these VLANs.
    pub vlans: Option<VlanSet>,
    /// What came over a link is copied where it goes out. Otherwise it was where it came in.
    pub transit: bool,
    /// The port that copies leave by.
    pub to: PortId,
    /// They are packed for a collector beyond it.
    pub erspan: Option<Erspan>,
    /// Bytes of a frame that are kept.
    pub snap: Option<usize>,
    /// Copies have their network's VLAN tag.
    pub tagged: bool,
    /// Copies that pass.
    pub limit: Limit,
}

/// What a mirror has done so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// Copies that were handed to the port, and their bytes as they left.
    pub frames: Counter,
    pub bytes: Counter,
    /// Copies that were dropped, for whatever reason.
    pub lost: Counter,
}

struct Mirror {
    spec: Spec,
    meter: Option<Meter>,
    /// Copies packed so far.
    sequence: u32,
    counts: Arc<Counts>,
    ingress: Bits,
    egress: Bits,
    /// Frames of this burst that are to be copied, and how.
    noted: u64,
    edits: [TagEdit; BURST],
}

/// A set of ports, a bit each.
type Bits = Box<[u64]>;

fn bits(ports: impl IntoIterator<Item = PortId>) -> Bits {
    let mut bits = vec![0; PORTS_MAX / 64].into_boxed_slice();
    for port in ports {
        if let Some(word) = bits.get_mut(usize::from(port / 64)) {
            *word |= 1 << (port % 64);
        }
    }
    bits
}

#[inline]
fn has(bits: &[u64], port: PortId) -> bool {
    bits.get(usize::from(port / 64)).is_some_and(|word| word >> (port % 64) & 1 == 1)
}

fn clear(bits: &mut [u64], port: PortId) {
    if let Some(word) = bits.get_mut(usize::from(port / 64)) {
        *word &= !(1 << (port % 64));
    }
}

impl Mirror {
    fn takes(&self, vlan: VlanId) -> bool {
        self.spec.vlans.as_ref().is_none_or(|vlans| vlans.contains(vlan))
    }

    /// How a copy is edited, if the mirror would rather have it with its tag.
    fn edit(&self, decision: &Decision, edit: TagEdit) -> TagEdit {
        if !self.spec.tagged || decision.vlan == 0 {
            return edit;
        }
        let tag = 0x8100 << 16 | u32::from(decision.pcp) << 12 | u32::from(decision.vlan);
        TagEdit { strip: decision.came.strip(), insert: tag, ..edit }
    }

    fn note(&mut self, i: usize, decision: &Decision, edit: TagEdit) {
        if i < BURST && self.noted >> i & 1 == 0 {
            self.noted |= 1 << i;
            self.edits[i] = self.edit(decision, edit);
        }
    }
}

const _: () = assert!(BURST <= 64);

/// All mirrors of one engine.
#[derive(Default)]
pub struct MirrorSet {
    mirrors: Vec<Mirror>,
    /// Ports that some mirror copies from; empty while there is no mirror.
    ingress: Vec<u64>,
    egress: Vec<u64>,
    /// Ports that are down: nothing is copied to them.
    down: Vec<u64>,
    made: Option<Box<Made>>,
}

/// The burst that is being delivered.
pub struct Passing<'a, 'f> {
    pub now: Nanos,
    pub ingress: PortId,
    pub burst: &'a [Frame<'f>],
    pub decisions: &'a [Decision],
}

impl MirrorSet {
    /// Have these mirrors and no others. One that is there already by its name goes on counting, and
    /// numbering what it sends.
    pub fn set(&mut self, specs: Vec<Spec>, is_up: impl Fn(PortId) -> bool) {
        let mut before = std::mem::take(&mut self.mirrors);
        let targets = bits(specs.iter().map(|spec| spec.to));
        for spec in specs {
            let had = before.iter().position(|old| old.spec.name == spec.name);
            let had = had.map(|at| before.swap_remove(at));
            let sources = |ports: &[PortId]| bits(ports.iter().copied().filter(|port| !has(&targets, *port)));
            let meter = match &had {
                Some(old) if old.spec.limit == spec.limit => old.meter,
                _ => Meter::new(spec.limit),
            };
            self.mirrors.push(Mirror {
                meter,
                sequence: had.as_ref().map_or(0, |old| old.sequence),
                counts: had.map_or_else(Arc::default, |old| old.counts),
                ingress: sources(&spec.ingress),
                egress: sources(&spec.egress),
                noted: 0,
                edits: [TagEdit::NONE; BURST],
                spec,
            });
        }
        let any = !self.mirrors.is_empty();
        let making = self.mirrors.iter().any(|m| m.spec.erspan.is_some() || m.spec.snap.is_some());
        self.made = making.then(|| self.made.take().unwrap_or_default());
        self.down = if any { vec![0; PORTS_MAX / 64] } else { Vec::new() };
        for at in 0..self.mirrors.len() {
            let to = self.mirrors[at].spec.to;
            self.set_up(to, is_up(to));
        }
        self.refresh();
    }

    fn refresh(&mut self) {
        let words = if self.mirrors.is_empty() { 0 } else { PORTS_MAX / 64 };
        for (wanted, of) in [
            (&mut self.ingress, (|m: &Mirror| &m.ingress) as fn(&Mirror) -> &Bits),
            (&mut self.egress, |m: &Mirror| &m.egress),
        ] {
            *wanted = vec![0; words];
            for mirror in &self.mirrors {
                for (word, more) in wanted.iter_mut().zip(of(mirror)) {
                    *word |= more;
                }
            }
        }
    }

    /// The port is gone: nothing is copied from it, and nothing to it.
    pub fn forget(&mut self, port: PortId) {
        self.mirrors.retain(|mirror| mirror.spec.to != port);
        for mirror in &mut self.mirrors {
            clear(&mut mirror.ingress, port);
            clear(&mut mirror.egress, port);
        }
        self.refresh();
    }

    /// The operator set a port up or down.
    pub fn set_up(&mut self, port: PortId, up: bool) {
        if let Some(word) = self.down.get_mut(usize::from(port / 64)) {
            *word = *word & !(1 << (port % 64)) | u64::from(!up) << (port % 64);
        }
    }

    /// Each mirror's name and what it has done.
    pub fn counts(&self) -> impl Iterator<Item = (&str, &Counts)> {
        self.mirrors.iter().map(|mirror| (mirror.spec.name.as_str(), &*mirror.counts))
    }

    /// The mirrors that copy a frame of this VLAN at this port, by number as they were set.
    pub fn copying(&self, port: PortId, vlan: VlanId, out: bool) -> impl Iterator<Item = usize> {
        let of = move |mirror: &Mirror| {
            has(if out { &mirror.egress } else { &mirror.ingress }, port) && mirror.takes(vlan)
        };
        self.mirrors.iter().enumerate().filter(move |(_, mirror)| of(mirror)).map(|(at, _)| at)
    }

    /// Whether the mirror copies what came over a link where it goes out.
    #[must_use]
    pub fn in_transit(&self, mirror: usize) -> bool {
        self.mirrors.get(mirror).is_some_and(|mirror| mirror.spec.transit)
    }

    /// Name of a mirror by number.
    #[must_use]
    pub fn name(&self, mirror: usize) -> &str {
        self.mirrors.get(mirror).map_or("", |mirror| &mirror.spec.name)
    }

    /// Whether there is any mirror.
    #[inline]
    #[must_use]
    pub fn any(&self) -> bool {
        !self.mirrors.is_empty()
    }

    /// Whether some mirror copies what comes in at `port`.
    #[inline]
    #[must_use]
    pub fn wants_in(&self, port: PortId) -> bool {
        has(&self.ingress, port)
    }

    /// Whether some mirror copies what goes out of `port`.
    #[inline]
    #[must_use]
    pub fn wants_out(&self, port: PortId) -> bool {
        has(&self.egress, port)
    }

    /// A burst came in at a port of which [`wants_in`](Self::wants_in) is true.
    #[cold]
    pub fn came_in(&mut self, port: PortId, decisions: &[Decision]) {
        for mirror in self.mirrors.iter_mut().filter(|mirror| has(&mirror.ingress, port)) {
            for (i, decision) in decisions.iter().enumerate() {
                if mirror.takes(decision.vlan) {
                    mirror.note(i, decision, TagEdit::NONE);
                }
            }
        }
    }

    /// Frame `i` of the burst goes out of a port of which [`wants_out`](Self::wants_out) is true.
    /// `linked`: it came over a link.
    #[cold]
    pub fn goes_out(&mut self, port: PortId, i: u8, decision: &Decision, edit: TagEdit, linked: bool) {
        for mirror in self.mirrors.iter_mut().filter(|mirror| has(&mirror.egress, port)) {
            if mirror.takes(decision.vlan) && (mirror.spec.transit || !linked) {
                mirror.note(usize::from(i), decision, edit);
            }
        }
    }

    /// Hand over the copies of what was noted.
    #[cold]
    pub(crate) fn copy(
        &mut self,
        passing: &Passing<'_, '_>,
        slots: &mut [Slot],
        touched: &mut PortSet,
        completer: &mut Completer,
        report: &mut TxReport,
        (captures, packet): (&mut CaptureSet, &mut u64),
    ) {
        let MirrorSet { mirrors, down, made, .. } = self;
        for mirror in mirrors {
            let noted = std::mem::take(&mut mirror.noted);
            if noted == 0 {
                continue;
            }
            let to = mirror.spec.to;
            let Some(slot) = slots.get_mut(usize::from(to)) else { continue };
            let (Some(nic), Some(counters)) = (slot.nic.as_mut(), slot.counters.as_ref()) else { continue };
            let stopped = if has(down, to) {
                Some(DropReason::TxPortDown)
            } else {
                (!nic.carrier()).then_some(DropReason::TxNoCarrier)
            };
            if let Some(reason) = stopped {
                let n = u64::from(noted.count_ones());
                counters.dropped(reason, n);
                mirror.counts.lost.add(n);
                continue;
            }
            touched.insert(to);
            // Its own share of an uplink that is fair to whoever sends by it, whoever sent the originals.
            (report.ingress, report.by_origin) = (to, false);
            report.origins.set(Origin::NOBODY);
            let queue = slot.shaper.as_mut().and_then(|shaper| shaper.ingress.as_mut());
            let mut door = Door {
                now: passing.now,
                nic: nic.as_mut(),
                counters,
                queue,
                counts: &mirror.counts,
                report,
                captures,
                packet,
                to,
            };
            let (mut meter, mut sequence) = (mirror.meter.take(), mirror.sequence);
            let mut copying = Copying { mirror, made: made.as_deref_mut(), completer };
            copying.all(noted, passing, &mut door, meter.as_mut(), &mut sequence);
            (mirror.meter, mirror.sequence) = (meter, sequence);
        }
    }
}

/// Where the copies of one mirror leave.
pub(crate) struct Door<'a> {
    now: Nanos,
    nic: &'a mut dyn Nic,
    counters: &'a PortCounters,
    /// What its guest receives is limited.
    queue: Option<&'a mut Ingress>,
    counts: &'a Counts,
    report: &'a mut TxReport,
    captures: &'a mut CaptureSet,
    /// Number of the next frame that a capture may see.
    packet: &'a mut u64,
    to: PortId,
}

impl Door<'_> {
    fn caps(&self) -> Caps {
        let caps = self.nic.caps();
        self.queue.as_ref().map_or(caps, |queue| queue.caps(caps))
    }

    fn lose(&mut self, reason: DropReason) {
        self.counters.dropped(reason, 1);
        self.counts.lost.add(1);
    }

    /// Hand copies over; those that there is no room for are lost.
    fn send(&mut self, frames: &[TxFrame<'_>]) {
        let mut frames = frames;
        if let Some(queue) = &mut self.queue {
            let (now, later) = frames.split_at(queue.passing(self.now, frames));
            for tx in later {
                if queue.queue.push(tx, Note::default()) {
                    self.counts.frames.add(1);
                    self.counts.bytes.add(tx.len() as u64);
                } else {
                    self.counters.dropped(DropReason::MirrorFull, 1);
                    self.counts.lost.add(1);
                }
            }
            frames = now;
        }
        if frames.is_empty() {
            return;
        }
        self.report.clear();
        self.nic.tx_burst(self.now, frames, self.report);
        let (mut sent, mut bytes) = (0, 0);
        for (at, tx) in frames.iter().enumerate() {
            let reason = self.report.reason(at).map(|reason| match reason {
                DropReason::TxFull => DropReason::MirrorFull,
                other => other,
            });
            match reason {
                None => {
                    sent += 1;
                    bytes += tx.len() as u64;
                }
                Some(reason) => {
                    self.counters.dropped(reason, 1);
                    self.counts.lost.add(1);
                }
            }
            if self.captures.wants(self.to) {
                let sighting =
                    Sighting { now: self.now, port: self.to, vlan: 0, packet: *self.packet, dropped: reason };
                self.captures.tx(&sighting, tx);
                *self.packet += 1;
            }
        }
        self.counters.tx_frames.add(sent);
        self.counters.tx_bytes.add(bytes);
        self.counts.frames.add(sent);
        self.counts.bytes.add(bytes);
    }
}

/// One mirror at work.
struct Copying<'a> {
    mirror: &'a Mirror,
    made: Option<&'a mut Made>,
    completer: &'a mut Completer,
}

impl Copying<'_> {
    fn all(
        &mut self,
        mut noted: u64,
        passing: &Passing<'_, '_>,
        door: &mut Door<'_>,
        mut meter: Option<&mut Meter>,
        sequence: &mut u32,
    ) {
        let caps = door.caps();
        // Frames that the door takes as they are, until they are handed over together.
        let mut whole: ArrayVec<TxFrame<'_>, BURST> = ArrayVec::new();
        while noted != 0 {
            let i = noted.trailing_zeros() as usize;
            noted &= noted - 1;
            let (Some(frame), Some(decision)) = (passing.burst.get(i), passing.decisions.get(i)) else {
                continue;
            };
            if let Some(meter) = &mut meter {
                if meter.ready() > passing.now {
                    door.lose(DropReason::MirrorLimit);
                    continue;
                }
                let view = frame.view();
                meter.take(passing.now, u64::from(view.segments), view.wire());
            }
            let tx = TxFrame { frame, edit: self.mirror.edits[i] };
            if let Some(made) = &mut self.made
                && (self.mirror.spec.erspan.is_some() || self.mirror.spec.snap.is_some())
            {
                let spec = &self.mirror.spec;
                // Cut, a frame is not one that a NIC could finish: it is made as a wire would see it.
                let plain = Caps::plain(if spec.erspan.is_some() { u32::MAX } else { caps.max_frame });
                let done = self.completer.complete(&tx, &plain, &mut |frames| {
                    for tx in frames {
                        made.add(
                            tx,
                            spec,
                            (passing.ingress, decision),
                            caps.max_frame as usize,
                            sequence,
                            door,
                        );
                    }
                });
                if let Err(reason) = done {
                    door.lose(reason);
                }
                continue;
            }
            if caps.take(frame.offload) && (frame.view().gso || tx.len() <= caps.max_frame as usize) {
                whole.push(tx);
                continue;
            }
            door.send(&whole);
            whole.clear();
            if let Err(reason) = self.completer.complete(&tx, &caps, &mut |frames| door.send(frames)) {
                door.lose(reason);
            }
        }
        door.send(&whole);
        if let Some(made) = &mut self.made {
            made.flush(door);
        }
    }
}

#[cfg(test)]
mod tests;
