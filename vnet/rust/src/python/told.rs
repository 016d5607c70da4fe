//! What the engine tells, in Python's words.

use crate::engine::LostFrame;
use crate::engine::explain::Hop;
use crate::engine::usage::Usage;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use switch::{DropReason, Nanos, Out, PortId, VlanId};

/// One event: (port, kind, a, b, text).
pub type EventTuple = (PortId, &'static str, u32, u32, String);

/// (VLAN, prefix, when the lease ends or None).
pub type BindingTuple = (VlanId, String, Option<Nanos>);

pub fn mac_text([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

pub fn bindings(switch: &switch::Switch, port: PortId) -> Vec<BindingTuple> {
    let of = |b: &switch::Binding| {
        (b.vlan, format!("{}/{}", b.ip, b.prefix), Some(b.until).filter(|until| *until != Nanos::MAX))
    };
    switch.bindings(port).iter().map(of).collect()
}

/// One entry of the forwarding database: (vlan, mac, port, kind, age in nanoseconds).
pub type FdbTuple = (VlanId, String, PortId, &'static str, Nanos);

/// See `Engine.usage`.
pub type UsageTuple = [(u64, u64); 4];

pub fn usage_tuple(usage: &Usage) -> UsageTuple {
    let [[a, b], [c, d]] = [usage.egress, usage.ingress];
    [a, b, c, d].map(|count| (count.frames, count.bytes))
}

/// The last frame lost for a reason: (reason, when, VLAN, length, its first bytes).
pub type LostTuple = (&'static str, Nanos, VlanId, u32, Vec<u8>);

pub fn lost_tuple(lost: &LostFrame) -> LostTuple {
    (lost.reason.name(), lost.at, lost.vlan, lost.len, lost.head.to_vec())
}

/// A decision in words: `to` and the port, `flood`, or the drop reason.
pub fn words(out: Out) -> (&'static str, Option<PortId>) {
    match out {
        Out::Port(egress) => ("to", Some(egress)),
        Out::Flood(_) => ("flood", None),
        Out::Group(_) => ("group", None),
        Out::Report(_) => ("report", None),
        Out::Local => ("local", None),
        Out::Answer => ("answer", None),
        Out::Drop(reason) => (reason.name(), None),
    }
}

pub fn hop_dict<'py>(py: Python<'py>, hop: &Hop) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    let (action, _) = words(hop.decision.out);
    let copies: Vec<_> = hop
        .copies
        .iter()
        .map(|copy| {
            let refused = copy.refused.map(DropReason::name);
            let edit = copy.edit;
            let way = copy.way.as_ref().map(|(_, name)| name.as_str());
            (copy.port, refused, edit.strip, edit.insert, copy.peer, copy.late, copy.unsure, way)
        })
        .collect();
    dict.set_item("switch", hop.switch)?;
    dict.set_item("ingress", hop.ingress)?;
    dict.set_item("frame", PyBytes::new(py, &hop.frame))?;
    dict.set_item("action", action)?;
    dict.set_item("vlan", hop.decision.vlan)?;
    dict.set_item("station", hop.station.map(|station| (station.port, station.kind.name())))?;
    dict.set_item("copies", copies)?;
    dict.set_item("mirrors", &hop.mirrors)?;
    dict.set_item("from", hop.from)?;
    Ok(dict)
}
