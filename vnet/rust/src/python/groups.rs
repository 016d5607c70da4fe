//! Security groups for Python: rules as plain data, tracked connections as tuples.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::net::IpAddr;
use std::sync::Arc;
use switch::{Connection, Nanos, PortId, Rule, VlanId};

/// (protocol or any, first and last number, remote prefixes with their VLAN or any, or anybody)
type Allow = (Option<u8>, (u16, u16), Option<Vec<(String, Option<VlanId>)>>);

/// (VLAN, protocol, source and its port, target and its port, state, age, idle time and time left in
/// nanoseconds, the port that it counts for)
pub(super) type ConnectionTuple =
    (VlanId, String, (String, u16), (String, u16), &'static str, (Nanos, Nanos, Nanos), PortId);

/// The rules of a port's security groups, compiled: see `switch/rust/src/groups/`.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct Groups(pub Arc<switch::Groups>);

fn rules(allows: Vec<Allow>) -> PyResult<Vec<Rule>> {
    let remote = |(prefix, vlan): (String, Option<VlanId>)| {
        let parsed = prefix
            .split_once('/')
            .and_then(|(ip, length)| Some((ip.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?)))
            .filter(|(ip, length)| *length <= if ip.is_ipv4() { 32 } else { 128 });
        let bad = || PyValueError::new_err(format!("{prefix:?} is not a prefix such as 10.0.0.0/24"));
        parsed.map(|(ip, length)| (ip, length, vlan)).ok_or_else(bad)
    };
    let rule = |(protocol, numbers, remotes): Allow| {
        let remotes = remotes.map(|remotes| remotes.into_iter().map(remote).collect()).transpose()?;
        Ok(Rule { protocol, numbers, remotes })
    };
    allows.into_iter().map(rule).collect()
}

#[pymethods]
impl Groups {
    #[new]
    #[pyo3(signature = (ingress, egress, *, log=true))]
    fn new(ingress: Vec<Allow>, egress: Vec<Allow>, log: bool) -> PyResult<Self> {
        Ok(Groups(Arc::new(switch::Groups::new(&rules(ingress)?, &rules(egress)?, log))))
    }

    /// Bytes of memory held.
    fn memory(&self) -> usize {
        self.0.memory()
    }
}

pub(super) fn tuple(connection: Connection) -> ConnectionTuple {
    let Connection { vlan, protocol, source, target, state, age, idle, expires, owner } = connection;
    let end = |(ip, port): (IpAddr, u16)| (ip.to_string(), port);
    (vlan, protocol, end(source), end(target), state, (age, idle, expires), owner)
}
