//! Security groups: which a frame on its way passes, and what comes of it (`groups/`).

use super::Desk;
use super::recall::Memo;
use crate::account::{account, payer};
use crate::config::PortMode;
use crate::decision::{Decision, Out, View};
use crate::groups::{Frame, Gate, Gates, Judged, Passing, Payer, Refusal};
use crate::parse::{First, Header};
use crate::{Alike, PortId};

impl Desk<'_> {
    /// Have the tracker look a burst up: it will be asked for its connections.
    #[inline(never)]
    pub(super) fn bring<'a>(
        &mut self,
        memo: Memo,
        views: impl Iterator<Item = View<'a>> + Clone,
        alike: Option<&Alike<'_>>,
    ) -> Passing {
        let vlan = match &self.config.mode {
            PortMode::Access(vlan) => *vlan,
            PortMode::Trunk { native, .. } => native.map_or(0, |native| native.vlan),
        };
        let asked = if self.is_grouped() { self.asked(memo) } else { None };
        let (last, judged) = (&self.last.first, self.last.judged);
        let like = |view: &View<'a>| First::of(view).is_some_and(|first| first.same(last, judged));
        self.tracker.as_mut().map_or(Passing::NONE, |tracker| tracker.bring(views, alike, vlan, asked, like))
    }

    /// Whether a frame with this decision passes a port with security groups on its way in here, or out
    /// of the one port that it goes to.
    pub(super) fn has_gate(&self, decision: &Decision) -> bool {
        match decision.out {
            Out::Drop(_) | Out::Local | Out::Answer => false,
            Out::Flood(_) | Out::Group(_) | Out::Report(_) => self.gate.is_some(),
            Out::Port(port) => self.gate.is_some() || self.gate_of(port).is_some(),
        }
    }

    #[inline]
    pub(super) fn gate_of(&self, port: PortId) -> Option<Gate<'_>> {
        let other = self.ports.get(usize::from(port))?.as_deref()?;
        Gate::of(port, other.stamp, &other.config)
    }

    /// What the security groups at both ends say: a frame that is on its way may be dropped here, or
    /// where it would leave.
    #[inline]
    pub(super) fn judge_groups(&mut self, header: &Header, decision: Decision, view: &View<'_>) -> Decision {
        // Connections may come and go.
        self.passing = Passing::NONE;
        let Some(tracker) = self.tracker.as_mut() else { return decision };
        let other =
            decision.to().and_then(|port| Some((port, self.ports.get(usize::from(port))?.as_deref()?)));
        let to = other.and_then(|(port, other)| Gate::of(port, other.stamp, &other.config));
        let account = account(self.config, self.id, view.sender);
        let payer = payer((self.id, self.config), account, self.allowances).unwrap_or(match other {
            // What comes from outside is on the account of the guest that it is for.
            Some((port, other)) => Payer { port, limit: other.config.connections },
            None => Payer { port: self.id, limit: self.config.connections },
        });
        let frame = Frame {
            now: self.now,
            ingress: self.id,
            account,
            vlan: decision.vlan,
            dst: header.dst,
            tags: header.tags.count(),
            view,
            again: false,
            sender: Some((self.config, self.memory)),
        };
        match tracker.judge(&frame, Gates { from: self.gate, to }, payer) {
            Ok(()) => decision.judged(passed(decision.out)),
            Err(Refusal::Leaving(reason)) => Decision { out: Out::Drop(reason), ..decision },
            Err(Refusal::Entering(reason)) => decision.judged(Judged::Refused(reason)),
        }
    }
}

/// What is said of a frame that the groups of both ends, or of the one that is known, let pass.
#[inline]
pub(super) fn passed(out: Out) -> Judged {
    if matches!(out, Out::Port(_)) { Judged::Both } else { Judged::Left }
}
