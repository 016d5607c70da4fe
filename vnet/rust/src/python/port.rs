//! How a port is set up, as Python says it.

use super::groups::Groups;
use super::switch::mac as parse_mac;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::net::IpAddr;
use std::sync::Arc;
use switch::{
    Limit, Native, PortConfig as Config, PortMode, Private, ProxyNetwork, Roles, Storm, VlanId, VlanMap,
    VlanSet,
};

/// (address and prefix length, MAC address or the guest's own, VLAN or any)
type Allowed = (String, Option<String>, Option<VlanId>);

/// What the guest at a port may say and hear: see `switch/rust/src/guard.rs`.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct Guard(pub switch::Guard);

#[pymethods]
impl Guard {
    #[new]
    #[pyo3(signature = (mac, *, macs=vec![], addresses=vec![], unknown=vec![], mac_changes=false,
        promiscuous=false, forged_transmits=false, dhcp_server=false, router_advertisements=false,
        querier=false, learns=false))]
    #[allow(clippy::too_many_arguments, clippy::fn_params_excessive_bools)]
    fn new(
        mac: &str,
        macs: Vec<String>,
        addresses: Vec<Allowed>,
        unknown: Vec<VlanId>,
        mac_changes: bool,
        promiscuous: bool,
        forged_transmits: bool,
        dhcp_server: bool,
        router_advertisements: bool,
        querier: bool,
        learns: bool,
    ) -> PyResult<Self> {
        let mut guard = switch::Guard::new(parse_mac(mac)?);
        for mac in macs {
            guard.add_mac(parse_mac(&mac)?);
        }
        for (prefix, mac, vlan) in addresses {
            let mac = mac.as_deref().map(parse_mac).transpose()?;
            let parsed = prefix
                .split_once('/')
                .and_then(|(ip, length)| Some((ip.parse::<IpAddr>().ok()?, length.parse().ok()?)));
            if !parsed.is_some_and(|(ip, length)| guard.add_addresses(ip, length, mac, vlan)) {
                let text = format!("{prefix:?} is not a prefix such as 10.0.0.1/32");
                return Err(PyValueError::new_err(text));
            }
        }
        guard.learns = learns;
        guard.unknown = unknown.into_iter().collect();
        guard.roles =
            Roles { mac_changes, promiscuous, forged_transmits, dhcp_server, router_advertisements, querier };
        Ok(Guard(guard))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// One direction: (bit/s, bytes of burst, bytes of one-time burst, packets/s), 0 for any or the usual.
type Limited = (u64, u64, u64, u64);

fn limit((rate, burst, one_time_burst, packets): Limited) -> Limit {
    Limit { rate, burst, one_time_burst, packets }
}

/// What the guest at a port may send (egress), receive (ingress), and flood: broadcast, multicast, unknown
/// unicast in packets/s, 0 for any. See `switch/rust/src/limits.rs`.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct Limits(pub switch::Limits);

#[pymethods]
impl Limits {
    #[new]
    #[pyo3(signature = (*, egress=(0, 0, 0, 0), ingress=(0, 0, 0, 0), storm=(0, 0, 0)))]
    fn new(egress: Limited, ingress: Limited, storm: (u64, u64, u64)) -> Self {
        let (broadcast, multicast, unknown) = storm;
        Limits(switch::Limits {
            egress: limit(egress),
            ingress: limit(ingress),
            storm: Storm { broadcast, multicast, unknown },
        })
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// (VLAN, subnets: (prefix, gateway, its MAC address if known), stations: (address, place, MAC address))
type Network = (VlanId, Vec<(String, String, Option<String>)>, Vec<(String, u16, String)>);

/// (VLAN, prefix, MAC address)
type Route = (VlanId, String, String);

/// What ports are told for others: see `switch/rust/src/proxy.rs`.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Arc<Vec<ProxyNetwork>>);

#[pymethods]
impl Proxy {
    #[new]
    #[pyo3(signature = (networks, routes=vec![]))]
    fn new(networks: Vec<Network>, routes: Vec<Route>) -> PyResult<Self> {
        let bad = |text: &str| PyValueError::new_err(format!("{text:?} is not what it should be"));
        let ip = |text: &str| text.parse::<IpAddr>().map_err(|_| bad(text));
        let mut made = vec![];
        for (vlan, subnets, stations) in networks {
            let mut network = ProxyNetwork::new(vlan);
            for (prefix, gateway, mac) in subnets {
                let (net, length) = prefix.split_once('/').ok_or_else(|| bad(&prefix))?;
                let length = length.parse().map_err(|_| bad(&prefix))?;
                let mac = mac.as_deref().map(parse_mac).transpose()?.map(number);
                if !network.add_subnet(ip(net)?, length, ip(&gateway)?, mac) {
                    return Err(bad(&prefix));
                }
            }
            for (address, place, mac) in stations {
                network.add_station(ip(&address)?, place.into(), number(parse_mac(&mac)?));
            }
            made.push(network);
        }
        for (vlan, prefix, mac) in routes {
            let (net, length) = prefix.split_once('/').ok_or_else(|| bad(&prefix))?;
            let (net, length) = (ip(net)?, length.parse().map_err(|_| bad(&prefix))?);
            let Some(network) = made.iter_mut().find(|network| network.vlan() == vlan) else {
                return Err(PyValueError::new_err(format!("a route in VLAN {vlan}, which is not given")));
            };
            if !network.add_route(net, length, number(parse_mac(&mac)?)) {
                return Err(bad(&prefix));
            }
        }
        Ok(Proxy(Arc::new(made)))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

fn number([a, b, c, d, e, f]: switch::Mac) -> u64 {
    u64::from_be_bytes([0, 0, a, b, c, d, e, f])
}

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
        transparent=false, flood_unknown=true, flood_multicast=true, flood_broadcast=true, up=true,
        translate=None, uplink=false, guard=None, groups=None, connections=65536,
        private=vec![], community=0, places=false, proxy=None,
        station=None, limits=None))]
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
        translate: Option<Vec<(VlanId, VlanId)>>,
        uplink: bool,
        guard: Option<&Guard>,
        groups: Option<&Groups>,
        connections: u32,
        private: Vec<VlanId>,
        community: u16,
        places: bool,
        proxy: Option<&Proxy>,
        station: Option<&str>,
        limits: Option<&Limits>,
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
        if community > Private::COMMUNITIES {
            let text = format!("community {community} is not in 0..{}", Private::COMMUNITIES);
            return Err(PyValueError::new_err(text));
        }
        let translate = match translate {
            None => None,
            Some(pairs) => Some(VlanMap::new(pairs).ok_or_else(|| {
                PyValueError::new_err("translate has a VLAN twice, or one that is not in 1..4094")
            })?),
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
            translate,
            uplink,
            guard: guard.map(|guard| Box::new(guard.0.clone())),
            groups: groups.map(|groups| groups.0.clone()),
            connections,
            private: (!private.is_empty())
                .then(|| Box::new(Private { vlans: private.into_iter().collect::<VlanSet>(), community })),
            places,
            proxy: match proxy {
                None => None,
                Some(proxy) => {
                    let station = station.map(parse_mac).transpose()?.map_or(0, number);
                    Some(Box::new(switch::Proxy { station, networks: proxy.0.clone() }))
                }
            },
            limits: limits.map(|limits| Box::new(limits.0)),
        }))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}
