//! How a frame leaves by a port: tagged or not, and whether it fits (802.1Q 6.9, 8.6.4).

use crate::config::{PortConfig, PortMode};
use crate::parse::{C_TAG, ETHERNET, TAG};
use crate::{Decision, DropReason, PortId, Switch, TagEdit};

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
    /// How a copy of a frame of `len` bytes (as it came) leaves by `egress`, or why it does not; that
    /// is counted at `egress`, by the caller.
    #[inline]
    pub fn egress(
        &self,
        egress: PortId,
        decision: &Decision,
        len: u32,
        gso: bool,
    ) -> Result<TagEdit, DropReason> {
        match self.port(egress) {
            Some(config) if config.up => leave(config, decision, len, gso),
            _ => Err(DropReason::TxPortDown),
        }
    }

    /// The same for all frames with one decision: the edit, and the longest frame (as it came) that
    /// fits; GSO super-frames always do. `Err`: ask [`egress`](Self::egress) for each frame.
    #[inline]
    pub fn egress_all(&self, egress: PortId, decision: &Decision) -> Result<(TagEdit, u32), DropReason> {
        let edit = self.egress(egress, decision, 0, false)?;
        let mtu = self.port(egress).map_or(0, |config| config.mtu);
        Ok((edit, longest(mtu, decision.tags)))
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
        tag(decision.pcp, decision.vlan)
    } else if decision.double {
        // Double tagging: whoever takes off VID 0 or the native VLAN shows the next bridge a VLAN of
        // the guest's choice.
        return Err(DropReason::TxDoubleTag);
    } else if config.priority_tags && decision.pcp != 0 {
        tag(decision.pcp, 0)
    } else {
        0
    };
    let came = match decision.strip {
        0 => 0,
        _ => tag(decision.pcp, if decision.vid { decision.vlan } else { 0 }),
    };
    Ok(if insert == came { TagEdit::NONE } else { TagEdit { strip: decision.strip, insert } })
}
