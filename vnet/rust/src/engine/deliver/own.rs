//! Frames of the switch's own: answers to a burst, BPDUs, questions about groups.

use super::Delivery;
use super::egress::{hand_over, length};
use crate::capture::Sighting;
use crate::engine::ports::{PortSet, Slot};
use nics::{Frame, Offload, Origin, TxFrame};
use switch::{Nanos, PortId, TagEdit};

impl Delivery {
    /// Send what the switch answered to the latest burst, which came in by `port`.
    #[inline]
    pub fn reply(&mut self, now: Nanos, port: PortId, slots: &mut [Slot], touched: &mut PortSet) {
        // Nearly always: to take none out would still move the room for a burst of them.
        if self.answers.is_empty() {
            return;
        }
        for answer in std::mem::take(&mut self.answers) {
            self.originate(now, port, slots, touched, (answer.bytes(), TagEdit::NONE));
        }
    }

    /// Send a frame of the switch's own by `egress`, whatever its state, with such a tag.
    pub fn originate(
        &mut self,
        now: Nanos,
        egress: PortId,
        slots: &mut [Slot],
        touched: &mut PortSet,
        (bytes, edit): (&[u8], TagEdit),
    ) {
        let Some(slot) = slots.get_mut(usize::from(egress)) else { return };
        let (Some(nic), Some(counters)) = (slot.nic.as_mut(), slot.counters.as_ref()) else { return };
        if !nic.carrier() || bytes.len() > nic.caps().max_frame as usize {
            return;
        }
        let frame = Frame::flat(bytes, Offload::NONE);
        let out = [TxFrame { frame: &frame, edit }];
        touched.insert(egress);
        (self.report.ingress, self.report.by_origin) = (egress, false);
        self.report.origins.set(Origin::NOBODY);
        hand_over(now, nic.as_mut(), counters, &out, length(&out), &mut self.report);
        let dropped = self.report.drops().first().map(|(_, reason)| *reason);
        match dropped {
            Some(reason) => self.recorder.refused(now, egress, self.packet, 0, &out[0], reason),
            None => self.recorder.own(now, egress, self.packet, &out[0]),
        }
        if self.captures.wants(egress) {
            self.captures.tx(&Sighting { now, port: egress, vlan: 0, packet: self.packet, dropped }, &out[0]);
        }
        self.packet = self.packet.wrapping_add(1);
    }
}
