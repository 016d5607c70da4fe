//! Spanning tree: RSTP (802.1D-2004 clause 17), and the older STP as its version 0.
//!
//! One [`Bridge`] for each switch. It does no I/O: BPDUs and carrier come in with a time, `tick` is
//! called when `deadline` says so, and BPDUs to send, ports that change their state and addresses to be
//! forgotten are taken out with `poll`. The state machines are those of the standard, under its names,
//! in `machines/`.

pub mod bpdu;
mod machines;
mod port;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_known;

pub use bpdu::{Bpdu, BridgeId};
pub use port::{PortSetup, Role};

use crate::{Nanos, PortId};
use bpdu::{Config, Times, Vector};
use port::Port;
use std::collections::{BTreeMap, VecDeque};

const SECOND: Nanos = 1_000_000_000;

/// Which protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Clause 8 of 802.1D-1998, as RSTP speaks it (force version 0).
    Stp,
    Rstp,
}

/// How a bridge is set up. Times in seconds (17.14 gives their ranges).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeSetup {
    pub version: Version,
    /// 0..=61440 in steps of 4096; the lowest becomes the root.
    pub priority: u16,
    pub mac: [u8; 6],
    pub hello: u16,
    pub max_age: u16,
    pub forward_delay: u16,
}

impl BridgeSetup {
    /// The standard's defaults.
    #[must_use]
    pub const fn new(version: Version, mac: [u8; 6]) -> Self {
        BridgeSetup { version, priority: 32_768, mac, hello: 2, max_age: 20, forward_delay: 15 }
    }
}

/// What a port does with frames (17.10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PortState {
    /// Nothing passes.
    Discarding,
    /// Addresses are learned, nothing passes.
    Learning,
    #[default]
    Forwarding,
}

impl PortState {
    /// As `vnet status` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            PortState::Discarding => "discarding",
            PortState::Learning => "learning",
            PortState::Forwarding => "forwarding",
        }
    }
}

/// What a bridge wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this BPDU.
    Send(PortId, Bpdu),
    /// The port's state is this from now on.
    State(PortId, PortState),
    /// Forget the addresses learned at this port.
    Flush(PortId),
    /// BPDU guard took the port out of service.
    Refused(PortId),
}

/// What is to be seen of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortView {
    pub role: Role,
    pub state: PortState,
    pub cost: u32,
    pub id: u16,
    pub edge: bool,
    /// It speaks RSTP.
    pub rapid: bool,
    pub refused: bool,
}

/// What is to be seen of a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeView {
    pub id: BridgeId,
    pub root: BridgeId,
    /// To the root.
    pub cost: u32,
    pub root_port: Option<PortId>,
    /// How often a port began to forward or a topology change was heard of, and when last.
    pub changes: u64,
    pub changed: Option<Nanos>,
}

/// See the top of this file.
#[derive(Debug)]
pub struct Bridge {
    setup: BridgeSetup,
    ports: BTreeMap<PortId, Port>,
    root: Vector,
    root_times: Times,
    root_port: Option<PortId>,
    out: VecDeque<Output>,
    now: Nanos,
    next_second: Option<Nanos>,
    changes: u64,
    changed: Option<Nanos>,
}

impl Bridge {
    /// A bridge without ports.
    #[must_use]
    pub fn new(setup: BridgeSetup) -> Self {
        let mut bridge = Bridge {
            setup,
            ports: BTreeMap::new(),
            root: Vector::default(),
            root_times: Times::default(),
            root_port: None,
            out: VecDeque::new(),
            now: 0,
            next_second: None,
            changes: 0,
            changed: None,
        };
        bridge.root = bridge.own_vector();
        bridge.root_times = bridge.own_times();
        bridge
    }

    /// Its identifier (9.2.5).
    #[must_use]
    pub fn id(&self) -> BridgeId {
        let [a, b, c, d, e, f] = self.setup.mac;
        u64::from(self.setup.priority & 0xf000) << 48 | u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    fn own_vector(&self) -> Vector {
        Vector { root: self.id(), cost: 0, bridge: self.id(), port: 0 }
    }

    fn own_times(&self) -> Times {
        let BridgeSetup { hello, max_age, forward_delay, .. } = self.setup;
        let ticks = |seconds: u16| seconds.saturating_mul(256);
        Times { age: 0, max_age: ticks(max_age), hello: ticks(hello), forward_delay: ticks(forward_delay) }
    }

    /// Add a port, or set one up anew. It is discarding until the protocol says otherwise.
    pub fn set_port(&mut self, id: PortId, setup: PortSetup, enabled: bool, now: Nanos) {
        self.advance(now);
        if let Some(port) = self.ports.get_mut(&id) {
            port.setup = setup;
            port.refused &= setup.bpdu_guard;
            port.enabled = enabled && !port.refused;
            port.reselect = true;
            port.selected = false;
        } else {
            // Port numbers have twelve bits, and 0 is none (9.2.7). Those of an engine have as many.
            let mut port = Port::new(id.wrapping_add(1) & 0xfff, setup);
            port.enabled = enabled;
            port.send_rstp = self.setup.version == Version::Rstp;
            port.rr_while = self.setup.forward_delay;
            port.fd_while = self.setup.max_age;
            self.ports.insert(id, port);
            self.out.push_back(Output::State(id, PortState::Discarding));
        }
        self.run();
    }

    /// Forget a port.
    pub fn remove_port(&mut self, id: PortId, now: Nanos) {
        self.advance(now);
        if self.ports.remove(&id).is_some() {
            if let Some(other) = self.ports.values_mut().next() {
                other.reselect = true;
            }
            self.run();
        }
    }

    /// Whether the port is one of this bridge's.
    #[must_use]
    pub fn has_port(&self, id: PortId) -> bool {
        self.ports.contains_key(&id)
    }

    /// A port's carrier came or went.
    pub fn set_enabled(&mut self, id: PortId, enabled: bool, now: Nanos) {
        self.advance(now);
        if let Some(port) = self.ports.get_mut(&id)
            && port.enabled != (enabled && !port.refused)
        {
            port.enabled = enabled && !port.refused;
            self.run();
        }
    }

    /// An operator has set the port down: what BPDU guard did to it is over.
    pub fn forgive(&mut self, id: PortId) {
        if let Some(port) = self.ports.get_mut(&id) {
            port.refused = false;
        }
    }

    /// A frame to the Bridge Group Address came in, untagged; false when it is no BPDU.
    pub fn input(&mut self, id: PortId, frame: &[u8], now: Nanos) -> bool {
        let Some(bpdu) = Bpdu::parse(frame) else { return false };
        self.hear(id, bpdu, now);
        true
    }

    /// The same, read already.
    pub fn hear(&mut self, id: PortId, bpdu: Bpdu, now: Nanos) {
        self.advance(now);
        let own = self.id();
        let Some(port) = self.ports.get_mut(&id) else { return };
        if !port.enabled {
            return;
        }
        if port.setup.bpdu_guard {
            port.refused = true;
            port.enabled = false;
            self.out.push_back(Output::Refused(id));
            self.run();
            return;
        }
        match bpdu {
            // Its own, come back: 9.3.4 has that discarded for Config BPDUs.
            Bpdu::Config(Config { rapid: false, vector, .. })
                if vector.bridge == own && vector.port == port.id() =>
            {
                return;
            }
            Bpdu::Config(config) => {
                port.rcvd_rstp |= config.rapid;
                port.rcvd_stp |= !config.rapid;
                port.received = Some(config);
            }
            Bpdu::Tcn => {
                port.rcvd_stp = true;
                port.rcvd_tcn = true;
            }
        }
        port.oper_edge = false;
        port.edge_delay_while = port::MIGRATE;
        self.run();
    }

    /// Time has come to `now`: count seconds.
    pub fn tick(&mut self, now: Nanos) {
        self.advance(now);
    }

    fn advance(&mut self, now: Nanos) {
        let first = self.next_second.is_none();
        self.now = self.now.max(now);
        let mut next = self.next_second.unwrap_or(now + SECOND);
        if !first && self.now.saturating_sub(next) > 300 * SECOND {
            // Nobody turned the engine for minutes. Everything is over that could be.
            next = self.now - 300 * SECOND;
        }
        while next <= self.now {
            next += SECOND;
            self.ports.values_mut().for_each(Port::tick);
            self.run();
        }
        self.next_second = Some(next);
    }

    /// When `tick` wants to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        if self.ports.is_empty() { None } else { self.next_second }
    }

    /// The next thing to do, in order.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    #[must_use]
    pub fn view(&self) -> BridgeView {
        BridgeView {
            id: self.id(),
            root: self.root.root,
            cost: self.root.cost,
            root_port: self.root_port,
            changes: self.changes,
            changed: self.changed,
        }
    }

    /// Each port, ascending.
    pub fn ports(&self) -> impl Iterator<Item = (PortId, PortView)> + '_ {
        self.ports.iter().map(|(id, port)| {
            let state = match (port.learning, port.forwarding) {
                (_, true) => PortState::Forwarding,
                (true, false) => PortState::Learning,
                (false, false) => PortState::Discarding,
            };
            let view = PortView {
                role: port.role,
                state,
                cost: port.setup.cost,
                id: port.id(),
                edge: port.oper_edge,
                rapid: port.send_rstp,
                refused: port.refused,
            };
            (*id, view)
        })
    }
}
