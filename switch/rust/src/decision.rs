//! What the switch says about a frame, in numbers small enough to be kept a burst at a time.

use crate::groups::Judged;
use crate::{DropReason, Place, PortId, VlanId};

/// What the switch sees of a frame: a private copy of its first bytes, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    /// The first bytes, at least `min(len, 128)` of them, which is as far as a guard sees. Nobody else can change them.
    pub head: &'a [u8],
    /// The whole frame's length in bytes, tags included, FCS not.
    pub len: u32,
    /// A GSO super-frame: it will be segmented before a wire sees it, so the MTU does not bound it.
    pub gso: bool,
    /// Frames that a wire sees of it: 1, or of a super-frame the segments ...
    pub segments: u16,
    /// ... each of which has so many bytes of headers.
    pub headers: u16,
    /// At the end of a link: where the sender stands in a private VLAN, as the switch before said.
    pub place: Place,
    /// At the end of a link: the port by which it came into the fabric; beyond all ports if nobody said.
    pub sender: PortId,
}

impl<'a> View<'a> {
    /// A frame that is none but itself.
    #[inline]
    #[must_use]
    pub fn plain(head: &'a [u8], len: u32) -> Self {
        View { head, len, gso: false, segments: 1, headers: 0, place: Place::UNTOLD, sender: PortId::MAX }
    }

    /// Bytes that a wire sees of it, FCS not counted.
    #[inline]
    #[must_use]
    pub fn wire(&self) -> u64 {
        u64::from(self.len) + u64::from(self.segments.saturating_sub(1)) * u64::from(self.headers)
    }
}

/// Why a frame is flooded, which decides about the ports that want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flood {
    /// The destination is not in the FDB.
    Unknown,
    Multicast,
    Broadcast,
    /// A link-local group address, which only `transparent` ports exchange.
    LinkLocal,
}

/// Where a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// To one port.
    Port(PortId),
    /// To every member of the frame's VLAN but its ingress port, as far as they want it.
    Flood(Flood),
    /// To the ports of a multicast group: those of the list with this number.
    Group(u16),
    /// A multicast report: to the switch itself, and to routers, the ports of the list with this number.
    Report(u16),
    /// To the switch itself: a BPDU.
    Local,
    /// Back: the switch answers it, see [`Switch::answer`](crate::Switch::answer).
    Answer,
    /// Nowhere.
    Drop(DropReason),
}

impl Out {
    /// As what kind of flood it counts, if it may go to several ports.
    #[inline]
    #[must_use]
    pub fn flood(self) -> Option<Flood> {
        match self {
            Out::Flood(kind) => Some(kind),
            Out::Group(_) | Out::Report(_) => Some(Flood::Multicast),
            Out::Port(_) | Out::Local | Out::Answer | Out::Drop(_) => None,
        }
    }
}

/// The outermost C-tag that a frame came with: ingress consumed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Came {
    Untagged,
    /// With VID 0, which says no more than a priority.
    Priority,
    /// Its VID is the VLAN: a tagged egress leaves the tag as it came.
    Tagged,
    /// Its VID is another one than the VLAN, because the ingress translates: no egress leaves it so.
    Translated,
}

impl Came {
    /// Bytes of tag at offset 12: 0 or 4.
    #[inline]
    #[must_use]
    pub fn strip(self) -> u8 {
        if self == Came::Untagged { 0 } else { 4 }
    }
}

/// The verdict on one frame. It is kept in two words (`classify/`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub out: Out,
    /// The VLAN the frame was classified to; 0 when it was dropped before that.
    pub vlan: VlanId,
    pub came: Came,
    /// Priority and drop eligibility (the upper four bits of the TCI) to carry into an egress tag.
    pub pcp: u8,
    /// Tags the frame came with, consumed or not: 0..=2. The MTU does not count them.
    pub tags: u8,
    /// Behind the consumed tag stands another C-tag, which must not come to the light.
    pub double: bool,
    /// The port it came in by.
    pub ingress: PortId,
    /// What security groups said.
    pub judged: Judged,
    /// Where its sender stands, if the VLAN is private.
    pub place: Place,
}

const _: () = assert!(size_of::<Decision>() == 16);

impl Decision {
    /// A frame that was dropped before it had a VLAN.
    #[must_use]
    pub const fn dropped(reason: DropReason) -> Self {
        Decision {
            out: Out::Drop(reason),
            vlan: 0,
            came: Came::Untagged,
            pcp: 0,
            tags: 0,
            double: false,
            ingress: PortId::MAX,
            judged: Judged::Not,
            place: Place::UNTOLD,
        }
    }

    /// The same with what the groups said.
    #[inline]
    pub(crate) fn judged(self, by: Judged) -> Decision {
        Decision { judged: by, ..self }
    }

    /// Where it goes, if there is one port.
    #[inline]
    pub(crate) fn to(&self) -> Option<PortId> {
        if let Out::Port(port) = self.out { Some(port) } else { None }
    }
}

impl Default for Decision {
    /// What stands in a place that no frame was decided for yet: a drop.
    fn default() -> Self {
        Decision::dropped(DropReason::Runt)
    }
}

/// How a frame's tag changes on its way out of one port, and what goes beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagEdit {
    /// Bytes to remove at offset 12: 0 or 4.
    pub strip: u8,
    /// Tag to insert at offset 12, as `TPID << 16 | TCI`; 0 for none.
    pub insert: u32,
    /// Over a link: where the sender stands in a private VLAN.
    pub place: Place,
}

impl TagEdit {
    /// The frame leaves as it came.
    pub const NONE: TagEdit = TagEdit { strip: 0, insert: 0, place: Place::UNTOLD };

    /// The same bytes, and `place` beside them: for a frame that was put together anew.
    #[inline]
    #[must_use]
    pub fn beside(place: Place) -> TagEdit {
        TagEdit { place, ..TagEdit::NONE }
    }

    /// How the frame's length changes, in bytes: -4, 0 or 4.
    #[inline]
    #[must_use]
    pub fn delta(self) -> i32 {
        (if self.insert == 0 { 0 } else { 4 }) - i32::from(self.strip)
    }
}
