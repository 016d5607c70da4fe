//! How a port is set up, as Python says it.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use switch::{Native, PortConfig as Config, PortMode, VlanId, VlanSet};

/// How a switch's port is set up. Give `vlan` for an access port; `tagged` (and perhaps `native`)
/// for a trunk.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct PortConfig(pub Config);

#[pymethods]
impl PortConfig {
    #[new]
    #[pyo3(signature = (*, vlan=None, tagged=None, native=None, native_tagged=false, mtu=1500,
        priority_tags=false, mac_limit=1024, mac_limit_drops=false, learning=true, sticky=false,
        transparent=false, flood_unknown=true, flood_multicast=true, flood_broadcast=true, up=true))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
    fn new(
        vlan: Option<VlanId>,
        tagged: Option<Vec<VlanId>>,
        native: Option<VlanId>,
        native_tagged: bool,
        mtu: u16,
        priority_tags: bool,
        mac_limit: u32,
        mac_limit_drops: bool,
        learning: bool,
        sticky: bool,
        transparent: bool,
        flood_unknown: bool,
        flood_multicast: bool,
        flood_broadcast: bool,
        up: bool,
    ) -> PyResult<Self> {
        let mode = match (vlan, tagged) {
            (Some(vlan), None) if native.is_none() => PortMode::Access(vlan),
            (None, Some(tagged)) => {
                if let Some(bad) = tagged.iter().find(|vlan| !(1..=4094).contains(*vlan)) {
                    return Err(PyValueError::new_err(format!("VLAN {bad} is not in 1..4094")));
                }
                PortMode::Trunk {
                    tagged: Box::new(tagged.into_iter().collect::<VlanSet>()),
                    native: native.map(|vlan| Native { vlan, tagged: native_tagged }),
                }
            }
            _ => return Err(PyValueError::new_err("give either vlan, or tagged and perhaps native")),
        };
        Ok(PortConfig(Config {
            mode,
            mtu,
            priority_tags,
            mac_limit,
            mac_limit_drops,
            learning,
            sticky,
            transparent,
            flood_unknown,
            flood_multicast,
            flood_broadcast,
            up,
        }))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}
