//! What is billed: frames and bytes of each guest's NIC, inside the fabric and over uplinks apart.
//!
//! A frame counts when a door has taken it, so never one that was dropped; and it counts where it was
//! delivered, for both ends:
//!  * its receiver, by where it came into the fabric: at an uplink, or anywhere else;
//!  * its sender, by where it left: by an uplink, or to another guest. Over links nothing is counted; a
//!    link tells who sent a frame (`nics/rust/src/origin.rs`), and the switch that delivers it counts.
//!
//! A frame that goes to several ports counts for its sender once for each uplink that took it (so what
//! guests sent by an uplink adds up to what it sent), and once as one that stays in the fabric if any
//! other port took it; a link counts there, and says so to the switches behind it.
//!
//! Bytes are those of a wire: each segment of a super-frame with its headers, from the Ethernet header on,
//! without FCS. VLAN tags are not among them, for a frame has them in some places and not in others.
//!
//! The switches' own frames (BPDUs, queries, answers for others) and mirrors' copies count for nobody. What
//! somebody upstairs puts in at a guest's port (`inject.rs`: announcements, `vnet send`) does not count for that
//! guest, only for who receives it.

use super::shape::Note;
use nics::{BURST, Offload, Origin, Origins, TxFrame, TxReport};
use switch::{Decision, PortId};

/// Bytes of a VLAN tag.
const TAG: u64 = 4;

/// Frames and bytes, as on a wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub frames: u64,
    pub bytes: u64,
}

impl Count {
    #[inline]
    fn add(&mut self, more: Count) {
        self.frames = self.frames.wrapping_add(more.frames);
        self.bytes = self.bytes.wrapping_add(more.bytes);
    }
}

/// What one NIC sent and received, in each case inside the fabric and over uplinks. Directions are the
/// guest's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub egress: [Count; 2],
    pub ingress: [Count; 2],
}

/// What is behind a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// There is no such port.
    #[default]
    Absent,
    Guest,
    Uplink,
    Link,
}

/// One cache line and a half: 96 bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    usage: Usage,
    kind: Kind,
}

/// The counts of all ports.
#[derive(Debug, Default)]
pub struct Ledger(Vec<Entry>);

impl Ledger {
    /// A new port is of this kind.
    pub fn open(&mut self, port: PortId, kind: Kind) {
        let index = usize::from(port);
        if index >= self.0.len() {
            self.0.resize_with(index + 1, Entry::default);
        }
        self.0[index] = Entry { kind, ..Entry::default() };
    }

    /// Whether a guest is behind a port.
    #[inline]
    #[must_use]
    pub fn is_guest(&self, port: PortId) -> bool {
        self.kind(port) == Kind::Guest
    }

    /// A port is gone: what it came to.
    pub fn close(&mut self, port: PortId) -> Usage {
        self.0.get_mut(usize::from(port)).map(std::mem::take).unwrap_or_default().usage
    }

    /// What a port has come to so far.
    #[must_use]
    pub fn of(&self, port: PortId) -> Usage {
        self.0.get(usize::from(port)).map_or_else(Usage::default, |entry| entry.usage)
    }

    #[inline]
    fn kind(&self, port: PortId) -> Kind {
        self.0.get(usize::from(port)).map_or(Kind::Absent, |entry| entry.kind)
    }

    /// Frames of `from` have been taken by `to`.
    #[inline]
    pub fn count(&mut self, from: Origin, to: PortId, what: Count) {
        let (sender, there) = (self.kind(from.port()), self.kind(to));
        if there == Kind::Guest
            && let Some(entry) = self.0.get_mut(usize::from(to))
        {
            entry.usage.ingress[usize::from(sender == Kind::Uplink)].add(what);
        }
        if sender == Kind::Guest && (there == Kind::Uplink || !from.is_spread()) {
            self.sent(from, there == Kind::Uplink, what);
        }
    }

    #[inline]
    fn sent(&mut self, from: Origin, uplink: bool, what: Count) {
        if let Some(entry) = self.0.get_mut(usize::from(from.port())).filter(|e| e.kind == Kind::Guest) {
            entry.usage.egress[usize::from(uplink)].add(what);
        }
    }
}

/// Frames and bytes that a wire sees of a frame that leaves with so many tags, which don't count.
#[inline]
pub fn wire(tx: &TxFrame<'_>, tags: u8) -> Count {
    let (mut frames, mut bytes) = (1, tx.len() as u64);
    if tx.frame.offload.gso_type != Offload::GSO_NONE {
        let view = tx.frame.view();
        frames = u64::from(view.segments.max(1));
        let headers = u64::from(view.headers).saturating_add_signed(i64::from(tx.edit.delta()));
        bytes += (frames - 1) * headers;
    }
    Count { frames, bytes: bytes.saturating_sub(frames * TAG * u64::from(tags)) }
}

/// How many tags a frame leaves with.
#[inline]
fn tags(decision: &Decision, tx: &TxFrame<'_>) -> u8 {
    decision.tags.saturating_add_signed((tx.edit.delta() / TAG as i32) as i8)
}

/// One burst's entries in the ledger.
pub struct Book<'a> {
    pub ledger: &'a mut Ledger,
    ingress: PortId,
    /// Who sent its frames, if that is not the guest at the ingress.
    told: Option<&'a [Origin]>,
    /// Frames that have counted as staying in the fabric, among those that go to several ports.
    spread: u64,
}

const _: () = assert!(BURST == u64::BITS as usize);

impl<'a> Book<'a> {
    pub fn new(ledger: &'a mut Ledger, ingress: PortId, told: Option<&'a [Origin]>) -> Self {
        Book { ledger, ingress, told, spread: 0 }
    }

    /// Whether what goes to `to` is of interest here: a link's other end sees to what is for one port.
    #[inline]
    pub fn cares(&self, to: PortId, flood: bool) -> bool {
        flood || self.ledger.kind(to) != Kind::Link
    }

    /// Whether `to` is fair to who sent, on whichever switch that was.
    #[inline]
    pub fn is_uplink(&self, to: PortId) -> bool {
        self.ledger.kind(to) == Kind::Uplink
    }

    /// Whose frame number `i` of the burst is, for the next port that takes it.
    #[inline]
    pub fn from(&self, i: u8) -> Origin {
        let origin = match self.told {
            None => Origin::of(self.ingress),
            Some(origins) => origins.get(usize::from(i)).copied().unwrap_or(Origin::NOBODY),
        };
        if self.spread >> (i & 63) & 1 == 1 { origin.spread() } else { origin }
    }

    /// Before frames go into a link, or out by an uplink: have it told whose they are. `numbers` are their places in the burst.
    pub fn tell(&self, origins: &mut Origins, numbers: impl Iterator<Item = u8>, flood: bool) {
        let told = |origin: Origin| if flood { origin.spread() } else { origin };
        if self.told.is_none() {
            origins.set(told(Origin::of(self.ingress)));
        } else {
            origins.set(Origin::NOBODY);
            numbers.for_each(|i| origins.push(told(self.from(i))));
        }
    }

    /// A whole burst with one decision for one port has been taken: frames with one edit, and if they are `bare`, as they
    /// are on a wire, of so many bytes in all as they left.
    #[inline]
    pub fn all(&mut self, to: PortId, decision: &Decision, frames: &[TxFrame<'_>], bare: Option<u64>) {
        let Some(first) = frames.first() else { return };
        let tags = tags(decision, first);
        let mut sum = Count::default();
        match bare {
            Some(bytes) => {
                sum.frames = frames.len() as u64;
                sum.bytes = bytes.saturating_sub(sum.frames * TAG * u64::from(tags));
            }
            None => frames.iter().for_each(|tx| sum.add(wire(tx, tags))),
        }
        self.ledger.count(Origin::of(self.ingress), to, sum);
    }

    /// Whether [`all`](Self::all) may be asked: nobody has to look at each frame.
    #[inline]
    pub fn is_plain(&self, flood: bool) -> bool {
        self.told.is_none() && !flood
    }

    /// Frames have been handed over, and all were taken but those in `report`.
    pub fn each(
        &mut self,
        to: PortId,
        decisions: &[Decision],
        frames: &[TxFrame<'_>],
        numbers: impl Fn(usize) -> u8,
        report: &TxReport,
    ) {
        let lost = report.drops().iter().fold(0_u64, |lost, (at, _)| lost | 1 << (at & 63));
        for (at, tx) in frames.iter().enumerate().filter(|(at, _)| lost >> (at & 63) & 1 == 0) {
            let i = numbers(at);
            if let Some(decision) = decisions.get(usize::from(i)) {
                self.ledger.count(self.from(i), to, wire(tx, tags(decision, tx)));
                self.counted(to, i, decision.out.flood().is_some());
            }
        }
    }

    /// Frame `i` of the burst, or all pieces of it that were taken by this port, have been counted.
    #[inline]
    fn counted(&mut self, to: PortId, i: u8, flood: bool) {
        if flood && self.ledger.kind(to) != Kind::Uplink {
            self.spread |= 1 << (i & 63);
        }
    }
}

/// One frame of a burst on its way to one port, perhaps in pieces.
pub struct Bill {
    from: Origin,
    /// It leaves with so many.
    tags: u8,
    to: PortId,
    i: u8,
    flood: bool,
}

impl Bill {
    #[inline]
    pub fn new(book: &Book<'_>, to: PortId, i: u8, tx: &TxFrame<'_>, decision: &Decision) -> Bill {
        Bill { from: book.from(i), tags: tags(decision, tx), to, i, flood: decision.out.flood().is_some() }
    }

    /// What a link is told of it.
    pub fn told(&self) -> Origin {
        if self.flood { self.from.spread() } else { self.from }
    }

    /// These pieces have been handed over, and all were taken but those in `report`.
    pub fn taken(&self, book: &mut Book<'_>, pieces: &[TxFrame<'_>], report: &TxReport) {
        if !book.cares(self.to, self.flood) {
            return;
        }
        for (at, tx) in pieces.iter().enumerate() {
            if report.reason(at).is_none() {
                book.ledger.count(self.from, self.to, wire(tx, self.tags));
                book.counted(self.to, self.i, self.flood);
            }
        }
    }

    /// What is to be known of a piece that waits in front of the port, and counts when that has taken it. A
    /// flooded one has counted for its sender by then, for nobody will remember whether it has.
    pub fn note(&self, book: &Book<'_>, note: Note) -> Note {
        let origin = if self.settles(book) { self.from.spread() } else { self.from };
        Note { origin, tags: self.tags, ..note }
    }

    /// That piece does wait.
    pub fn waits(&self, book: &mut Book<'_>, piece: &TxFrame<'_>) {
        if self.settles(book) && !self.from.is_spread() {
            book.ledger.sent(self.from, false, wire(piece, self.tags));
            book.counted(self.to, self.i, true);
        }
    }

    fn settles(&self, book: &Book<'_>) -> bool {
        self.flood && book.ledger.kind(self.to) != Kind::Uplink
    }
}
