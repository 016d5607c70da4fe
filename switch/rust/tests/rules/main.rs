//! Every rule of the switch, and every reason it drops a frame for, one by one.
#![allow(clippy::unwrap_used)]

mod accounts;
mod bursts;
mod configuration;
mod egress;
mod groups;
mod guard;
mod ingress;
mod learning;
mod private;
mod recall;
mod storm;
mod tree;
mod uplink;

use switch::DropReason::{self, *};
use switch::{
    Alike, Came, Decision, FdbCount, Flood, Flush, Guard, Kind, Mac, Nanos, Native, Out, PortConfig, PortId,
    PortMode, Switch, SwitchConfig, SwitchError, TagEdit, View, VlanId, VlanMap, VlanSet,
};

const A: Mac = [2, 0, 0, 0, 0, 0xa];
const B: Mac = [2, 0, 0, 0, 0, 0xb];
const C: Mac = [2, 0, 0, 0, 0, 0xc];
const BROADCAST: Mac = [0xff; 6];
const MULTICAST: Mac = [1, 0, 0x5e, 0, 0, 1];
const LLDP: Mac = [1, 0x80, 0xc2, 0, 0, 0xe];
const SECOND: Nanos = 1_000_000_000;

fn frame(dst: Mac, src: Mac, tags: &[u16], payload: usize) -> Vec<u8> {
    let mut bytes = [dst, src].concat();
    bytes.extend(tags.iter().flat_map(|word| word.to_be_bytes()));
    bytes.extend([8, 0]);
    bytes.resize(bytes.len() + payload, 0xa5);
    bytes
}

fn view(bytes: &[u8]) -> View<'_> {
    View::plain(&bytes[..bytes.len().min(64)], bytes.len() as u32)
}

/// What a door says of a burst: nothing if its frames have more to tell apart than first bytes. Their ports are put into
/// `ports`, and told if they are not all the same.
fn alike<'a, 'p>(mut views: impl Iterator<Item = View<'a>>, ports: &'p mut Vec<u32>) -> Option<Alike<'p>> {
    let word =
        |view: &View<'_>| view.head.get(Alike::PORTS..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let first = views.next()?;
    ports.extend(word(&first));
    let mut differ = [0; Alike::BYTES];
    for view in views {
        ports.extend(word(&view));
        let bytes = view.head.get(..Alike::BYTES).filter(|_| view.len == first.len && !view.gso)?;
        differ
            .iter_mut()
            .zip(first.head)
            .zip(bytes)
            .for_each(|((differ, one), other)| *differ |= one ^ other);
    }
    let known = ports.first() != ports.last();
    (!first.gso && first.head.len() >= Alike::BYTES)
        .then(|| Alike::new(differ, known.then_some(ports.as_slice())))
}

/// What an egress looks at.
fn of_len(len: u32, gso: bool) -> View<'static> {
    View { gso, ..View::plain(&[0; 64], len) }
}

fn trunk(tagged: &[VlanId], native: Option<(VlanId, bool)>) -> PortConfig {
    let mode = PortMode::Trunk {
        tagged: Box::new(tagged.iter().copied().collect::<VlanSet>()),
        native: native.map(|(vlan, tagged)| Native { vlan, tagged }),
    };
    PortConfig { mode, ..PortConfig::access(1) }
}

struct Bench(Switch);

impl Bench {
    /// A switch with these ports, from number 0 on.
    fn new(ports: impl IntoIterator<Item = PortConfig>) -> Bench {
        let mut switch = Switch::new(SwitchConfig::default());
        for (id, config) in ports.into_iter().enumerate() {
            switch.add_port(id as PortId, config).unwrap();
        }
        Bench(switch)
    }

    /// Three access ports in VLAN 1; the first as given.
    fn access(first: PortConfig) -> Bench {
        Bench::new([first, PortConfig::access(1), PortConfig::access(1)])
    }

    fn decide(&mut self, now: Nanos, ingress: PortId, bytes: &[u8]) -> Decision {
        self.decide_view(now, ingress, view(bytes))
    }

    fn decide_view(&mut self, now: Nanos, ingress: PortId, view: View<'_>) -> Decision {
        let mut out = [Decision::default()];
        assert_eq!(self.0.classify(now, ingress, [view], &mut out), 1);
        let drops: u64 = self.0.counters(ingress).map_or(0, |c| c.drops.iter().map(|d| d.get()).sum());
        if let Some(counters) = self.0.counters(ingress) {
            assert_eq!(counters.rx_frames.get(), counters.forwarded.get() + drops);
        }
        out[0]
    }

    fn out(&mut self, ingress: PortId, bytes: &[u8]) -> Out {
        self.decide(0, ingress, bytes).out
    }

    /// `mac` is heard at `port`, untagged.
    fn hear(&mut self, port: PortId, mac: Mac) {
        self.out(port, &frame(BROADCAST, mac, &[], 46));
    }

    #[track_caller]
    fn drops(&mut self, ingress: PortId, bytes: &[u8], reason: DropReason) {
        let before = self.0.counters(ingress).map_or(0, |c| c.drops[reason as usize].get());
        assert_eq!(self.out(ingress, bytes), Out::Drop(reason));
        let after = self.0.counters(ingress).map_or(1, |c| c.drops[reason as usize].get());
        assert_eq!(after, before + 1);
    }

    fn entry(&self, vlan: VlanId, mac: Mac) -> Option<(PortId, Kind)> {
        self.0.fdb_get(vlan, mac).map(|entry| (entry.port, entry.kind))
    }
}
