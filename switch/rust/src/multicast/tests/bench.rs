//! A switch in virtual time, and the frames that it is given.

use super::super::*;
use crate::headers::sum;
use crate::{SwitchConfig, View};

pub(super) const V4: [u8; 4] = [239, 1, 1, 1];

/// (kind, group, sources)
type Record<'a> = (u8, [u8; 4], &'a [[u8; 4]]);

/// A switch in whose VLAN 1 groups are snooped.
pub(super) struct Bench {
    pub switch: Switch,
    pub now: Nanos,
    /// Told beside what comes by a link.
    pub sender: PortId,
}

pub(super) fn setup() -> Setup {
    Setup {
        unknown: Unknown::Routers,
        querier: true,
        mac: [2, 0, 0, 0, 1, 0],
        ip4: Ipv4Addr::new(10, 0, 0, 5),
        ip6: "fe80::5".parse().unwrap(),
        interval: 125 * SECOND,
        fast_leave: false,
        suppress: false,
        bounds: Bounds { groups: 8, port_groups: 4 },
    }
}

impl Bench {
    /// With ports 0 to `ports`, of which the last is a link.
    pub fn new(setup: Setup, ports: u16) -> Bench {
        let mut switch = Switch::new(SwitchConfig::default());
        assert!(switch.set_multicast(1, Some(setup)));
        for port in 0..ports {
            switch.add_port(port, PortConfig { places: port + 1 == ports, ..PortConfig::access(1) }).unwrap();
        }
        let mut bench = Bench { switch, now: 0, sender: PortId::MAX };
        bench.go(0);
        bench
    }

    /// Time goes on to `now`, and every timer in between comes; what is asked meanwhile.
    pub fn go(&mut self, now: Nanos) -> Vec<Query> {
        let mut asked = vec![];
        while let Some(at) = self.switch.deadline().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            self.switch.tick(self.now);
            asked.extend(std::iter::from_fn(|| self.switch.next_query()));
        }
        self.now = now;
        asked
    }

    /// When links carry no more than is wanted beyond them, and nothing more has to be asked at once.
    pub fn settled(mut self) -> Bench {
        self.go(5 * SECOND);
        self
    }

    /// The ports that a frame leaves by, or its reason.
    pub fn send(&mut self, port: PortId, frame: &[u8]) -> Result<Vec<PortId>, &'static str> {
        let sender = self.sender;
        let mut out = [Decision::default()];
        let view = View { sender, ..View::plain(frame, frame.len() as u32) };
        self.switch.classify(self.now, port, [view], &mut out);
        let [mut decision] = out;
        if self.switch.is_heard(&decision, frame) {
            self.switch.listen(self.now, port, sender, &mut decision, frame);
        }
        if let Out::Drop(reason) = decision.out {
            return Err(reason.name());
        }
        let ports = self.switch.spread(&decision).iter().copied();
        Ok(ports.filter(|&to| to != port && self.switch.floods_to(to, &decision)).collect())
    }

    pub fn data(&mut self, port: PortId, group: [u8; 4]) -> Result<Vec<PortId>, &'static str> {
        self.send(port, &ipv4(port, [10, 0, 0, 9], group, 17, &[0; 8]))
    }

    pub fn from(&mut self, port: PortId, source: u8, group: [u8; 4]) -> Result<Vec<PortId>, &'static str> {
        self.send(port, &ipv4(port, [10, 0, 0, source], group, 17, &[0; 8]))
    }

    /// Records of IGMPv3: (kind, group, sources).
    pub fn v3(&mut self, port: PortId, records: &[Record<'_>]) -> Result<Vec<PortId>, &'static str> {
        let mut body = vec![0x22, 0, 0, 0, 0, 0, 0, records.len() as u8];
        for (kind, group, sources) in records {
            body.extend([*kind, 0, 0, sources.len() as u8]);
            body.extend(group);
            body.extend(sources.concat());
        }
        self.igmp(port, [224, 0, 0, 22], &body)
    }

    pub fn join(&mut self, port: PortId, group: [u8; 4]) {
        self.v3(port, &[(4, group, &[])]).unwrap();
    }

    pub fn leave(&mut self, port: PortId, group: [u8; 4]) {
        self.v3(port, &[(3, group, &[])]).unwrap();
    }

    pub fn igmp(&mut self, port: PortId, to: [u8; 4], body: &[u8]) -> Result<Vec<PortId>, &'static str> {
        self.send(port, &ipv4(port, [10, 0, 0, 9], to, 2, body))
    }

    pub fn query(&mut self, port: PortId, from: [u8; 4], group: [u8; 4], seconds: u8) {
        let mut body = vec![0x11, seconds * 10, 0, 0];
        body.extend(group);
        body.extend([2, 125, 0, 0]);
        let to = if group == [0; 4] { [224, 0, 0, 1] } else { group };
        self.send(port, &ipv4(port, from, to, 2, &body)).unwrap();
    }

    pub fn side(&self, family: Family) -> SideView {
        self.switch.multicast_sides().into_iter().find(|side| side.family == family).unwrap()
    }

    pub fn members(&self) -> Vec<(String, PortId)> {
        let mut page = vec![];
        self.switch.multicast_page(0, 1000, &mut page);
        page.into_iter().map(|member| (member.group.to_string(), member.port)).collect()
    }
}

pub(super) fn sealed(mut bytes: Vec<u8>, at: usize, pseudo: u32) -> Vec<u8> {
    let sum = !sum(&bytes, pseudo);
    bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    bytes
}

pub(super) fn ipv4(port: PortId, src: [u8; 4], dst: [u8; 4], proto: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![1, 0, 0x5e, dst[1] & 0x7f, dst[2], dst[3], 2, 0, 0, 0, 0, port as u8, 8, 0];
    let [high, low] = (20 + body.len() as u16).to_be_bytes();
    let mut ip = vec![0x45, 0, high, low, 0, 0, 0, 0, 1, proto, 0, 0];
    ip.extend(src);
    ip.extend(dst);
    bytes.extend(sealed(ip, 10, 0));
    bytes.extend(if proto == 2 { sealed(body.to_vec(), 2, 0) } else { body.to_vec() });
    bytes
}

pub(super) fn ipv6(port: PortId, src: &str, dst: &str, mld: &[u8]) -> Vec<u8> {
    let (src, dst): (Ipv6Addr, Ipv6Addr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut bytes = vec![0x33, 0x33];
    bytes.extend(&dst.octets()[12..]);
    bytes.extend([2, 0, 0, 0, 0, port as u8, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 8 + mld.len() as u8, 0, 1]);
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend([58, 0, 5, 2, 0, 0, 1, 0]);
    let addresses = sum(&[src.octets(), dst.octets()].concat(), 0);
    bytes.extend(sealed(mld.to_vec(), 2, u32::from(addresses) + mld.len() as u32 + 58));
    bytes
}

pub(super) fn to6(port: PortId, group: &str) -> Vec<u8> {
    let mut frame = ipv6(port, "fd00::9", group, &[0; 8]);
    frame[20] = 17; // UDP instead of options
    frame
}
