//! Flows for Python.

use super::engine::Engine;
use crate::flows::{Flow, Flows, Settings, Stats};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use switch::{DropReason, Nanos, PortId, VlanId};

/// (switch, ingress, egress, VLAN, drop reason, consumed)
type Place = (u16, PortId, Option<PortId>, VlanId, Option<&'static str>, bool);
/// (source MAC, destination MAC, EtherType)
type Ether<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, u16);
/// (version, class, protocol, source, target, source port, destination port, ICMP type and code)
type Ip<'py> = (u8, u8, u8, Bound<'py, PyBytes>, Bound<'py, PyBytes>, u16, u16, u16);
/// (first, last, packets, bytes, octets, TCP flags, why it ended)
type Counts = (Nanos, Nanos, u64, u64, u64, u16, u8);

type FlowTuple<'py> = (Place, Ether<'py>, Ip<'py>, Counts);

fn told<'py>(py: Python<'py>, flow: &Flow) -> FlowTuple<'py> {
    let (key, packet) = (&flow.key, &flow.key.packet);
    let long = if packet.version == 4 { 4 } else { 16 };
    (
        (key.switch, key.ingress, key.egress, key.vlan, key.dropped.map(DropReason::name), key.consumed),
        (PyBytes::new(py, &packet.src_mac), PyBytes::new(py, &packet.dst_mac), packet.ethertype),
        (
            packet.version,
            packet.class,
            packet.protocol,
            PyBytes::new(py, &packet.source[..long]),
            PyBytes::new(py, &packet.target[..long]),
            packet.ports[0],
            packet.ports[1],
            packet.icmp,
        ),
        (flow.first, flow.last, flow.packets, flow.bytes, flow.octets, flow.tcp_flags, flow.end as u8),
    )
}

/// Count every `every`-th frame that a switch takes in with its flow, at most `limit` flows at a time; 0: none.
/// A flow is due when it was silent for `idle`, and after `active` though it goes on. Returns those that were
/// counted before, see `take_flows`: they have ended.
#[pyfunction]
#[pyo3(signature = (engine, every, *, active=0, idle=0, limit=0))]
pub fn set_flows<'py>(
    py: Python<'py>,
    engine: &Engine,
    every: u32,
    active: Nanos,
    idle: Nanos,
    limit: usize,
) -> PyResult<Vec<FlowTuple<'py>>> {
    let settings = Some(Settings { every, active, idle, limit }).filter(|_| every > 0);
    // A large table is made before the engine has to wait, and emptied when it need not any more.
    let mut flows = py.detach(|| Flows::new(settings));
    engine.command(py, |engine| {
        std::mem::swap(engine.flows(), &mut flows);
        Ok(())
    })?;
    Ok(flows.end().iter().map(|flow| told(py, flow)).collect())
}

/// Flows that have ended or are due at `now`, at most `most`, and whether the table was looked through: each
/// call looks at a part of it.
#[pyfunction]
pub fn take_flows<'py>(
    py: Python<'py>,
    engine: &Engine,
    now: Nanos,
    most: usize,
) -> PyResult<(Vec<FlowTuple<'py>>, bool)> {
    let (flows, done) = engine.command(py, |engine| {
        let mut flows = vec![];
        let done = engine.flows().take(now, most, &mut flows);
        Ok((flows, done))
    })?;
    Ok((flows.iter().map(|flow| told(py, flow)).collect(), done))
}

/// What was counted since sampling began: `sampled` frames, `flows` in the table, `evicted` and `lost` ones.
#[pyfunction]
pub fn flow_counts<'py>(py: Python<'py>, engine: &Engine) -> PyResult<Bound<'py, PyDict>> {
    let Stats { sampled, flows, evicted, lost } = engine.command(py, |engine| Ok(engine.flows().stats()))?;
    let dict = PyDict::new(py);
    dict.set_item("sampled", sampled)?;
    dict.set_item("flows", flows)?;
    dict.set_item("evicted", evicted)?;
    dict.set_item("lost", lost)?;
    Ok(dict)
}
