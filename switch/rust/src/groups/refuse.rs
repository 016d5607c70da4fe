//! A frame that does not pass: which end refuses it, for which reason, and the line about it.

use super::judge::Frame;
use super::packet::Packet;
use super::{Gate, Gates, Tracker};
use crate::DropReason;
use crate::parse::is_group;

/// Which end refuses a frame, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The one it comes from.
    Leaving(DropReason),
    /// The one it goes to.
    Entering(DropReason),
}

/// What can be wrong with a packet, whoever finds it.
#[derive(Clone, Copy)]
pub(super) enum Wrong {
    Invalid,
    Fragment,
    Full,
}

impl Tracker {
    /// The rules of a gate allow nothing like it.
    #[cold]
    pub(super) fn refuse(
        &mut self,
        frame: &Frame<'_, '_>,
        leaving: bool,
        gate: Gate<'_>,
        packet: Option<&Packet>,
    ) -> Refusal {
        let refusal = if leaving {
            Refusal::Leaving(DropReason::GroupEgress)
        } else {
            Refusal::Entering(DropReason::GroupIngress)
        };
        self.tell(frame, gate, refusal, packet)
    }

    /// No rule has to do with it. It counts where it came from, if that has groups.
    #[cold]
    pub(super) fn wrong(
        &mut self,
        frame: &Frame<'_, '_>,
        wrong: Wrong,
        gates: Gates<'_>,
        packet: &Packet,
    ) -> Refusal {
        let refusal = match (wrong, gates.from.is_some()) {
            (Wrong::Invalid, true) => Refusal::Leaving(DropReason::GroupInvalid),
            (Wrong::Fragment, true) => Refusal::Leaving(DropReason::GroupFragment),
            (Wrong::Full, true) => Refusal::Leaving(DropReason::GroupFull),
            (Wrong::Invalid, false) => Refusal::Entering(DropReason::TxGroupInvalid),
            (Wrong::Fragment, false) => Refusal::Entering(DropReason::TxGroupFragment),
            (Wrong::Full, false) => Refusal::Entering(DropReason::TxGroupFull),
        };
        match gates.from.or(gates.to) {
            Some(gate) => self.tell(frame, gate, refusal, Some(packet)),
            None => refusal,
        }
    }

    pub(super) fn tell(
        &mut self,
        frame: &Frame<'_, '_>,
        gate: Gate<'_>,
        refusal: Refusal,
        packet: Option<&Packet>,
    ) -> Refusal {
        // What everybody is told, few ask for: it is counted, and no news.
        if gate.groups.log && !is_group(frame.dst) {
            let (Refusal::Leaving(reason) | Refusal::Entering(reason)) = refusal;
            self.denied.note(frame.now, gate.port, reason, packet);
        }
        refusal
    }
}
