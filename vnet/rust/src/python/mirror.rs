//! Mirrors for Python.

use super::engine::Engine;
use crate::mirror::{Spec, erspan};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::net::IpAddr;
use switch::{Limit, Mac, PortId, VlanId};

/// (next hop's MAC, own MAC, VLAN id on the wire or None, source, target, session).
type ErspanTuple = (String, String, Option<VlanId>, String, String, u16);

/// Which frames are copied, and where to.
#[pyclass(frozen)]
pub struct Mirror(Spec);

fn address(text: &str) -> PyResult<IpAddr> {
    text.parse().map_err(|_| PyValueError::new_err(format!("{text:?} is not an IP address")))
}

fn session(given: &ErspanTuple) -> PyResult<erspan::Erspan> {
    let (dst, src, vid, from, to, session) = given;
    let mac = |text: &str| -> PyResult<Mac> { super::switch::mac(text) };
    let (from, to) = (address(from)?, address(to)?);
    if from.is_ipv4() != to.is_ipv4() {
        return Err(PyValueError::new_err("both addresses are of one family"));
    }
    if *session > 1023 {
        return Err(PyValueError::new_err(format!("session {session} is not in 0..1023")));
    }
    Ok(erspan::Erspan { dst: mac(dst)?, src: mac(src)?, vid: *vid, from, to, session: *session })
}

#[pymethods]
impl Mirror {
    /// `ingress`, `egress`: ports whose frames are copied when they come in, and when they go out.
    /// `vlans`: only of these; None: of any. `transit`: frames that came over a link, too, where they go
    /// out. `to`: the port that copies leave by. `erspan`: packed so. `snap`: bytes that are kept.
    /// `rate`, `packets`: bit/s and copies a second, 0 for any. Raises ValueError.
    #[new]
    #[pyo3(signature = (name, to, *, ingress, egress, vlans=None, transit=true, erspan=None, snap=None,
        tagged=false, rate=0, packets=0))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        name: String,
        to: PortId,
        ingress: Vec<PortId>,
        egress: Vec<PortId>,
        vlans: Option<Vec<VlanId>>,
        transit: bool,
        erspan: Option<ErspanTuple>,
        snap: Option<usize>,
        tagged: bool,
        rate: u64,
        packets: u64,
    ) -> PyResult<Self> {
        Ok(Mirror(Spec {
            name,
            ingress,
            egress,
            vlans: vlans.map(|vlans| vlans.into_iter().collect()),
            transit,
            to,
            erspan: erspan.as_ref().map(session).transpose()?,
            snap,
            tagged,
            limit: Limit { rate, packets, ..Limit::default() },
        }))
    }
}

/// Have these mirrors and no others. Raises KeyError, and nothing has changed, when a port isn't there.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub fn set_mirrors(py: Python<'_>, engine: &Engine, mirrors: Vec<Py<Mirror>>) -> PyResult<()> {
    let specs = mirrors.iter().map(|mirror| mirror.get().0.clone()).collect();
    engine.command(py, |engine| engine.set_mirrors(specs))
}

/// What each mirror has done: (name, copies, their bytes, copies lost).
#[pyfunction]
pub fn mirror_counts(py: Python<'_>, engine: &Engine) -> PyResult<Vec<(String, u64, u64, u64)>> {
    engine.command(py, |engine| {
        let counts = engine.mirrors().counts();
        Ok(counts.map(|(name, n)| (name.into(), n.frames.get(), n.bytes.get(), n.lost.get())).collect())
    })
}
