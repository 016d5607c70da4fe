//! The long way: a frame is parsed, and every check asked in its order.

use super::Desk;
use crate::config::{PortConfig, PortMode};
use crate::decision::{Came, Decision, Out, View};
use crate::egress::longest;
use crate::groups::Judged;
use crate::parse::{self, First, Header, Tags, is_group, is_link_local};
use crate::private::Place;
use crate::stp::PortState;
use crate::{DropReason, VlanId};

/// The VLAN a frame belongs to at a port (802.1Q 6.9.1, 8.6.2), and whether its tag is consumed.
#[inline]
pub(crate) fn vlan(config: &PortConfig, tags: Tags) -> Result<VlanId, DropReason> {
    match &config.mode {
        PortMode::Access(vlan) => {
            // Behind a priority tag there must not be a VLAN tag either: without the first, it
            // would say where the frame belongs.
            if tags.tagged() && (tags.vid() != 0 || tags.double()) {
                return Err(DropReason::TagNotAllowed);
            }
            Ok(*vlan)
        }
        PortMode::Trunk { tagged, native } => match (tags.tagged(), tags.vid()) {
            (false, _) | (true, 0) => native.map(|native| native.vlan).ok_or(DropReason::UntaggedNotAllowed),
            (true, vid) => {
                let vlan = config.translate.as_ref().map_or(vid, |map| map.inward(vid));
                let member = tagged.contains(vlan) || native.is_some_and(|native| native.vlan == vlan);
                if member { Ok(vlan) } else { Err(DropReason::VlanNotMember) }
            }
        },
    }
}

/// The Bridge Group Address, which BPDUs are sent to.
const BRIDGES: u64 = 0x0180_c200_0000;

/// What the guard said to a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Guarded {
    /// It was dropped before.
    NotAsked,
    Admitted,
    Refused,
}

impl Desk<'_> {
    /// A frame that is not like the last one. Afterwards it is the last one, unless the guard refused
    /// it: what its header comes to is not known then.
    #[inline(never)]
    pub(super) fn judge(&mut self, first: First, view: &View<'_>, out: &mut Decision) {
        self.last.longest = 0;
        let header = match self.admit(first.parse(), view) {
            Ok(header) => header,
            Err(reason) => {
                *out = Decision::dropped(reason);
                return;
            }
        };
        let (decision, guarded) = self.decide(&header, view);
        if guarded != Guarded::Refused {
            self.remember(first, &header, &decision, guarded, view);
            if self.is_grouped() {
                *out = self.judge_groups(&header, decision, view);
                return;
            }
        }
        *out = decision;
    }

    /// A frame of less than 24 bytes, which is too rare to be compared with.
    #[cold]
    pub(super) fn judge_short(&mut self, view: &View<'_>, out: &mut Decision) {
        self.last.longest = 0;
        *out = match self.admit(parse::parse_short(view), view) {
            Ok(header) => {
                let (decision, _) = self.decide(&header, view);
                let grouped = self.tracker.is_some() && self.has_gate(&decision);
                if grouped { self.judge_groups(&header, decision, view) } else { decision }
            }
            Err(reason) => Decision::dropped(reason),
        };
    }

    /// What can be said about a frame without knowing any other.
    #[inline]
    fn admit(&self, parsed: Result<Header, DropReason>, view: &View<'_>) -> Result<Header, DropReason> {
        if !self.config.up {
            return Err(DropReason::PortDown);
        }
        let header = parsed?;
        if view.len > longest(self.config.mtu, header.tags.count()) && !view.gso {
            return Err(DropReason::Giant);
        }
        Ok(header)
    }

    #[inline]
    fn decide(&mut self, header: &Header, view: &View<'_>) -> (Decision, Guarded) {
        let tags = header.tags;
        let mut place = Place::UNTOLD;
        let (vlan, out, guarded) = match self.enter(header) {
            Err(out) => (0, out, Guarded::NotAsked),
            Ok(vlan) => match self.guard(header, vlan, view) {
                Err(reason) => (vlan, Out::Drop(reason), Guarded::Refused),
                Ok(()) => {
                    place = self.place(vlan, view);
                    (vlan, self.forward(vlan, header, place, view), Guarded::Admitted)
                }
            },
        };
        let came = match tags.vid() {
            _ if !tags.tagged() => Came::Untagged,
            0 => Came::Priority,
            vid if vid == vlan => Came::Tagged,
            _ => Came::Translated,
        };
        let decision = Decision {
            out,
            vlan,
            came,
            pcp: tags.pcp(),
            tags: tags.count(),
            double: tags.double(),
            ingress: self.id,
            judged: Judged::Not,
            place,
        };
        (decision, guarded)
    }

    /// Addresses and VLAN.
    #[inline]
    fn enter(&mut self, header: &Header) -> Result<VlanId, Out> {
        if is_group(header.src) {
            return Err(Out::Drop(DropReason::SourceMulticast));
        }
        if header.src == 0 {
            return Err(Out::Drop(DropReason::SourceZero));
        }
        if is_link_local(header.dst) && !self.config.transparent {
            return Err(if self.is_bpdu(header) { self.bpdu() } else { Out::Drop(DropReason::LinkLocal) });
        }
        if self.pass.looped {
            return Err(Out::Drop(DropReason::Loop));
        }
        if self.pass.state == PortState::Discarding {
            return Err(Out::Drop(DropReason::StpBlocked));
        }
        vlan(self.config, header.tags).map_err(Out::Drop)
    }

    /// Whether it is for the switch itself.
    #[inline]
    pub(super) fn is_bpdu(&self, header: &Header) -> bool {
        self.pass.control && header.dst == BRIDGES && !header.tags.tagged()
    }

    /// Each of them has a whole bridge think again. Over links our own bridges speak, who hold themselves back.
    #[cold]
    fn bpdu(&mut self) -> Out {
        if let Some(bucket) = self.bpdus
            && !self.config.places
        {
            if bucket.ready() > self.now {
                return Out::Drop(DropReason::StpBpdus);
            }
            bucket.take(self.now, 1);
        }
        Out::Local
    }

    /// What the port's guard says.
    #[inline]
    pub(super) fn guard(&mut self, header: &Header, vlan: VlanId, view: &View<'_>) -> Result<(), DropReason> {
        match &self.config.guard {
            Some(guard) => guard.admits(self.memory, header, vlan, view.head),
            None => Ok(()),
        }
    }
}
