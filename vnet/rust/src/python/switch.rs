//! A switch by itself, without an engine: for tests, and to explain what would happen to a frame.

use super::groups::{ConnectionTuple, Groups, tuple};
use super::multicast::Snooping;
use super::port::PortConfig;
use nics::offload::Offload;
use nics::{Frame, TxFrame};
use parking_lot::Mutex;
use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use switch::{
    Decision, DropReason, FdbCount, FdbEntry, Flood, Flush, Mac, Nanos, Out, Place, PortId, SwitchError,
    TagEdit, VlanId,
};

/// (VLAN, MAC address, port, kind, age in nanoseconds)
type Entry = (VlanId, String, PortId, &'static str, Nanos);

fn error(e: SwitchError) -> PyErr {
    match e {
        SwitchError::NoSuchPort | SwitchError::NoSuchEntry => PyKeyError::new_err(e.to_string()),
        e => PyValueError::new_err(e.to_string()),
    }
}

/// `02:00:00:00:00:01`, or with dashes.
pub(super) fn mac(text: &str) -> PyResult<Mac> {
    let bad = || PyValueError::new_err(format!("{text:?} is not a MAC address such as 02:00:00:00:00:01"));
    let mut mac = Mac::default();
    let mut parts = text.split([':', '-']);
    for byte in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()));
        *byte = part.and_then(|part| u8::from_str_radix(part, 16).ok()).ok_or_else(bad)?;
    }
    if parts.next().is_none() { Ok(mac) } else { Err(bad()) }
}

fn entry(entry: FdbEntry) -> Entry {
    let mac = entry.mac.map(|byte| format!("{byte:02x}")).join(":");
    (entry.vlan, mac, entry.port, entry.kind.name(), entry.age)
}

/// What became of one frame.
#[pyclass(frozen, get_all)]
pub struct Verdict {
    /// "unicast", "flood-unknown" (or -multicast, -broadcast, -link-local), "group", "report", "answer" or "drop".
    action: &'static str,
    /// Why it was dropped.
    reason: Option<&'static str>,
    /// The VLAN it was classified to; 0 when it was dropped before that.
    vlan: VlanId,
    /// Priority and drop eligibility of its tag, as the upper four bits of the TCI; 0 without a tag.
    priority: u8,
    /// By egress port: the frame as it leaves.
    copies: Vec<(PortId, Py<PyBytes>)>,
    /// By egress port: why a copy did not leave.
    lost: Vec<(PortId, &'static str)>,
    /// Where its sender stands in a private VLAN: what goes beside the copies that leave over a link.
    place: u16,
    /// Of "answer": what goes back.
    answer: Option<Py<PyBytes>>,
}

#[pymethods]
impl Verdict {
    fn __repr__(&self) -> String {
        let egress: Vec<_> = self.copies.iter().map(|(port, _)| port).collect();
        let why = self.reason.unwrap_or_default();
        format!("Verdict({} {why} vlan={} egress={egress:?} lost={:?})", self.action, self.vlan, self.lost)
    }
}

/// A learning VLAN switch: frames and a time in, verdicts out.
#[pyclass(frozen)]
pub struct Switch(Mutex<switch::Switch>);

#[pymethods]
impl Switch {
    /// `ageing` in nanoseconds; `seed` keys the hash of the forwarding database.
    #[new]
    #[pyo3(signature = (*, fdb_limit=1 << 20, vlan_limit=1 << 18, ageing=300_000_000_000,
        connection_limit=1 << 18, seed=(1, 2)))]
    fn new(fdb_limit: u32, vlan_limit: u32, ageing: Nanos, connection_limit: u32, seed: (u64, u64)) -> Self {
        let hash_seed = [seed.0, seed.1];
        let config = switch::SwitchConfig { fdb_limit, vlan_limit, ageing, connection_limit, hash_seed };
        Switch(Mutex::new(switch::Switch::new(config)))
    }

    /// Other limits and another ageing time, from `now` on; see `Engine.set_switch`.
    #[pyo3(signature = (now, *, fdb_limit, vlan_limit, ageing))]
    fn configure(&self, now: Nanos, fdb_limit: u32, vlan_limit: u32, ageing: Nanos) -> PyResult<()> {
        let config =
            switch::SwitchConfig { fdb_limit, vlan_limit, ageing, ..switch::SwitchConfig::default() };
        self.0.lock().configure(now, &config).map_err(error)
    }

    fn add_port(&self, port: PortId, config: &PortConfig) -> PyResult<()> {
        self.0.lock().add_port(port, config.0.clone()).map(drop).map_err(error)
    }

    fn set_port(&self, port: PortId, config: &PortConfig) -> PyResult<()> {
        self.0.lock().set_port(port, config.0.clone()).map_err(error)
    }

    /// Change the security groups of a port.
    #[pyo3(signature = (port, groups))]
    fn set_groups(&self, port: PortId, groups: Option<&Groups>) -> PyResult<()> {
        self.0.lock().set_groups(port, groups.map(|groups| groups.0.clone())).map_err(error)
    }

    /// All tracked connections, as they are at `now`.
    fn connections(&self, now: Nanos) -> Vec<ConnectionTuple> {
        let mut page = Vec::new();
        self.0.lock().connections(now, 0, usize::MAX, &mut page);
        page.into_iter().map(tuple).collect()
    }

    /// Tracked connections: (of all, on account of one port).
    fn connection_count(&self, port: PortId) -> (u32, u32) {
        self.0.lock().connection_count(port)
    }

    /// Lines about what security groups denied: (port, text).
    fn denied(&self) -> Vec<(PortId, String)> {
        self.0.lock().denied()
    }

    fn remove_port(&self, port: PortId) -> PyResult<()> {
        self.0.lock().remove_port(port).map_err(error)
    }

    /// Forward a burst of frames that came in by `ingress` at `now`; `place`: what goes beside them where
    /// `ingress` is the end of a link.
    #[pyo3(signature = (now, ingress, frames, *, gso=false, place=None))]
    fn forward(
        &self,
        py: Python<'_>,
        now: Nanos,
        ingress: PortId,
        frames: Vec<Vec<u8>>,
        gso: bool,
        place: Option<u16>,
    ) -> PyResult<Vec<Verdict>> {
        let place = place.map_or(Place::UNTOLD, Place::from);
        if let Some(long) = frames.iter().find(|frame| frame.len() > nics::frame::FRAME_MAX) {
            return Err(PyValueError::new_err(format!("a frame of {} bytes", long.len())));
        }
        let mut switch = self.0.lock();
        let mut verdicts = Vec::with_capacity(frames.len());
        for burst in frames.chunks(nics::BURST) {
            let burst: Vec<_> =
                burst.iter().map(|bytes| Frame::flat(bytes, Offload::NONE).at(place, PortId::MAX)).collect();
            let mut decisions = [Decision::default(); nics::BURST];
            let views = burst.iter().map(|frame| switch::View { gso, ..frame.view() });
            let n = switch.classify(now, ingress, views, &mut decisions);
            let weighs = switch.has_to_weigh();
            for (frame, decision) in burst.iter().zip(&mut decisions[..n]) {
                if weighs && switch.is_weighed(decision, frame.head()) {
                    let mut bytes = [0; switch::snoop::LONGEST];
                    let whole = (TxFrame { frame, edit: TagEdit::NONE }).copy_to(&mut bytes).filter(|_| !gso);
                    switch.weigh(decision, whole.map(|len| &bytes[..len]));
                }
                if switch.is_heard(decision, frame.head()) {
                    let mut bytes = vec![0; frame.len()];
                    (TxFrame { frame, edit: TagEdit::NONE }).copy_to(&mut bytes);
                    switch.listen(now, ingress, PortId::MAX, decision, &bytes);
                }
                verdicts.push(deliver(py, &switch, ingress, frame, decision, gso)?);
            }
        }
        Ok(verdicts)
    }

    /// Set an entry that does not age.
    #[pyo3(signature = (vlan, mac, port, *, sticky=false))]
    fn fdb_set(&self, vlan: VlanId, mac: &str, port: PortId, sticky: bool) -> PyResult<()> {
        self.0.lock().fdb_set(vlan, self::mac(mac)?, port, sticky).map_err(error)
    }

    /// Forget one entry.
    fn fdb_remove(&self, vlan: VlanId, mac: &str) -> PyResult<()> {
        self.0.lock().fdb_remove(vlan, self::mac(mac)?).map_err(error)
    }

    /// Forget many; returns how many.
    #[pyo3(signature = (*, port=None, vlan=None, fixed=false))]
    fn fdb_flush(&self, port: Option<PortId>, vlan: Option<VlanId>, fixed: bool) -> usize {
        self.0.lock().fdb_flush(Flush { port, vlan, fixed })
    }

    /// One entry.
    fn fdb_get(&self, vlan: VlanId, mac: &str) -> PyResult<Option<Entry>> {
        Ok(self.0.lock().fdb_get(vlan, self::mac(mac)?).map(entry))
    }

    /// A page of entries, and the cursor of the next page.
    #[pyo3(signature = (cursor=0, limit=1000))]
    fn fdb_page(&self, cursor: usize, limit: usize) -> (Vec<Entry>, Option<usize>) {
        let mut page = Vec::new();
        let next = self.0.lock().fdb_page(cursor, limit, &mut page);
        (page.into_iter().map(entry).collect(), next)
    }

    /// (learned, fixed) entries of one port, of one VLAN, or of all.
    #[pyo3(signature = (*, port=None, vlan=None))]
    fn fdb_count(&self, port: Option<PortId>, vlan: Option<VlanId>) -> PyResult<(u32, u32)> {
        let switch = self.0.lock();
        let FdbCount { learned, fixed } = match (port, vlan) {
            (None, None) => switch.fdb_count(),
            (Some(port), None) => switch.fdb_count_port(port),
            (None, Some(vlan)) => switch.fdb_count_vlan(vlan),
            _ => return Err(PyValueError::new_err("give port or vlan, not both")),
        };
        Ok((learned, fixed))
    }

    /// Snoop multicast groups in a VLAN as `setup` says, or no more.
    #[pyo3(signature = (vlan, setup))]
    fn set_multicast(&self, vlan: VlanId, setup: Option<&Snooping>) {
        self.0.lock().set_multicast(vlan, setup.map(|setup| setup.0));
    }

    /// Queries that the switch wants to send: (VLAN, port or all, frame).
    fn queries(&self, py: Python<'_>) -> Vec<(VlanId, Option<PortId>, Py<PyBytes>)> {
        let mut switch = self.0.lock();
        std::iter::from_fn(|| switch.next_query())
            .map(|query| (query.vlan, query.port, PyBytes::new(py, query.frame()).unbind()))
            .collect()
    }

    /// Who wants which group; see `Engine.multicast_members`.
    fn multicast_members(&self) -> Vec<super::multicast::Member> {
        let mut page = Vec::new();
        self.0.lock().multicast_page(0, usize::MAX, &mut page);
        page.into_iter().map(super::multicast::member).collect()
    }

    fn tick(&self, now: Nanos) {
        self.0.lock().tick(now);
    }

    fn deadline(&self) -> Option<Nanos> {
        self.0.lock().deadline()
    }

    /// A port's counters by name; "drops" has those reasons that occurred.
    fn counters<'py>(&self, py: Python<'py>, port: PortId) -> PyResult<Bound<'py, PyDict>> {
        let switch = self.0.lock();
        let counters = switch.counters(port).ok_or_else(|| error(SwitchError::NoSuchPort))?;
        let all = PyDict::new(py);
        all.set_item("rx_frames", counters.rx_frames.get())?;
        all.set_item("rx_bytes", counters.rx_bytes.get())?;
        all.set_item("tx_frames", counters.tx_frames.get())?;
        all.set_item("tx_bytes", counters.tx_bytes.get())?;
        all.set_item("forwarded", counters.forwarded.get())?;
        let drops = PyDict::new(py);
        for (reason, counter) in DropReason::ALL.iter().zip(&counters.drops) {
            if counter.get() > 0 {
                drops.set_item(reason.name(), counter.get())?;
            }
        }
        all.set_item("drops", drops)?;
        Ok(all)
    }

    /// Bytes of memory held: (by the forwarding database, by ports and VLANs).
    fn memory(&self) -> (usize, usize) {
        self.0.lock().memory()
    }
}

/// Carry out a decision, and count at the egress ports as an engine with perfect NICs would.
fn deliver(
    py: Python<'_>,
    switch: &switch::Switch,
    ingress: PortId,
    frame: &Frame<'_>,
    decision: &Decision,
    gso: bool,
) -> PyResult<Verdict> {
    let (action, egresses) = match decision.out {
        Out::Drop(_) => ("drop", vec![]),
        Out::Local => ("local", vec![]),
        Out::Answer => ("answer", vec![]),
        Out::Port(port) => ("unicast", vec![port]),
        out => {
            let ports = switch.spread(decision).iter().copied();
            let takers = ports.filter(|&port| port != ingress && switch.floods_to(port, decision));
            let action = match out {
                Out::Group(_) => "group",
                Out::Report(_) => "report",
                Out::Flood(Flood::Unknown) => "flood-unknown",
                Out::Flood(Flood::Broadcast) => "flood-broadcast",
                Out::Flood(Flood::LinkLocal) => "flood-link-local",
                _ => "flood-multicast",
            };
            (action, takers.collect())
        }
    };
    let mut verdict = Verdict {
        action,
        reason: if let Out::Drop(reason) = decision.out { Some(reason.name()) } else { None },
        vlan: decision.vlan,
        priority: decision.pcp,
        copies: vec![],
        lost: vec![],
        place: decision.place.into(),
        answer: switch
            .answer(decision, &frame.view())
            .filter(|_| decision.out == Out::Answer)
            .map(|answer| PyBytes::new(py, answer.bytes()).unbind()),
    };
    for egress in egresses {
        let counters = switch.counters(egress).ok_or_else(|| error(SwitchError::NoSuchPort))?;
        match switch.egress(egress, decision, &switch::View { gso, ..frame.view() }) {
            Ok(edit) => {
                let leaving = TxFrame { frame, edit };
                let mut bytes = vec![0; leaving.len()];
                leaving.copy_to(&mut bytes);
                counters.tx_frames.add(1);
                counters.tx_bytes.add(bytes.len() as u64);
                verdict.copies.push((egress, PyBytes::new(py, &bytes).unbind()));
            }
            Err(reason) => {
                counters.dropped(reason, 1);
                verdict.lost.push((egress, reason.name()));
            }
        }
    }
    Ok(verdict)
}
