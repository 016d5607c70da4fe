//! What the switch says about a frame, in numbers small enough to be kept a burst at a time.

use crate::groups::Judged;
use crate::{DropReason, PortId, VlanId};

/// What the switch sees of a frame: a private copy of its first bytes, and its length.
#[derive(Clone, Copy, Debug)]
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
}

impl<'a> View<'a> {
    /// A frame that is none but itself.
    #[inline]
    #[must_use]
    pub fn plain(head: &'a [u8], len: u32) -> Self {
        View { head, len, gso: false, segments: 1, headers: 0 }
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
    /// To the switch itself: a BPDU.
    Local,
    /// Nowhere.
    Drop(DropReason),
}

/// The verdict on one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub out: Out,
    /// The VLAN the frame was classified to; 0 when it was dropped before that.
    pub vlan: VlanId,
    /// Bytes of VLAN tag at offset 12 that ingress consumed: 0 or 4.
    pub strip: u8,
    /// Priority and drop eligibility (the upper four bits of the TCI) to carry into an egress tag.
    pub pcp: u8,
    /// Tags the frame came with, consumed or not: 0..=2. The MTU does not count them.
    pub tags: u8,
    /// The VID in the consumed tag was `vlan`, not 0: a tagged egress leaves the tag as it came.
    pub vid: bool,
    /// That VID was another one than `vlan`, because the ingress translates: no egress leaves the tag
    /// as it came.
    pub moved: bool,
    /// Behind the consumed tag stands another C-tag, which must not come to the light.
    pub double: bool,
    /// The port it came in by.
    pub ingress: PortId,
    /// What security groups said.
    pub judged: Judged,
}

impl Decision {
    /// A frame that was dropped before it had a VLAN.
    #[must_use]
    pub const fn dropped(reason: DropReason) -> Self {
        Decision {
            out: Out::Drop(reason),
            vlan: 0,
            strip: 0,
            pcp: 0,
            tags: 0,
            vid: false,
            moved: false,
            double: false,
            ingress: PortId::MAX,
            judged: Judged::Not,
        }
    }
}

impl Default for Decision {
    /// What stands in a place that no frame was decided for yet: a drop.
    fn default() -> Self {
        Decision::dropped(DropReason::Runt)
    }
}

/// How a frame's tag changes on its way out of one port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TagEdit {
    /// Bytes to remove at offset 12: 0 or 4.
    pub strip: u8,
    /// Tag to insert at offset 12, as `TPID << 16 | TCI`; 0 for none.
    pub insert: u32,
}

impl TagEdit {
    /// The frame leaves as it came.
    pub const NONE: TagEdit = TagEdit { strip: 0, insert: 0 };

    /// How the frame's length changes, in bytes: -4, 0 or 4.
    #[inline]
    #[must_use]
    pub fn delta(self) -> i32 {
        (if self.insert == 0 { 0 } else { 4 }) - i32::from(self.strip)
    }
}
