//! What would happen to a frame: the same code that forwards, run on twins of the switches.
//!
//! A twin (`switch/rust/src/twin.rs`) decides as its switch would at this moment, with all that it has
//! learned and counted, and what it learns by it is forgotten with it. So nothing is said here twice, and
//! nothing happens: no counter moves, no station is learned, no frame leaves. What is left to chance and to
//! others' traffic is said to be so: a cable that may lose a frame or delays it, a limit that makes it wait.

use super::{Engine, EngineError};
use nics::link::{CordControl, Impair, payload};
use nics::offload::Offload;
use nics::{Frame, TxFrame};
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use switch::{Decision, DropReason, FdbEntry, Nanos, Place, PortId, TagEdit, Twin};

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
    /// It may come later than it leaves here: a cable delays it, or a limit makes it wait.
    pub late: bool,
    /// It may get lost on a cable, or come twice or damaged.
    pub unsure: bool,
    /// The port has several cables, and this one is taken.
    pub way: Option<(usize, String)>,
}

impl Engine {
    /// What would happen now to `frame` if it came in at `port`: a hop for each switch that it or a copy
    /// of it would pass.
    pub fn explain(&mut self, now: Nanos, port: PortId, frame: &[u8]) -> Result<Vec<Hop>, EngineError> {
        let now = now.max(self.now);
        let number = self.slot(port)?.switch;
        let mut twins: BTreeMap<u16, Twin> = BTreeMap::new();
        let mut hops: Vec<Hop> = vec![];
        let mut to_come =
            std::collections::VecDeque::from([(number, port, (frame.to_vec(), Place::UNTOLD, port), None)]);
        while let Some((number, ingress, frame, from)) = to_come.pop_front() {
            if hops.len() >= HOPS {
                break;
            }
            let twin = match twins.entry(number) {
                Entry::Occupied(twin) => twin.into_mut(),
                Entry::Vacant(place) => place.insert(self.switch(number)?.twin()),
            };
            let hop = self.hop(now, twin, (number, ingress), frame, from)?;
            for (i, copy) in hop.copies.iter().enumerate() {
                let (Some(peer), None) = (copy.peer, copy.refused) else { continue };
                let sent = sent(&hop.frame, copy.edit);
                let sent = (sent, copy.edit.place, port);
                to_come.push_back((self.slot(peer)?.switch, peer, sent, Some((hops.len(), i))));
            }
            hops.push(hop);
        }
        Ok(hops)
    }

    fn hop(
        &mut self,
        now: Nanos,
        twin: &mut Twin,
        (number, ingress): (u16, PortId),
        (frame, place, sender): (Vec<u8>, Place, PortId),
        from: Option<(usize, usize)>,
    ) -> Result<Hop, EngineError> {
        let flat = Frame::flat(&frame, Offload::NONE).at(place, sender);
        let view = flat.view();
        let decision = twin.classify(self.switch_mut(number)?, now, ingress, view, &frame);
        let switch = self.switch(number)?;
        let station = frame
            .first_chunk::<6>()
            .and_then(|&mac| switch.fdb_get(decision.vlan, mac))
            .filter(|_| frame[0] & 1 == 0);
        // Its own limit leaves what the guest sends where it is, until then.
        let held = self.slots.get(usize::from(ingress)).and_then(|slot| Some(slot.shaper.as_ref()?.held()));
        let waits = from.is_none() && held.is_some_and(|until| until > now);
        let mut copies = vec![];
        for port in twin.ports(&decision) {
            let edit = twin.egress(switch, port, &decision, &view);
            let mut copy = self.copy(now, port, &flat, edit);
            copy.late |= waits && copy.refused.is_none();
            copies.push(copy);
        }
        let mirrors = self.mirrored(ingress, &decision, &copies);
        Ok(Hop { switch: number, ingress, decision, station, copies, mirrors, from, frame })
    }

    /// What becomes of a copy that the switch lets out, or refuses.
    fn copy(&self, now: Nanos, port: PortId, frame: &Frame<'_>, edit: Result<TagEdit, DropReason>) -> Copy {
        let slot = self.slots.get(usize::from(port));
        let peer = slot.and_then(|slot| slot.peer);
        let mut copy =
            Copy { port, refused: None, edit: TagEdit::NONE, peer, late: false, unsure: false, way: None };
        copy.edit = match edit {
            Ok(edit) => edit,
            Err(reason) => {
                copy.refused = Some(reason);
                return copy;
            }
        };
        let tx = TxFrame { frame, edit: copy.edit };
        let nic = slot.and_then(|slot| slot.nic.as_ref()).filter(|nic| nic.carrier());
        copy.way = nic.and_then(|nic| nic.way_of(frame.head()));
        let cable = self.cable(port, peer, copy.way.as_ref().map_or(0, |(way, _)| *way));
        copy.refused = match (nic, &cable) {
            (None, _) => Some(DropReason::TxNoCarrier),
            (Some(nic), _) if tx.len() > nic.caps().max_frame as usize => Some(DropReason::TxTooBig),
            (_, Some(cable)) if cable.mtu != 0 && payload(&tx) > cable.mtu as usize => {
                Some(DropReason::TxTooBig)
            }
            _ => None,
        };
        let queue = slot.and_then(|slot| slot.shaper.as_ref()?.ingress.as_ref());
        let waits = queue.is_some_and(|queue| !queue.lets_pass(now));
        if copy.refused.is_none() && waits && queue.is_some_and(|queue| !queue.queue.has_room(tx.len())) {
            copy.refused = Some(DropReason::TxLimit);
        }
        copy.late = waits || cable.as_ref().is_some_and(Impair::delays);
        copy.unsure = cable.as_ref().is_some_and(Impair::loses);
        copy
    }

    /// What the cable behind a port, that of this number, does to frames that leave there.
    fn cable(&self, port: PortId, peer: Option<PortId>, way: usize) -> Option<Impair> {
        let link = |end: PortId, side| self.links.get(&end)?.impair(way, side);
        match peer {
            Some(peer) => link(port, 0).or_else(|| link(peer, 1)),
            None => self.cords.get(&port).map(CordControl::inward),
        }
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
