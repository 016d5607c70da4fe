//! How a frame leaves by a port: tagged or not, and whether it fits (802.1Q 6.9, 8.6.4).

use crate::account::{account, payer};
use crate::config::{PortConfig, PortMode};
use crate::groups::{Frame, Gate, Gates, Judged, Payer, Refusal};
use crate::parse::{C_TAG, ETHERNET, TAG, destination};
use crate::switch::Port;
use crate::{Came, Decision, DropReason, Place, PortId, Switch, TagEdit, View};

/// The longest frame with `tags` tags that a port with this MTU carries.
#[inline]
pub(crate) fn longest(mtu: u16, tags: u8) -> u32 {
    u32::from(mtu) + ETHERNET + TAG * u32::from(tags)
}

/// The words that a tag stands for: TPID, priority, VID.
#[inline]
fn tag(pcp: u8, vid: u16) -> u32 {
    u32::from(C_TAG) << 16 | u32::from(pcp) << 12 | u32::from(vid)
}

impl Switch {
    /// How a copy of a frame (as it came) leaves by `egress`, or why it does not; that is counted at
    /// `egress`, by the caller.
    #[inline]
    pub fn egress(
        &self,
        egress: PortId,
        decision: &Decision,
        view: &View<'_>,
    ) -> Result<TagEdit, DropReason> {
        let port = self.live(egress)?;
        let edit = leave(&port.config, decision, view.len, view.gso)?;
        match &port.config.guard {
            Some(guard)
                if !guard.hears_all(decision.out) && !guard.hears(&port.memory, destination(view)) =>
            {
                return Err(DropReason::TxNotAddressed);
            }
            _ => {}
        }
        if let Some(gate) = Gate::of(egress, port.stamp, &port.config) {
            self.enter(gate, &port.config, decision, view)?;
        }
        Ok(edit)
    }

    /// What the security groups of the port that a frame leaves by say, if nobody asked them yet.
    #[inline(never)]
    fn enter(
        &self,
        gate: Gate<'_>,
        config: &PortConfig,
        decision: &Decision,
        view: &View<'_>,
    ) -> Result<(), DropReason> {
        match decision.judged {
            Judged::Both => return Ok(()),
            Judged::Refused(reason) => return Err(reason),
            Judged::Not | Judged::Left => {}
        }
        let ingress = decision.ingress;
        let sender = self.ports.get(usize::from(ingress)).and_then(Option::as_deref);
        let from = sender.map(|port| &port.config);
        let account = from.map_or(ingress, |from| account(from, ingress, view.sender));
        let payer = from
            .and_then(|from| payer((ingress, from), account, &self.allowances))
            .unwrap_or(Payer { port: gate.port, limit: config.connections });
        let mut tracker = self.tracker.borrow_mut();
        let frame = Frame {
            now: tracker.now(),
            ingress,
            account,
            vlan: decision.vlan,
            dst: destination(view),
            tags: decision.tags,
            view,
            again: decision.judged == Judged::Left,
            sender: sender.map(|port| (&port.config, &port.memory)),
        };
        tracker.judge(&frame, Gates { from: None, to: Some(gate) }, payer).map_err(|refusal| match refusal {
            Refusal::Leaving(reason) | Refusal::Entering(reason) => reason,
        })
    }

    /// The same for all frames with one decision: the edit, and the longest frame (as it came) that
    /// fits; GSO super-frames always do. `Err`: ask [`egress`](Self::egress) for each frame.
    #[inline]
    pub fn egress_all(&self, egress: PortId, decision: &Decision) -> Result<(TagEdit, u32), DropReason> {
        let config = &self.live(egress)?.config;
        let edit = leave(config, decision, 0, false)?;
        if config.guard.as_ref().is_some_and(|guard| !guard.hears_all(decision.out)) {
            return Err(DropReason::TxNotAddressed);
        }
        if self.live(egress)?.stamp != 0 && decision.judged != Judged::Both {
            return Err(DropReason::GroupIngress);
        }
        Ok((edit, longest(config.mtu, decision.tags)))
    }

    /// A port that is there and up.
    #[inline]
    fn live(&self, egress: PortId) -> Result<&Port, DropReason> {
        let port = self.ports.get(usize::from(egress)).and_then(Option::as_deref);
        match port {
            Some(port) if port.config.up && port.forwards() => Ok(port),
            Some(port) if port.config.up => Err(DropReason::TxStpBlocked),
            _ => Err(DropReason::TxPortDown),
        }
    }
}

#[inline]
fn leave(config: &PortConfig, decision: &Decision, len: u32, gso: bool) -> Result<TagEdit, DropReason> {
    if !config.carries(decision.vlan) {
        return Err(DropReason::TxNotMember);
    }
    if !gso && len > longest(config.mtu, decision.tags) {
        return Err(DropReason::TxTooBig);
    }
    let tagged = match &config.mode {
        PortMode::Access(_) => false,
        PortMode::Trunk { native, .. } => {
            native.is_none_or(|native| native.tagged || native.vlan != decision.vlan)
        }
    };
    let insert = if tagged {
        let translate = config.translate.as_ref();
        tag(decision.pcp, translate.map_or(decision.vlan, |map| map.outward(decision.vlan)))
    } else if decision.double {
        // Double tagging: whoever takes off VID 0 or the native VLAN shows the next bridge a VLAN of
        // the guest's choice.
        return Err(DropReason::TxDoubleTag);
    } else if config.priority_tags && decision.pcp != 0 {
        tag(decision.pcp, 0)
    } else {
        0
    };
    let stays = match decision.came {
        Came::Untagged => insert == 0,
        Came::Priority => insert == tag(decision.pcp, 0),
        Came::Tagged => insert == tag(decision.pcp, decision.vlan),
        Came::Translated => false,
    };
    let place = if config.places { decision.place } else { Place::UNTOLD };
    let (strip, insert) = if stays { (0, 0) } else { (decision.came.strip(), insert) };
    Ok(TagEdit { strip, insert, place })
}
