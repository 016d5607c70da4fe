//! A switch: its ports, who is in which VLAN, and the forwarding database.
//!
//! This file is what an operator does to it; what frames do is in `classify/` and `egress.rs`.
//! Two things hold after every call: an FDB entry's port exists and carries the entry's VLAN; and a
//! port that is down has no learned entries.

use crate::account::Allowances;
use crate::beyond::Beyond;
use crate::classify::Last;
use crate::config::{PortConfig, PortMode, SwitchConfig, SwitchError};
use crate::counters::PortCounters;
use crate::fdb::{Fdb, FdbCount, FdbEntry, Flush, Kind, Mac, secret};
use crate::groups::{LookUp, Tracker};
use crate::guard::Memory;
use crate::limits::{Bucket, StormMeter};
use crate::members::Vlans;
use crate::multicast::{self, Snooper};
use crate::pairs::Pairs;
use crate::private::{Place, Private};
use crate::proxy::{Answer, Gateways};
use crate::snoop::Binding;
use crate::stp::PortState;
use crate::twin::own;
use crate::{Connection, Decision, Groups, Guard, Nanos, Out, PortId, View, VlanId};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Port numbers are below this.
pub(crate) const PORTS: u16 = 4096;

/// One port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) config: PortConfig,
    pub(crate) counters: Arc<PortCounters>,
    pub(crate) last: Last,
    pub(crate) memory: Memory,
    /// Names the port and its security groups as they are now; 0: it has none.
    pub(crate) stamp: u32,
    pub(crate) storm: Option<Box<StormMeter>>,
    /// What the spanning tree lets it do.
    pub(crate) state: PortState,
    /// BPDUs are for the switch itself.
    pub(crate) control: bool,
    /// Blocked because a storm came in.
    pub(crate) looped: bool,
    /// Stations that moved here from another port so far.
    pub(crate) moves: u64,
    /// What its guest may report of multicast groups.
    pub(crate) reports: Option<Bucket>,
    /// BPDUs that may come in, where they are for the switch.
    pub(crate) bpdus: Option<Box<Bucket>>,
}

fn storm(before: Option<&StormMeter>, config: &PortConfig) -> Option<Box<StormMeter>> {
    StormMeter::next(before, config.limits.as_ref()?.storm).map(Box::new)
}

/// The stations of a port that are nowhere else, while the port is up: a guest that is still elsewhere, and will
/// move here, has a port that is down.
pub(crate) fn vouched(config: &PortConfig) -> &[u64] {
    config.guard.as_ref().filter(|_| config.up).map_or(&[], |guard| guard.vouched())
}

impl Port {
    /// Whether frames may leave by it.
    #[inline]
    pub(crate) fn forwards(&self) -> bool {
        self.state == PortState::Forwarding && !self.looped
    }
}

/// A learning VLAN switch. Frames and a time in, decisions out.
#[derive(Debug)]
pub struct Switch {
    pub(crate) ports: Vec<Option<Box<Port>>>,
    pub(crate) vlans: Vlans,
    pub(crate) fdb: Fdb,
    /// Beside it, what was decided lately.
    pub(crate) pairs: Pairs,
    /// In a cell, because copies of a flood are judged where each of them leaves.
    pub(crate) tracker: RefCell<Tracker>,
    pub(crate) allowances: Allowances,
    /// Ports whose guards learn addresses.
    pub(crate) learners: usize,
    /// Frames were admitted that have to be weighed (`guard/whole.rs`).
    pub(crate) weighs: bool,
    /// All frames of the latest burst have the same decision.
    pub(crate) alike: bool,
    /// When the next lease of any of them ends, or earlier.
    pub(crate) leases: Option<Nanos>,
    /// What servers gave lately, for other switches to hear of.
    pub(crate) given: Vec<Binding>,
    /// The guests' own MAC addresses, where guards vouch for them, and their ports: stations of the fabric's own,
    /// heard or not.
    pub(crate) own: BTreeSet<(u64, PortId)>,
    /// Those at other switches.
    pub(crate) beyond: Beyond,
    /// Which multicast groups are wanted, where that is snooped.
    pub(crate) multicast: Option<Arc<Snooper>>,
    /// Routers behind uplinks, by whose MAC address guests of private networks are told to go.
    pub(crate) gateways: Gateways,
}

fn check_vlan(vlan: VlanId) -> Result<(), SwitchError> {
    if (1..=4094).contains(&vlan) { Ok(()) } else { Err(SwitchError::BadVlan(vlan)) }
}

fn check(config: &PortConfig) -> Result<(), SwitchError> {
    if !(68..=65521).contains(&config.mtu) {
        return Err(SwitchError::BadMtu(config.mtu));
    }
    match &config.mode {
        PortMode::Access(vlan) => check_vlan(*vlan),
        PortMode::Trunk { native, .. } => native.map_or(Ok(()), |native| check_vlan(native.vlan)),
    }
}

impl Switch {
    /// A switch without ports.
    #[must_use]
    pub fn new(config: SwitchConfig) -> Switch {
        Switch {
            ports: Vec::new(),
            vlans: Vlans::new(),
            fdb: Fdb::new(&config),
            pairs: Pairs::new(secret(config.hash_seed)),
            tracker: RefCell::new(Tracker::new(config.connection_limit, config.hash_seed)),
            allowances: Allowances::default(),
            learners: 0,
            weighs: false,
            alike: true,
            leases: None,
            given: Vec::new(),
            own: BTreeSet::new(),
            beyond: Beyond::new(),
            multicast: None,
            gateways: Gateways::default(),
        }
    }

    /// Have connections be looked up, a burst at a time, in another way than one that any processor knows: `look_up` calls
    /// [`crate::Lookup::run`] where it is compiled for more, and tells it how to bring things into the cache. Both takes
    /// `unsafe`, which is not for here; without it all is the same, and slower where there are thousands of connections.
    pub fn set_look_up(&mut self, look_up: LookUp) {
        self.tracker.get_mut().set_look_up(look_up);
    }

    /// Have `spread` be told of memory that will be read all over, before any of it is used: of connections. It can have it
    /// on large pages.
    pub fn set_spread(&mut self, spread: fn(*const u8, usize)) {
        self.tracker.get_mut().set_spread(spread);
    }

    /// Have other limits and another ageing time; learned entries keep their age. Those beyond a lower
    /// limit are forgotten, longest heard first. [`SwitchError::FdbFull`] when there are more static
    /// entries than `fdb_limit`: then nothing has changed. The hash stays as it was.
    pub fn configure(&mut self, now: Nanos, config: &SwitchConfig) -> Result<(), SwitchError> {
        self.fdb.configure(now, config)?;
        self.tracker.get_mut().set_limit(config.connection_limit);
        Ok(())
    }

    /// Add a port under a number of the caller's choice, 0..=4095. Returns its counters.
    pub fn add_port(&mut self, id: PortId, config: PortConfig) -> Result<Arc<PortCounters>, SwitchError> {
        if id >= PORTS {
            return Err(SwitchError::BadPort(id));
        }
        if self.port(id).is_some() {
            return Err(SwitchError::PortExists);
        }
        check(&config)?;
        let at = usize::from(id);
        if at >= self.ports.len() {
            self.ports.resize_with(at + 1, || None);
        }
        self.vlans.add(id, &config);
        let counters = Arc::new(PortCounters::default());
        let memory = Memory::default();
        let stamp = self.tracker.get_mut().stamp(id, false, config.groups.is_some());
        let storm = storm(None, &config);
        let reports = multicast::reports(&config);
        if let Some(snooper) = own(&mut self.multicast) {
            snooper.port(id, &config, config.up);
        }
        self.ports[at] = Some(Box::new(Port {
            config,
            counters: counters.clone(),
            last: Last::NONE,
            memory,
            stamp,
            storm,
            state: PortState::Forwarding,
            control: false,
            looped: false,
            moves: 0,
            reports,
            bpdus: None,
        }));
        self.settle(None, id);
        self.count_learners();
        self.look_for_gateways();
        self.fdb.outdate();
        Ok(counters)
    }

    /// A port came, is set up anew, or is gone: its own stations are there from now on and nowhere else.
    fn settle(&mut self, before: Option<&PortConfig>, id: PortId) {
        for &mac in before.map_or(&[][..], vouched) {
            self.own.remove(&(mac, id));
        }
        let Some(config) = self.port(id) else { return };
        let (macs, vlans) = (vouched(config).to_vec(), config.vlans().collect::<Vec<_>>());
        for mac in macs {
            // Where it was heard behind an uplink before, it is not any more.
            for &vlan in &vlans {
                self.not_outside(mac, vlan);
            }
            self.own.insert((mac, id));
        }
    }

    /// Set a port up anew. Its counters go on. Entries in VLANs that it left are forgotten, and when
    /// it goes down or gets another guard all that it learned; beyond a lower `mac_limit` what was heard
    /// longest ago, but for a guest's own stations.
    pub fn set_port(&mut self, id: PortId, config: PortConfig) -> Result<(), SwitchError> {
        check(&config)?;
        let port =
            self.ports.get_mut(usize::from(id)).and_then(Option::as_mut).ok_or(SwitchError::NoSuchPort)?;
        if port.forwards() {
            self.vlans.remove(id, &port.config);
            self.vlans.add(id, &config);
        }
        let before = std::mem::replace(&mut port.config, config);
        port.memory.renew(before.guard.as_deref(), port.config.guard.as_deref(), &port.config);
        port.storm = storm(port.storm.as_deref(), &port.config);
        let config = &port.config;
        if before.places != config.places {
            port.reports = multicast::reports(config);
        }
        if let Some(snooper) = own(&mut self.multicast) {
            snooper.port(id, config, config.up && port.forwards());
        }
        if before.groups != config.groups {
            port.stamp = self.tracker.get_mut().stamp(id, before.groups.is_some(), config.groups.is_some());
        }
        // To look through a large table takes a while; most changes need not.
        if before.mode != config.mode {
            self.fdb.flush(Flush { port: Some(id), vlan: None, fixed: true }, |vlan| !config.carries(vlan));
        }
        if before.guard != config.guard {
            self.fdb.unbind(id);
        }
        if !config.up || before.guard != config.guard {
            self.fdb.flush(Flush { port: Some(id), vlan: None, fixed: false }, |_| true);
        } else if config.mac_limit < before.mac_limit
            && !config.guard.as_ref().is_some_and(|guard| guard.vouches())
        {
            self.fdb.shrink_port(id, config.mac_limit);
        }
        self.settle(Some(&before), id);
        self.reopen(id);
        self.count_learners();
        self.look_for_gateways();
        self.fdb.outdate();
        Ok(())
    }

    /// Change the security groups of a port and nothing else. Its connections go on as far as the new
    /// ones allow them; those that they don't are cut.
    pub fn set_groups(&mut self, id: PortId, groups: Option<Arc<Groups>>) -> Result<(), SwitchError> {
        let port =
            self.ports.get_mut(usize::from(id)).and_then(Option::as_mut).ok_or(SwitchError::NoSuchPort)?;
        if port.config.groups != groups {
            port.stamp = self.tracker.get_mut().stamp(id, port.config.groups.is_some(), groups.is_some());
            port.config.groups = groups;
            self.fdb.outdate();
        }
        Ok(())
    }

    /// How a port is set up.
    #[inline]
    #[must_use]
    pub fn port(&self, id: PortId) -> Option<&PortConfig> {
        self.ports.get(usize::from(id))?.as_deref().map(|port| &port.config)
    }

    /// The numbers of all ports, ascending.
    pub fn ports(&self) -> impl Iterator<Item = PortId> + '_ {
        (0..PORTS).filter(|&id| self.port(id).is_some())
    }

    /// Remove a port and all its entries, static ones too.
    pub fn remove_port(&mut self, id: PortId) -> Result<(), SwitchError> {
        let port =
            self.ports.get_mut(usize::from(id)).and_then(Option::take).ok_or(SwitchError::NoSuchPort)?;
        if port.forwards() {
            self.vlans.remove(id, &port.config);
        }
        let tracker = self.tracker.get_mut();
        tracker.stamp(id, port.config.groups.is_some(), false);
        tracker.forget(id);
        if let Some(snooper) = own(&mut self.multicast) {
            snooper.forget(id, None);
        }
        self.settle(Some(&port.config), id);
        self.count_learners();
        self.look_for_gateways();
        self.fdb.flush(Flush { port: Some(id), vlan: None, fixed: true }, |_| true);
        self.fdb.outdate();
        Ok(())
    }

    /// A port's counters.
    #[must_use]
    pub fn counters(&self, id: PortId) -> Option<&Arc<PortCounters>> {
        self.ports.get(usize::from(id))?.as_deref().map(|port| &port.counters)
    }

    /// The ports of a VLAN, ascending. A flooded frame goes to each of them but the one it came by,
    /// if [`Switch::floods_to`] says so.
    #[inline]
    #[must_use]
    pub fn flood_ports(&self, vlan: VlanId) -> &[PortId] {
        self.vlans.ports(vlan)
    }

    /// The ports that a frame may go to which was not decided to go to one, ascending: as
    /// [`flood_ports`](Self::flood_ports), and of multicast those where it is wanted.
    #[inline]
    #[must_use]
    pub fn spread(&self, decision: &Decision) -> &[PortId] {
        match decision.out {
            Out::Flood(_) => self.flood_ports(decision.vlan),
            Out::Group(list) | Out::Report(list) => self.multicast.as_ref().map_or(&[], |all| all.list(list)),
            Out::Port(_) | Out::Local | Out::Answer | Out::Drop(_) => &[],
        }
    }

    /// Whether `egress` takes this flooded frame.
    #[inline]
    #[must_use]
    pub fn floods_to(&self, egress: PortId, decision: &Decision) -> bool {
        decision.out.flood().is_some_and(|kind| {
            self.port(egress).is_some_and(|config| {
                let private = config.private.as_deref();
                config.wants(kind)
                    && (private.is_none() || decision.place.reaches(Place::of(private, decision.vlan)))
            })
        })
    }

    /// The answer to a frame that was decided to be answered; it leaves by the port that it came in by.
    #[must_use]
    pub fn answer(&self, decision: &Decision, view: &View<'_>) -> Option<Answer> {
        let proxy = self.port(decision.ingress)?.proxy.as_deref()?;
        let at = 12 + 4 * usize::from(decision.tags);
        proxy.answer(&self.gateways, decision.vlan, decision.place, view.head, at)
    }

    /// Look for the gateways that ports answer for.
    fn look_for_gateways(&mut self) {
        self.gateways.look_for(self.ports.iter().flatten().map(|port| &port.config));
    }

    /// Time has come to `now`: forget some of what is due, so much that it takes microseconds.
    pub fn tick(&mut self, now: Nanos) {
        self.fdb.tick(now);
        self.tracker.get_mut().tick(now);
        self.expire(now);
        self.multicast_tick(now);
    }

    /// When `tick` has something to do; may be past, when there was too much for one call.
    #[must_use]
    pub fn deadline(&self) -> Option<Nanos> {
        let leases = self.leases.filter(|at| *at != Nanos::MAX);
        let parts =
            [self.fdb.deadline(), self.tracker.borrow().deadline(), leases, self.multicast_deadline()];
        parts.into_iter().flatten().min()
    }

    /// Lines about what was denied, by security groups or for want of room for multicast groups: rate-limited,
    /// each with the port that it is about.
    #[inline]
    pub fn denied(&mut self) -> Vec<(PortId, String)> {
        let mut lines = self.tracker.get_mut().denied();
        if self.multicast.is_some() {
            lines.extend(self.multicast_lines());
        }
        lines
    }

    /// Append a page of tracked connections to `page`, as they are at `now`: from `cursor` (0 at first)
    /// on, `limit` at most. Returns the cursor of the next page, `None` after the last.
    pub fn connections(
        &self,
        now: Nanos,
        cursor: usize,
        limit: usize,
        page: &mut Vec<Connection>,
    ) -> Option<usize> {
        self.tracker.borrow().page(now, cursor, limit, page)
    }

    /// Tracked connections: (of all, on account of one port).
    #[must_use]
    pub fn connection_count(&self, port: PortId) -> (u32, u32) {
        self.tracker.borrow().count(port)
    }

    /// Set an entry that does not age, in place of what is there. `sticky`: frames from its station
    /// at any other port are dropped. In a full table it displaces the oldest learned entry.
    pub fn fdb_set(&mut self, vlan: VlanId, mac: Mac, port: PortId, sticky: bool) -> Result<(), SwitchError> {
        check_vlan(vlan)?;
        if mac[0] & 1 == 1 || mac == [0; 6] {
            return Err(SwitchError::BadMac);
        }
        if !self.port(port).ok_or(SwitchError::NoSuchPort)?.carries(vlan) {
            return Err(SwitchError::NotMember(vlan));
        }
        self.fdb.set(vlan, mac, port, if sticky { Kind::Sticky } else { Kind::Static })
    }

    /// Forget one entry, of any kind.
    pub fn fdb_remove(&mut self, vlan: VlanId, mac: Mac) -> Result<(), SwitchError> {
        self.fdb.forget(vlan, mac)
    }

    /// Forget many entries; returns how many.
    pub fn fdb_flush(&mut self, which: Flush) -> usize {
        self.fdb.flush(which, |_| true)
    }

    /// One entry.
    #[must_use]
    pub fn fdb_get(&self, vlan: VlanId, mac: Mac) -> Option<FdbEntry> {
        self.fdb.get(vlan, mac)
    }

    /// Append a page of entries to `page`: from `cursor` (0 at first) on, `limit` of them and up to
    /// 383 more. Returns the cursor of the next page, `None` after the last. The switch may forward
    /// between two pages: an entry that is there all the time is in one of them at least.
    pub fn fdb_page(&self, cursor: usize, limit: usize, page: &mut Vec<FdbEntry>) -> Option<usize> {
        self.fdb.page(cursor, limit, page)
    }

    /// Entries in all.
    #[must_use]
    pub fn fdb_count(&self) -> FdbCount {
        self.fdb.count()
    }

    /// Entries of one port.
    #[must_use]
    pub fn fdb_count_port(&self, port: PortId) -> FdbCount {
        self.fdb.count_port(port)
    }

    /// Entries of one VLAN.
    #[must_use]
    pub fn fdb_count_vlan(&self, vlan: VlanId) -> FdbCount {
        self.fdb.count_vlan(vlan)
    }

    /// Bytes of memory held by tracked connections.
    #[must_use]
    pub fn connection_memory(&self) -> usize {
        self.tracker.borrow().memory()
    }

    /// Bytes of memory held: (by the FDB and what is kept beside it, by ports and VLANs).
    #[must_use]
    pub fn memory(&self) -> (usize, usize) {
        let ports = self.ports.iter().flatten().map(|port| {
            let set = if matches!(port.config.mode, PortMode::Trunk { .. }) { 512 } else { 0 };
            let guard = port.config.guard.as_ref().map_or(0, |guard| size_of::<Guard>() + guard.memory());
            let private = port.config.private.as_ref().map_or(0, |_| size_of::<Private>());
            // Rules that several ports have are there once, and counted for each.
            let groups = port.config.groups.as_ref().map_or(0, |groups| groups.memory());
            size_of::<Port>() + size_of::<PortCounters>() + set + guard + private + groups
        });
        let table = self.ports.capacity() * size_of::<Option<Box<Port>>>();
        (self.fdb.memory() + self.pairs.memory(), ports.sum::<usize>() + table + self.vlans.memory())
    }
}
