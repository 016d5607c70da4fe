//! Bonds for Python: several doors as one.

use super::door::Door;
use super::engine::Engine;
use super::switch::mac as parse_mac;
use nics::bond::{BondNic, MEMBERS, Mode, Setup, View};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use switch::lacp::pdu::{Info, State};
use switch::lacp::{Hashed, Setup as Lacp};
use switch::{Nanos, PortId};

/// How the cables of a bond share the work. `members`: (name, MAC address that LACP comes from, priority).
/// `mode`: "lacp", "active-backup", "static"; `hashed`: "l2", "l3", "l4". Times in nanoseconds. The rest of
/// LACP is left out otherwise: `system` (priority, MAC address), `key`, `active`, `short`, `independent`, `wait`,
/// `most`, `fallback`.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct BondSetup(pub Setup);

#[pymethods]
impl BondSetup {
    #[new]
    #[pyo3(signature = (mode, members, *, least=1, hashed="l4", primary=None, system=(0x8000, "02:00:00:00:00:00"),
        key=1, active=true, short=false, independent=true, wait=2_000_000_000, most=8, fallback=false))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
    fn new(
        mode: &str,
        members: Vec<(String, String, u16)>,
        least: usize,
        hashed: &str,
        primary: Option<usize>,
        system: (u16, &str),
        key: u16,
        active: bool,
        short: bool,
        independent: bool,
        wait: Nanos,
        most: usize,
        fallback: bool,
    ) -> PyResult<Self> {
        let hashed = match hashed {
            "l2" => Hashed::Macs,
            "l3" => Hashed::Ips,
            "l4" => Hashed::Ports,
            _ => return Err(PyValueError::new_err("hashed is l2, l3 or l4")),
        };
        let mode = match mode {
            "lacp" => {
                let (priority, mac) = (system.0, parse_mac(system.1)?);
                let setup = Lacp { priority, mac, key, active, short, independent, wait, most, fallback };
                Mode::Lacp { setup, priorities: members.iter().map(|(_, _, priority)| *priority).collect() }
            }
            "active-backup" => Mode::ActiveBackup { primary },
            "static" => Mode::Static,
            _ => return Err(PyValueError::new_err("mode is lacp, active-backup or static")),
        };
        let member = |(name, mac, _): (String, String, u16)| Ok((name, parse_mac(&mac)?));
        let members = members.into_iter().map(member).collect::<PyResult<_>>()?;
        let setup = Setup { mode, least, hashed, members };
        setup.check().map_err(PyValueError::new_err)?;
        Ok(BondSetup(setup))
    }

    /// Cables of one bond at most.
    #[classattr]
    const MOST: usize = MEMBERS;
}

/// One door of several, which must not be attached.
#[pyfunction]
pub fn bond_door(doors: Vec<Py<Door>>, setup: &BondSetup) -> PyResult<Door> {
    let nics = doors.iter().map(|door| door.get().take()).collect::<PyResult<_>>()?;
    let bond = BondNic::new(nics, setup.0.clone()).map_err(PyValueError::new_err)?;
    Ok(Door::new(bond))
}

/// Set one of a port's cables up or down, by its number from 0.
#[pyfunction]
pub fn set_member(py: Python<'_>, engine: &Engine, port: PortId, member: usize, up: bool) -> PyResult<()> {
    engine.command(py, |engine| engine.set_member(port, member, up))
}

/// What is to be seen of a port's cables: mode, least, partner ("PRIORITY.MAC" or None), changes, members.
/// None: it has but one.
#[pyfunction]
pub fn bond_view<'py>(
    py: Python<'py>,
    engine: &Engine,
    port: PortId,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let Some(view) = engine.command(py, |engine| engine.bond(port))? else { return Ok(None) };
    let View { mode, least, partner, changes, members } = view;
    let list = PyList::empty(py);
    for member in members {
        let dict = PyDict::new(py);
        dict.set_item("name", member.name)?;
        dict.set_item("carrier", member.carrier)?;
        dict.set_item("link", if member.up { "up" } else { "down" })?;
        dict.set_item("collecting", member.collecting)?;
        dict.set_item("distributing", member.distributing)?;
        for (way, (frames, bytes)) in [("rx", member.rx), ("tx", member.tx)] {
            let counted = PyDict::new(py);
            counted.set_item("frames", frames)?;
            counted.set_item("bytes", bytes)?;
            dict.set_item(way, counted)?;
        }
        if let Some(lacp) = member.lacp {
            dict.set_item("receive", lacp.receive.name())?;
            dict.set_item("selected", lacp.selected.name())?;
            dict.set_item("mux", lacp.mux.name())?;
            dict.set_item("churn", lacp.churn.map(switch::lacp::Churn::name))?;
            dict.set_item("actor", side(py, &lacp.actor)?)?;
            dict.set_item("partner", side(py, &lacp.partner)?)?;
        }
        list.append(dict)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("mode", mode)?;
    dict.set_item("least", least)?;
    dict.set_item("partner", partner.map(system))?;
    dict.set_item("changes", changes)?;
    dict.set_item("members", list)?;
    Ok(Some(dict))
}

/// As people write it: `8000.02:00:00:00:00:01`.
fn system((priority, mac): (u16, [u8; 6])) -> String {
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{priority:04x}.{}", mac.join(":"))
}

fn side<'py>(py: Python<'py>, info: &Info) -> PyResult<Bound<'py, PyDict>> {
    const BITS: [(u8, &str); 8] = [
        (State::ACTIVITY, "active"),
        (State::TIMEOUT, "short-timeout"),
        (State::AGGREGATION, "aggregation"),
        (State::SYNCHRONIZATION, "synchronization"),
        (State::COLLECTING, "collecting"),
        (State::DISTRIBUTING, "distributing"),
        (State::DEFAULTED, "defaulted"),
        (State::EXPIRED, "expired"),
    ];
    let dict = PyDict::new(py);
    dict.set_item("system", system(info.system))?;
    dict.set_item("key", info.key)?;
    dict.set_item("port", format!("{:04x}.{}", info.port_priority, info.port))?;
    let state: Vec<&str> =
        BITS.iter().filter(|(bit, _)| info.state.has(*bit)).map(|(_, name)| *name).collect();
    dict.set_item("state", state)?;
    Ok(dict)
}
