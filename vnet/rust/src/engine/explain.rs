//! What would happen to a frame: the same code that forwards, run on twins of the switches.
//!
//! A twin decides as its switch would at this moment, with all that it has learned and counted, and
//! what it learns by it is forgotten with it. So nothing is said here twice, and nothing happens:
//! no counter moves, no station is learned, no frame leaves.

use super::{Engine, EngineError};
use nics::offload::Offload;
use nics::{Frame, TxFrame};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use switch::{Decision, DropReason, FdbEntry, Nanos, Out, Place, PortId, Switch, TagEdit};

/// Switches that one frame's copies pass in all: a loop ends here.
const HOPS: usize = 1024;

/// The frame at one switch.
#[derive(Debug)]
pub struct Hop {
    pub switch: u16,
    pub ingress: PortId,
    /// The frame as it came in here.
    pub frame: Vec<u8>,
    pub decision: Decision,
    /// What the switch knew of the destination before.
    pub station: Option<FdbEntry>,
    /// The copies that leave, or would.
    pub copies: Vec<Copy>,
    /// Mirrors that copy it here, by name.
    pub mirrors: Vec<String>,
    /// The hop that it came from, by number, and which copy.
    pub from: Option<(usize, usize)>,
}

/// A copy of it at a port that it leaves by.
#[derive(Debug)]
pub struct Copy {
    pub port: PortId,
    /// Why it does not leave.
    pub refused: Option<DropReason>,
    pub edit: TagEdit,
    /// The port is the end of a link, and this the port at the other end.
    pub peer: Option<PortId>,
}

impl Engine {
    /// What would happen now to `frame` if it came in at `port`: a hop for each switch that it or a copy
    /// of it would pass. What a link does to frames (impairments), and limits that delay, are not part
    /// of it.
    pub fn explain(&mut self, now: Nanos, port: PortId, frame: &[u8]) -> Result<Vec<Hop>, EngineError> {
        let now = now.max(self.now);
        let number = self.slot(port)?.switch;
        let mut twins: BTreeMap<u16, Switch> = BTreeMap::new();
        let mut hops: Vec<Hop> = vec![];
        let mut to_come =
            std::collections::VecDeque::from([(number, port, (frame.to_vec(), Place::UNTOLD), None)]);
        while let Some((number, ingress, frame, from)) = to_come.pop_front() {
            if hops.len() >= HOPS {
                break;
            }
            let twin = match twins.entry(number) {
                Entry::Occupied(twin) => twin.into_mut(),
                Entry::Vacant(place) => place.insert(self.switch(number)?.twin()),
            };
            let hop = self.hop(now, twin, (number, ingress), frame, from);
            for (i, copy) in hop.copies.iter().enumerate() {
                let (Some(peer), None) = (copy.peer, copy.refused) else { continue };
                let sent = sent(&hop.frame, copy.edit);
                let sent = (sent, copy.edit.place);
                to_come.push_back((self.slot(peer)?.switch, peer, sent, Some((hops.len(), i))));
            }
            hops.push(hop);
        }
        Ok(hops)
    }

    fn hop(
        &self,
        now: Nanos,
        twin: &mut Switch,
        (number, ingress): (u16, PortId),
        (frame, place): (Vec<u8>, Place),
        from: Option<(usize, usize)>,
    ) -> Hop {
        let view = Frame::flat(&frame, Offload::NONE).at(place).view();
        let mut decision = [Decision::default()];
        twin.classify(now, ingress, [view], &mut decision);
        let [decision] = decision;
        let station = frame
            .first_chunk::<6>()
            .and_then(|&mac| self.switch(number).ok()?.fdb_get(decision.vlan, mac))
            .filter(|_| frame[0] & 1 == 0);
        let ports: Vec<PortId> = match decision.out {
            Out::Port(egress) => vec![egress],
            Out::Flood(_) | Out::Group(_) | Out::Report(_) => {
                let members = twin.spread(&decision).iter().copied();
                members.filter(|&egress| egress != ingress && twin.floods_to(egress, &decision)).collect()
            }
            Out::Local | Out::Answer | Out::Drop(_) => vec![],
        };
        let copies = ports.into_iter().map(|port| {
            let slot = self.slots.get(usize::from(port));
            let peer = slot.and_then(|slot| slot.peer);
            let carrier = slot.and_then(|slot| slot.nic.as_ref()).is_some_and(|nic| nic.carrier());
            match twin.egress(port, &decision, &view) {
                Ok(edit) if carrier => Copy { port, refused: None, edit, peer },
                Ok(edit) => Copy { port, refused: Some(DropReason::TxNoCarrier), edit, peer },
                Err(reason) => Copy { port, refused: Some(reason), edit: TagEdit::NONE, peer },
            }
        });
        let copies: Vec<Copy> = copies.collect();
        let mirrors = self.mirrored(ingress, &decision, &copies);
        Hop { switch: number, ingress, decision, station, copies, mirrors, from, frame }
    }

    /// The mirrors that copy a frame at this switch.
    fn mirrored(&self, ingress: PortId, decision: &Decision, copies: &[Copy]) -> Vec<String> {
        let mirrors = self.mirrors();
        let linked = self.slots.get(usize::from(ingress)).is_some_and(|slot| slot.peer.is_some());
        let mut found: BTreeSet<usize> = mirrors.copying(ingress, decision.vlan, false).collect();
        for copy in copies.iter().filter(|copy| copy.refused.is_none()) {
            let copying = mirrors.copying(copy.port, decision.vlan, true);
            found.extend(copying.filter(|mirror| !linked || mirrors.in_transit(*mirror)));
        }
        found.into_iter().map(|mirror| mirrors.name(mirror).into()).collect()
    }
}

/// The frame as it leaves.
fn sent(frame: &[u8], edit: TagEdit) -> Vec<u8> {
    let flat = Frame::flat(frame, Offload::NONE);
    let tx = TxFrame { frame: &flat, edit };
    let mut bytes = vec![0; tx.len()];
    tx.copy_to(&mut bytes);
    bytes
}
