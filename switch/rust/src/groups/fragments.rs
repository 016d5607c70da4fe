//! Which datagrams have begun: further fragments belong to the connection that the first one named.
//!
//! A first fragment that passed is remembered for half a minute, and further ones of its datagram are
//! judged as packets of its connection. One that comes before the first is refused: nobody knows what it
//! is part of. (Hosts send them in order, and the switch keeps it.) Each port that fragments come into the
//! fabric by has a few hundred places of its own (`account.rs`), so nobody can displace what came in by another port.

use super::packet::{Key, Kind, Packet};
use super::table::coarse;
use crate::{Handover, Nanos, PortId, VlanId};

const SETS: usize = 64;
const WAYS: usize = 4;
/// How long the rest of a datagram may take, in coarse time (RFC 791 proposes 15 s, RFC 8200 60 s).
const LIFETIME: u32 = (30_000_000_000_u64 >> 20) as u32;

/// A datagram that has begun.
#[derive(Clone, Copy, Debug)]
struct Begun {
    source: u128,
    target: u128,
    id: u32,
    /// Protocol, family, VLAN; 0: nobody's place.
    what: u32,
    heard: u32,
    number: u16,
    from: u8,
    alone: bool,
    key: Key,
}

const NOBODY: Begun = Begun {
    source: 0,
    target: 0,
    id: 0,
    what: 0,
    heard: 0,
    number: 0,
    from: 0,
    alone: false,
    key: Key::NONE,
};

/// The datagrams that have begun, by the port on whose account they are.
#[derive(Debug, Default)]
pub(super) struct Fragments(Vec<Option<Box<[Begun; SETS * WAYS]>>>);

fn what(packet: &Packet) -> u32 {
    u32::from(packet.vlan) << 16 | u32::from(packet.v6) << 8 | u32::from(packet.proto) | 1 << 9
}

/// Where it would be. Addresses need no secret here: who crowds a set crowds his own.
fn place(packet: &Packet, id: u32) -> usize {
    let fold = (packet.source ^ packet.target.rotate_left(17)) as u64 ^ u64::from(id) << 7;
    (fold.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize % SETS * WAYS
}

fn is_it(begun: &Begun, packet: &Packet, id: u32) -> bool {
    begun.what == what(packet)
        && begun.id == id
        && begun.source == packet.source
        && begun.target == packet.target
}

impl Fragments {
    /// A first fragment passed.
    #[cold]
    pub(super) fn begin(&mut self, now: Nanos, port: PortId, packet: &Packet, id: u32) {
        let port = usize::from(port);
        if port >= self.0.len() {
            self.0.resize_with(port + 1, || None);
        }
        let Some(slot) = self.0.get_mut(port) else { return };
        let all = slot.get_or_insert_with(|| Box::new([NOBODY; SETS * WAYS]));
        let at = place(packet, id);
        let Some(set) = all.get_mut(at..at + WAYS) else { return };
        let time = coarse(now);
        let age = |begun: &Begun| match begun {
            begun if is_it(begun, packet, id) => u32::MAX,
            begun if begun.what == 0 => u32::MAX - 1,
            begun => time.wrapping_sub(begun.heard).min(u32::MAX - 2),
        };
        if let Some(oldest) = set.iter_mut().max_by_key(|begun| age(begun)) {
            *oldest = Begun {
                source: packet.source,
                target: packet.target,
                id,
                what: what(packet),
                heard: time,
                number: packet.number,
                from: packet.from as u8,
                alone: packet.kind == Kind::Alone,
                key: packet.key,
            };
        }
    }

    /// A further fragment as a packet of its connection; `None`: its first was not seen.
    #[cold]
    pub(super) fn belongs(&self, now: Nanos, port: PortId, packet: &Packet) -> Option<Packet> {
        let id = packet.fragment?;
        let at = place(packet, id);
        let set = self.0.get(usize::from(port))?.as_ref()?.get(at..at + WAYS)?;
        let begun = set.iter().find(|begun| is_it(begun, packet, id))?;
        if coarse(now).wrapping_sub(begun.heard) > LIFETIME {
            return None;
        }
        let kind = if begun.alone { Kind::Alone } else { Kind::Later };
        Some(Packet { key: begun.key, from: usize::from(begun.from), number: begun.number, kind, ..*packet })
    }

    /// What has begun on a port's account, as it is there, unless it was brought before.
    pub(super) fn bring(&mut self, from: &Fragments, port: PortId) {
        let port = usize::from(port);
        if let Some(Some(there)) = from.0.get(port) {
            if port >= self.0.len() {
                self.0.resize_with(port + 1, || None);
            }
            self.0.get_mut(port).map(|slot| slot.get_or_insert_with(|| there.clone()));
        }
    }

    /// A port is gone.
    pub(super) fn forget(&mut self, port: PortId) {
        if let Some(slot) = self.0.get_mut(usize::from(port)) {
            *slot = None;
        }
    }

    /// VLANs pass to other networks.
    pub(super) fn forget_vlans(&mut self, handover: &Handover) {
        let all = self.0.iter_mut().flatten().flat_map(|begun| begun.iter_mut());
        all.filter(|begun| handover.contains_key(&((begun.what >> 16) as VlanId)))
            .for_each(|begun| *begun = NOBODY);
    }

    /// Bytes of memory held.
    pub(super) fn memory(&self) -> usize {
        let used = self.0.iter().flatten().count();
        used * size_of::<[Begun; SETS * WAYS]>() + self.0.capacity() * size_of::<Option<Box<()>>>()
    }
}
