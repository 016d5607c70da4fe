//! Multicast groups for Python.

use super::engine::Engine;
use super::switch::mac as parse_mac;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use std::net::{Ipv4Addr, Ipv6Addr};
use switch::multicast::{Bounds, Family, MemberView, Setup, Unknown};
use switch::{Nanos, PortId, VlanId};

/// (VLAN, group, port, sources that alone are wanted or [] for all but the excluded ones, those, until when in
/// nanoseconds)
pub type Member = (VlanId, String, PortId, Vec<String>, Vec<String>, Nanos);

pub fn member(view: MemberView) -> Member {
    let words = |sources: &[std::net::IpAddr]| sources.iter().map(ToString::to_string).collect();
    let (sources, excluded) = (words(&view.sources), words(&view.excluded));
    (view.vlan, view.group.to_string(), view.port, sources, excluded, view.until)
}

/// How multicast groups are snooped in a VLAN: see `switch/rust/src/multicast/mod.rs`. `mac`, `ip4` and
/// `ip6` are the switch's own, for its queries; `interval` in nanoseconds.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct Snooping(pub Setup);

#[pymethods]
impl Snooping {
    #[new]
    #[pyo3(signature = (mac, *, ip4, ip6, unknown="flood", querier=true,
        interval=125_000_000_000, fast_leave=false, suppress=false, groups=1024, port_groups=128))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
    fn new(
        mac: &str,
        ip4: &str,
        ip6: &str,
        unknown: &str,
        querier: bool,
        interval: Nanos,
        fast_leave: bool,
        suppress: bool,
        groups: u32,
        port_groups: u32,
    ) -> PyResult<Self> {
        let bad = |text: &str| PyValueError::new_err(format!("{text:?} is not an address"));
        let unknown = match unknown {
            "flood" => Unknown::Flood,
            "routers" => Unknown::Routers,
            _ => return Err(PyValueError::new_err("unknown is flood or routers")),
        };
        if interval < 1_000_000_000 {
            return Err(PyValueError::new_err("interval is 1 s at least"));
        }
        Ok(Snooping(Setup {
            unknown,
            querier,
            mac: parse_mac(mac)?,
            ip4: ip4.parse::<Ipv4Addr>().map_err(|_| bad(ip4))?,
            ip6: ip6.parse::<Ipv6Addr>().map_err(|_| bad(ip6))?,
            interval,
            fast_leave,
            suppress,
            bounds: Bounds { groups, port_groups },
        }))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// Have `switch` snoop multicast groups in a VLAN, or no more. `now`: the driver's time, left out with a
/// thread.
#[pyfunction]
#[pyo3(signature = (engine, switch, vlan, setup))]
pub fn set_multicast(
    py: Python<'_>,
    engine: &Engine,
    switch: u16,
    vlan: VlanId,
    setup: Option<&Snooping>,
) -> PyResult<()> {
    let setup = setup.map(|setup| setup.0);
    let done = engine.command(py, |engine| {
        let done = engine.switch_mut(switch)?.set_multicast(vlan, setup);
        // It may have something to ask.
        engine.waker().wake();
        Ok(done)
    })?;
    if done { Ok(()) } else { Err(PyValueError::new_err("no room for multicast groups of another VLAN")) }
}

/// What is to be seen of queriers and routers at a switch, one for each VLAN that is snooped in and each of
/// "igmp" and "mld": vlan, protocol, querier (its address, or None), ours, querier_port, interval, routers
/// (port: until when), groups.
#[pyfunction]
pub fn multicast_sides<'py>(py: Python<'py>, engine: &Engine, switch: u16) -> PyResult<Bound<'py, PyList>> {
    let sides = engine.command(py, |engine| Ok(engine.switch(switch)?.multicast_sides()))?;
    let list = PyList::empty(py);
    for side in sides {
        let dict = PyDict::new(py);
        dict.set_item("vlan", side.vlan)?;
        dict.set_item("protocol", if side.family == Family::V4 { "igmp" } else { "mld" })?;
        dict.set_item("querier", side.querier.map(|ip| ip.to_string()))?;
        dict.set_item("ours", side.ours)?;
        dict.set_item("querier_port", side.querier_port)?;
        dict.set_item("interval", side.interval)?;
        let routers = PyDict::new(py);
        for (port, until) in side.routers {
            routers.set_item(port, until)?;
        }
        dict.set_item("routers", routers)?;
        dict.set_item("groups", side.groups)?;
        list.append(dict)?;
    }
    Ok(list)
}

/// Who wants which multicast group at a switch: a page of memberships, and the cursor of the next page.
#[pyfunction]
#[pyo3(signature = (engine, switch, cursor=0, limit=256))]
pub fn multicast_members(
    py: Python<'_>,
    engine: &Engine,
    switch: u16,
    cursor: u16,
    limit: usize,
) -> PyResult<(Vec<Member>, Option<u16>)> {
    engine.command(py, |engine| {
        let mut page = Vec::new();
        let next = engine.switch(switch)?.multicast_page(cursor, limit, &mut page);
        Ok((page.into_iter().map(member).collect(), next))
    })
}
