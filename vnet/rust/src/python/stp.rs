//! Spanning trees for Python.

use super::engine::Engine;
use super::switch::mac as parse_mac;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use switch::PortId;
use switch::stp::{BridgeSetup, PortSetup, Version};

/// Have `switch` run a spanning tree: `version` is "stp" or "rstp", or None for none. Times in seconds.
#[pyfunction]
#[pyo3(signature = (engine, switch, version, mac, *, priority=32_768, hello=2, max_age=20, forward_delay=15))]
#[allow(clippy::too_many_arguments)]
pub fn set_bridge(
    py: Python<'_>,
    engine: &Engine,
    switch: u16,
    version: Option<&str>,
    mac: &str,
    priority: u16,
    hello: u16,
    max_age: u16,
    forward_delay: u16,
) -> PyResult<()> {
    let version = match version {
        None => None,
        Some("stp") => Some(Version::Stp),
        Some("rstp") => Some(Version::Rstp),
        Some(_) => return Err(PyValueError::new_err("version is stp, rstp or None")),
    };
    if !(1..=10).contains(&hello) || !(6..=40).contains(&max_age) || !(4..=30).contains(&forward_delay) {
        let text = "hello is 1 to 10 s, max_age 6 to 40 s, forward_delay 4 to 30 s (802.1D-2004 17.14)";
        return Err(PyValueError::new_err(text));
    }
    let mac = parse_mac(mac)?;
    let setup = version.map(|version| BridgeSetup { version, priority, mac, hello, max_age, forward_delay });
    engine.command(py, |engine| engine.set_bridge(switch, setup))
}

/// Have a port take part in its switch's spanning tree; its BPDUs come from `mac`.
#[pyfunction]
#[pyo3(signature = (engine, port, mac, *, cost=2000, priority=128, edge=false, auto_edge=true, bpdu_guard=false))]
#[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
pub fn join_bridge(
    py: Python<'_>,
    engine: &Engine,
    port: PortId,
    mac: &str,
    cost: u32,
    priority: u8,
    edge: bool,
    auto_edge: bool,
    bpdu_guard: bool,
) -> PyResult<()> {
    let mac = parse_mac(mac)?;
    let setup = PortSetup { priority, cost, edge, auto_edge, bpdu_guard };
    engine.command(py, |engine| engine.join_bridge(port, mac, setup))
}

/// Have a port forward whatever the spanning tree says, as those of guarded guests do.
#[pyfunction]
pub fn leave_bridge(py: Python<'_>, engine: &Engine, port: PortId) -> PyResult<()> {
    engine.command(py, |engine| {
        engine.leave_bridge(port);
        Ok(())
    })
}

/// A bridge identifier as people write it: `8000.02:00:00:00:00:01`.
fn identifier(id: u64) -> String {
    let bytes = id.to_be_bytes();
    let mac: Vec<String> = bytes[2..].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:02x}{:02x}.{}", bytes[0], bytes[1], mac.join(":"))
}

/// What is to be seen of a switch's spanning tree: id, root, cost to it, root_port, changes, changed
/// (nanoseconds of the engine's clock, or None), ports (number, role, state, cost, id, edge, rapid,
/// refused). None when it runs none.
#[pyfunction]
pub fn bridge_view<'py>(
    py: Python<'py>,
    engine: &Engine,
    switch: u16,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some((bridge, ports)) = engine.command(py, |engine| engine.bridge_view(switch))? else {
        return Ok(None);
    };
    let list = PyList::empty(py);
    for (number, port) in ports {
        let dict = PyDict::new(py);
        dict.set_item("number", number)?;
        dict.set_item("role", port.role.name())?;
        dict.set_item("state", port.state.name())?;
        dict.set_item("cost", port.cost)?;
        dict.set_item("id", format!("{:04x}", port.id))?;
        dict.set_item("edge", port.edge)?;
        dict.set_item("rapid", port.rapid)?;
        dict.set_item("refused", port.refused)?;
        list.append(dict)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("id", identifier(bridge.id))?;
    dict.set_item("root", identifier(bridge.root))?;
    dict.set_item("cost", bridge.cost)?;
    dict.set_item("root_port", bridge.root_port)?;
    dict.set_item("changes", bridge.changes)?;
    dict.set_item("changed", bridge.changed)?;
    dict.set_item("ports", list)?;
    Ok(Some(dict))
}
