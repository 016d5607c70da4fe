//! The engine for Python: commands go down through a fair lock with the interpreter released,
//! counters are read without one, events come up through one descriptor.

use super::bond::BondSetup;
use super::door::Door;
use super::error::engine_error;
use super::groups::{ConnectionTuple, Groups, tuple};
use super::impair::Steps;
use super::port::PortConfig;
use super::told::{
    BindingTuple, EventTuple, FdbTuple, LostTuple, UsageTuple, bindings, hop_dict, lost_tuple, mac_text,
    usage_tuple, words,
};
use crate::engine::thread::{Driver, Poll};
use crate::engine::{Engine as Inner, EngineError, Next};
use nics::frame::FRAME_MAX;
use nics::{EventKind, Events, Waker};
use parking_lot::Mutex;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::Arc;
use switch::{Counter, DropReason, Nanos, PortCounters, PortId, SwitchConfig, VlanId};

/// Switches, ports and NICs, and the `turn` that moves frames between them.
#[pyclass(frozen)]
pub struct Engine {
    pub inner: Arc<Mutex<Inner>>,
    driver: Mutex<Option<Driver>>,
    counters: Mutex<BTreeMap<PortId, Arc<PortCounters>>>,
    events: Arc<Events>,
    waker: Arc<Waker>,
    turns: Arc<Counter>,
    fd: RawFd,
}

impl Engine {
    /// Run `command` on the engine, between two turns, with the interpreter released meanwhile. Nearly every
    /// command sets timers, and the latest turn may have been hours ago: the engine's own thread knows what
    /// time it is, and who turns it otherwise says so (`advance`).
    pub fn command<T: Send>(
        &self,
        py: Python<'_>,
        command: impl FnOnce(&mut Inner) -> Result<T, EngineError> + Send,
    ) -> PyResult<T> {
        py.detach(|| {
            let threaded = self.driver.lock().is_some();
            let mut engine = self.inner.lock();
            if threaded {
                engine.advance(nics::clock::monotonic());
            }
            command(&mut engine)
        })
        .map_err(engine_error)
    }

    /// The counters of a port, to be read from Rust.
    pub fn counters_of(&self, port: PortId) -> PyResult<Arc<PortCounters>> {
        self.counters.lock().get(&port).cloned().ok_or_else(|| engine_error(EngineError::NoSuchPort))
    }
}

fn check_length(frame: &[u8]) -> PyResult<()> {
    if frame.len() <= FRAME_MAX {
        return Ok(());
    }
    Err(PyValueError::new_err(format!("a frame has at most {FRAME_MAX} bytes")))
}

#[pymethods]
impl Engine {
    #[new]
    fn new() -> PyResult<Self> {
        let inner = Inner::new()?;
        Ok(Engine {
            events: inner.events().clone(),
            waker: inner.waker().clone(),
            turns: inner.turns().clone(),
            fd: inner.poller().fd(),
            inner: Arc::new(Mutex::new(inner)),
            driver: Mutex::new(None),
            counters: Mutex::default(),
        })
    }

    /// Readable when a turn has something to do. For the trio driver.
    fn fileno(&self) -> RawFd {
        self.fd
    }

    /// Readable while events wait.
    fn events_fileno(&self) -> RawFd {
        self.events.fd()
    }

    /// How many turns there were.
    #[getter]
    fn turns(&self) -> u64 {
        self.turns.get()
    }

    /// The latest time that the engine was told, in nanoseconds of the driver's clock.
    fn now(&self, py: Python<'_>) -> Nanos {
        py.detach(|| self.inner.lock().now())
    }

    /// It is `now`, in nanoseconds of the driver's clock, which commands go by: for who turns the engine.
    fn advance(&self, py: Python<'_>, now: Nanos) {
        py.detach(|| self.inner.lock().advance(now));
    }

    /// A new switch; its number. `ageing` in nanoseconds.
    #[pyo3(signature = (*, fdb_limit=1 << 20, vlan_limit=1 << 18, ageing=300_000_000_000,
        connection_limit=1 << 18, hash_seed=None))]
    fn add_switch(
        &self,
        py: Python<'_>,
        fdb_limit: u32,
        vlan_limit: u32,
        ageing: Nanos,
        connection_limit: u32,
        hash_seed: Option<(u64, u64)>,
    ) -> PyResult<u16> {
        let mut config =
            SwitchConfig { fdb_limit, vlan_limit, ageing, connection_limit, ..SwitchConfig::default() };
        if let Some((a, b)) = hash_seed {
            config.hash_seed = [a, b];
        }
        self.command(py, |engine| Ok(engine.add_switch(config)))
    }

    /// Forget a switch without ports. Raises RuntimeError if it has any.
    fn remove_switch(&self, py: Python<'_>, switch: u16) -> PyResult<()> {
        self.command(py, |engine| engine.remove_switch(switch))
    }

    /// Change a switch's limits and ageing time (nanoseconds). Learned entries keep their age; those
    /// beyond a lower limit are forgotten, longest heard first. Raises ValueError, and nothing has
    /// changed, when there are more static entries than `fdb_limit`.
    #[pyo3(signature = (switch, *, fdb_limit, vlan_limit, ageing, connection_limit=1 << 18))]
    #[allow(clippy::too_many_arguments)]
    fn set_switch(
        &self,
        py: Python<'_>,
        switch: u16,
        fdb_limit: u32,
        vlan_limit: u32,
        ageing: Nanos,
        connection_limit: u32,
    ) -> PyResult<()> {
        let config =
            SwitchConfig { fdb_limit, vlan_limit, ageing, connection_limit, ..SwitchConfig::default() };
        self.command(py, |engine| engine.set_switch(switch, &config))
    }

    /// Attach `door` to a new port of `switch`; the port's number. When it can't be done, nothing
    /// has changed but that the door is closed. Raises OSError, ValueError, KeyError, RuntimeError.
    fn add_port(&self, py: Python<'_>, door: &Door, switch: u16, config: &PortConfig) -> PyResult<PortId> {
        let (nic, config) = (door.take()?, config.0.clone());
        let (port, counters) = self.command(py, |engine| engine.add_port(nic, switch, config))?;
        self.counters.lock().insert(port, counters);
        Ok(port)
    }

    /// Join switches `a` and `b` by a link; the ports of its ends. `seeds`, one a cable: what the fates of its
    /// frames follow from, from a to b and back. `bonds`: how the two ends share the work among several.
    /// Raises as `add_port` does.
    #[pyo3(signature = (a, config_a, b, config_b, seeds, bonds=None))]
    #[allow(clippy::too_many_arguments)]
    fn add_link(
        &self,
        py: Python<'_>,
        a: u16,
        config_a: &PortConfig,
        b: u16,
        config_b: &PortConfig,
        seeds: Vec<(u64, u64)>,
        bonds: Option<(Py<BondSetup>, Py<BondSetup>)>,
    ) -> PyResult<(PortId, PortId)> {
        let seeds: Vec<[u64; 2]> = seeds.into_iter().map(|(there, back)| [there, back]).collect();
        let bonds = bonds.map(|(a, b)| [a.get().0.clone(), b.get().0.clone()]);
        let ends = [(a, config_a.0.clone()), (b, config_b.0.clone())];
        let [(port_a, counters_a), (port_b, counters_b)] =
            self.command(py, |engine| engine.add_link(ends, &seeds, bonds))?;
        self.counters.lock().extend([(port_a, counters_a), (port_b, counters_b)]);
        Ok((port_a, port_b))
    }

    /// What a cable of a link, by the link's first port and the cable's number from 0, is like: (from when on, from a to b, from b to a, whether
    /// its cable is whole), ascending, the first for now, which is `now`.
    fn set_impair(
        &self,
        py: Python<'_>,
        port: PortId,
        cable: usize,
        now: Nanos,
        steps: Steps,
    ) -> PyResult<()> {
        let (first, then) = super::impair::steps(steps)?;
        self.command(py, |engine| engine.set_impair(port, cable, first, then, now))
    }

    /// Change how a port is set up; its counters and its traffic go on.
    fn set_port(&self, py: Python<'_>, port: PortId, config: &PortConfig) -> PyResult<()> {
        let config = config.0.clone();
        self.command(py, |engine| engine.set_port(port, config))
    }

    /// Change the security groups of ports, of all of them between two frames: (port, groups or None).
    fn set_groups(&self, py: Python<'_>, groups: Vec<(PortId, Option<Py<Groups>>)>) -> PyResult<()> {
        let groups: Vec<_> =
            groups.into_iter().map(|(port, g)| (port, g.map(|g| g.get().0.clone()))).collect();
        self.command(py, |engine| engine.set_groups(&groups))
    }

    /// A page of the tracked connections of a switch from `cursor` (0 to begin), and the next cursor,
    /// None at the end.
    fn connections(
        &self,
        py: Python<'_>,
        switch: u16,
        cursor: usize,
        limit: usize,
    ) -> PyResult<(Vec<ConnectionTuple>, Option<usize>)> {
        self.command(py, |engine| {
            let (mut page, now) = (Vec::new(), engine.now());
            let next = engine.switch(switch)?.connections(now, cursor, limit, &mut page);
            Ok((page.into_iter().map(tuple).collect(), next))
        })
    }

    /// What only the engine knows of ports, of all of them between the same two turns: connections that count
    /// for each, and its bindings. A port that is gone has none.
    fn readings(&self, py: Python<'_>, ports: Vec<PortId>) -> PyResult<Vec<(u32, Vec<BindingTuple>)>> {
        self.command(py, |engine| {
            let read = |port| {
                let connections = engine.connection_count(port).unwrap_or(0);
                (
                    connections,
                    engine.port_switch(port).map_or_else(|_| vec![], |switch| bindings(switch, port)),
                )
            };
            Ok(ports.into_iter().map(read).collect())
        })
    }

    /// Detach the port's NIC and forget the port. What its guest sent and received, see `usage`.
    fn remove_port(&self, py: Python<'_>, port: PortId) -> PyResult<UsageTuple> {
        let usage = self.command(py, |engine| engine.remove_port(port))?;
        self.counters.lock().remove(&port);
        Ok(usage_tuple(&usage))
    }

    /// What guests' NICs sent and received since their ports are there, as (frames, bytes) on a wire: sent
    /// to others in the fabric, sent over uplinks, received from others, received over uplinks. One entry a
    /// port that is asked about, all of one moment; nothing for ports that are no guests', or not there.
    fn usage(&self, py: Python<'_>, ports: Vec<PortId>) -> PyResult<Vec<UsageTuple>> {
        self.command(py, |engine| Ok(ports.iter().map(|port| usage_tuple(&engine.usage(*port))).collect()))
    }

    /// Set a port's link up or down, as its guest sees it.
    fn set_link(&self, py: Python<'_>, port: PortId, up: bool) -> PyResult<()> {
        self.command(py, |engine| engine.set_link(port, up))
    }

    /// Put a frame in at a port as if its guest had sent it: (`to`, port, VLAN), (`flood`, None, VLAN)
    /// or (the drop reason, None, VLAN or 0), or (`local`, None, 0) for a BPDU. Raises ValueError for one that is too long.
    fn inject(
        &self,
        py: Python<'_>,
        port: PortId,
        frame: &[u8],
    ) -> PyResult<(&'static str, Option<PortId>, VlanId)> {
        check_length(frame)?;
        let decision = self.command(py, |engine| engine.inject(engine.now(), port, frame))?;
        let (action, egress) = words(decision.out);
        Ok((action, egress, decision.vlan))
    }

    /// What would happen to a frame that came in at a port; nothing does. One dict a switch that it
    /// passes, see the stub.
    fn explain<'py>(&self, py: Python<'py>, port: PortId, frame: &[u8]) -> PyResult<Vec<Bound<'py, PyDict>>> {
        check_length(frame)?;
        let hops = self.command(py, |engine| engine.explain(engine.now(), port, frame))?;
        hops.into_iter().map(|hop| hop_dict(py, &hop)).collect()
    }

    /// Whether the port's NIC has carrier.
    fn carrier(&self, py: Python<'_>, port: PortId) -> PyResult<bool> {
        self.command(py, |engine| engine.carrier(port))
    }

    /// Addresses that the port's guest has by DHCP: (VLAN, prefix, when the lease ends, None for never).
    fn bindings(&self, py: Python<'_>, port: PortId) -> PyResult<Vec<BindingTuple>> {
        self.command(py, |engine| Ok(bindings(engine.port_switch(port)?, port)))
    }

    /// Take it that the guest has this address by DHCP until then; None: for ever.
    fn bind(
        &self,
        py: Python<'_>,
        port: PortId,
        vlan: VlanId,
        prefix: &str,
        until: Option<Nanos>,
    ) -> PyResult<()> {
        let parsed = prefix.split_once('/').and_then(|(ip, len)| Some((ip.parse().ok()?, len.parse().ok()?)));
        let Some((ip, prefix)) = parsed else {
            return Err(PyValueError::new_err(format!("{prefix:?} is not a prefix such as 10.0.0.1/32")));
        };
        let binding = switch::Binding { vlan, ip, prefix, until: until.unwrap_or(Nanos::MAX), client: 0 };
        self.command(py, |engine| {
            engine.port_switch(port)?.bind(port, binding);
            engine.waker().wake();
            Ok(())
        })
    }

    /// Counters of one port, read while traffic goes on: rx/tx frames and bytes, forwarded, the
    /// drops that are not zero by reason, and for how long the NIC was left alone, in nanoseconds.
    fn counters<'py>(&self, py: Python<'py>, port: PortId) -> PyResult<Bound<'py, PyDict>> {
        let counters = self.counters_of(port)?;
        let drops = PyDict::new(py);
        for reason in DropReason::ALL {
            let n = counters.drops[*reason as usize].get();
            if n > 0 {
                drops.set_item(reason.name(), n)?;
            }
        }
        let dict = PyDict::new(py);
        dict.set_item("rx_frames", counters.rx_frames.get())?;
        dict.set_item("rx_bytes", counters.rx_bytes.get())?;
        dict.set_item("tx_frames", counters.tx_frames.get())?;
        dict.set_item("tx_bytes", counters.tx_bytes.get())?;
        dict.set_item("forwarded", counters.forwarded.get())?;
        dict.set_item("drops", drops)?;
        dict.set_item("held", counters.held.get())?;
        Ok(dict)
    }

    /// The last frame that a port lost for each reason, a few of them: (reason, when, VLAN, length, its first
    /// bytes).
    fn lost(&self, py: Python<'_>, port: PortId) -> PyResult<Vec<LostTuple>> {
        self.command(py, |engine| {
            engine.port_switch(port)?;
            Ok(engine.lost(port).map(lost_tuple).collect())
        })
    }

    /// A page of the forwarding database from `cursor` (0 to begin): entries (vlan, mac, port, kind,
    /// age in nanoseconds) and the next cursor, None at the end. Of one `port` or `vlan` only, if given.
    #[pyo3(signature = (switch, cursor, limit, *, port=None, vlan=None))]
    fn fdb(
        &self,
        py: Python<'_>,
        switch: u16,
        cursor: usize,
        limit: usize,
        port: Option<PortId>,
        vlan: Option<VlanId>,
    ) -> PyResult<(Vec<FdbTuple>, Option<usize>)> {
        let mut page = Vec::new();
        let next =
            self.command(py, |engine| Ok(engine.switch(switch)?.fdb_page(cursor, limit, &mut page)))?;
        page.retain(|e| port.is_none_or(|port| e.port == port) && vlan.is_none_or(|vlan| e.vlan == vlan));
        let entries = page.into_iter().map(|e| (e.vlan, mac_text(e.mac), e.port, e.kind.name(), e.age));
        Ok((entries.collect(), next))
    }

    /// Enter an address at a port for good, in place of what was known of it. `sticky`: what comes from
    /// it at any other port is dropped. Raises ValueError when the port isn't in the VLAN, or the
    /// database is full.
    #[pyo3(signature = (port, vlan, mac, *, sticky=false))]
    fn fdb_set(&self, py: Python<'_>, port: PortId, vlan: VlanId, mac: &str, sticky: bool) -> PyResult<()> {
        let mac = super::switch::mac(mac)?;
        self.command(py, |engine| engine.fdb_set(port, vlan, mac, sticky))
    }

    /// Forget an address of a port's switch, of any kind. Raises ValueError when it isn't there.
    fn fdb_remove(&self, py: Python<'_>, port: PortId, vlan: VlanId, mac: &str) -> PyResult<()> {
        let mac = super::switch::mac(mac)?;
        self.command(py, |engine| engine.fdb_remove(port, vlan, mac))
    }

    /// Forget addresses, perhaps of one port or VLAN only, and static ones too if `fixed`; how many.
    #[pyo3(signature = (switch, port=None, vlan=None, fixed=false))]
    fn fdb_flush(
        &self,
        py: Python<'_>,
        switch: u16,
        port: Option<PortId>,
        vlan: Option<VlanId>,
        fixed: bool,
    ) -> PyResult<usize> {
        self.command(py, |engine| {
            Ok(engine.switch_mut(switch)?.fdb_flush(switch::fdb::Flush { port, vlan, fixed }))
        })
    }

    /// One turn at time `now` (nanoseconds). Returns 0 when the next one should follow at once, the
    /// time of the next one, or None to wait for `fileno()` alone.
    fn turn(&self, py: Python<'_>, now: Nanos) -> PyResult<Option<Nanos>> {
        if self.driver.lock().is_some() {
            return Err(PyRuntimeError::new_err("the engine's own thread is turning it"));
        }
        Ok(py.detach(|| match self.inner.lock().turn(now) {
            Next::Again => Some(0),
            Next::Wait(deadline) => deadline.map(|at| at.max(1)),
        }))
    }

    /// Turn until there is nothing to do at `now` (nanoseconds), whoever turns it otherwise: all that was sent has
    /// gone as far as it goes at once then. Ends in any case: some guests always send.
    fn settle(&self, py: Python<'_>, now: Nanos) {
        py.detach(|| {
            let mut engine = self.inner.lock();
            for _ in 0..10_000 {
                if engine.turn(now) != Next::Again && engine.turn(now) != Next::Again {
                    break;
                }
            }
        });
    }

    /// Have the engine's own thread turn it. `poll`: adaptive, busy or sleep.
    #[pyo3(signature = (poll="adaptive", cpu=None))]
    fn start(&self, py: Python<'_>, poll: &str, cpu: Option<usize>) -> PyResult<()> {
        let poll = match poll {
            "adaptive" => Poll::Adaptive,
            "busy" => Poll::Busy,
            "sleep" => Poll::Sleep,
            _ => return Err(PyValueError::new_err("poll is adaptive, busy or sleep")),
        };
        let mut driver = self.driver.lock();
        if driver.is_some() {
            return Err(PyRuntimeError::new_err("the engine's own thread is turning it already"));
        }
        *driver = Some(py.detach(|| Driver::start(self.inner.clone(), poll, cpu))?);
        Ok(())
    }

    /// Stop the engine's own thread and wait until it has ended.
    fn stop(&self, py: Python<'_>) {
        let driver = self.driver.lock().take();
        py.detach(|| drop(driver));
    }

    /// Wake the engine, so that a turn follows.
    fn wake(&self) {
        self.waker.wake();
    }

    /// What happened since the last call: (port, kind, a, b, text) in order. Kinds: `carrier` (a: 1
    /// up, 0 down; b: so many changes before it are left out), `log` (text), `socket` (a, b as the stack defines
    /// them), `trigger` (a: its number), `crowd` (a: 1 part of one, 0 no more), `pipe`.
    fn events(&self) -> (Vec<EventTuple>, u64) {
        let (events, lost) = self.events.take();
        let tuples = events.into_iter().map(|event| match event.kind {
            EventKind::Carrier(up) => (event.port, "carrier", u32::from(up), event.skipped, String::new()),
            EventKind::Log(line) => (event.port, "log", 0, 0, line),
            EventKind::Moved => (event.port, "moved", 0, 0, String::new()),
            EventKind::Socket(a, b) => (event.port, "socket", a, b, String::new()),
            EventKind::Trigger(number) => (event.port, "trigger", number, 0, String::new()),
            EventKind::Crowd(on) => (event.port, "crowd", u32::from(on), 0, String::new()),
            EventKind::Pipe => (event.port, "pipe", 0, 0, String::new()),
        });
        (tuples.collect(), lost)
    }
}
