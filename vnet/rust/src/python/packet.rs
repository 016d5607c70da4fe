//! `packet` and `xdp` doors for Python: what stands on an interface.

use super::door::Door;
use super::switch::mac as parse_mac;
use nics::output::duplicate;
use nics::packet::{Options, PacketNic, Stations as Shared, Wanted};
use nics::xdp::{self, Choice, XdpNic};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

fn error(e: io::Error) -> PyErr {
    match e.raw_os_error() {
        Some(errno) => PyOSError::new_err((errno, e.to_string())),
        None => e.into(),
    }
}

/// Who lives in the fabric, as an uplink's interface must know.
#[pyclass(frozen)]
pub struct Stations(pub Arc<Shared>);

#[pymethods]
impl Stations {
    /// Receive groups and frames for these MAC addresses, nothing without any; None: for everybody.
    fn want(&self, macs: Option<Vec<String>>) -> PyResult<()> {
        let wanted = match macs {
            None => Wanted::All,
            Some(macs) => Wanted::Only(macs.iter().map(|text| parse_mac(text)).collect::<PyResult<_>>()?),
        };
        self.0.want(wanted).map_err(error)
    }
}

/// Open a `packet` door on `interface` by a packet socket (SOCK_RAW, protocol 0) and a netlink socket
/// (NETLINK_ROUTE) of its namespace, which are duplicated; `netns` is a descriptor of that, None: ours.
/// `queues`: sockets that share what comes in. Returns the door, who decides what comes in, and the
/// interface's MTU. Raises OSError; ENODEV: there is no such interface.
#[pyfunction]
#[pyo3(signature = (packet, netlink, interface, *, offload, netns, queues))]
pub fn packet_door(
    packet: RawFd,
    netlink: RawFd,
    interface: &str,
    offload: bool,
    netns: Option<RawFd>,
    queues: usize,
) -> PyResult<(Door, Stations, u32)> {
    let open = || {
        let options = Options { interface: interface.to_owned(), offload, queues };
        let netns = netns.map(duplicate).transpose()?;
        PacketNic::new(duplicate(packet)?, duplicate(netlink)?, netns.as_ref(), options)
    };
    let nic = open().map_err(error)?;
    let (stations, mtu) = (nic.stations(), nic.mtu().unwrap_or_default());
    Ok((Door::new(nic), Stations(stations), mtu))
}

/// Open an `xdp` door on `interface`, by the same sockets as `packet_door`; `netns` is a descriptor of its
/// namespace, None: ours. `queues` None: all, 16 at most. `mode`: auto, native, generic. What rules AF_XDP
/// out is one line in the log, and the door a `packet` one. Returns and raises as `packet_door`.
#[pyfunction]
#[pyo3(signature = (packet, netlink, interface, *, offload, netns, queues, mode))]
#[allow(clippy::too_many_arguments)]
pub fn xdp_door(
    packet: RawFd,
    netlink: RawFd,
    interface: &str,
    offload: bool,
    netns: Option<RawFd>,
    queues: Option<u32>,
    mode: &str,
) -> PyResult<(Door, Stations, u32)> {
    let mode = match mode {
        "auto" => Choice::Auto,
        "native" => Choice::Native,
        "generic" => Choice::Generic,
        _ => return Err(PyValueError::new_err(format!("{mode}: auto, native or generic"))),
    };
    let open = || {
        let options = Options { interface: interface.to_owned(), offload, queues: 1 };
        let packet = PacketNic::new(duplicate(packet)?, duplicate(netlink)?, None, options)?;
        let netns = netns.map(duplicate).transpose()?;
        Ok(XdpNic::new(packet, xdp::Options { netns, queues, mode }))
    };
    let nic = open().map_err(error)?;
    let (stations, mtu) = (nic.stations(), nic.mtu().unwrap_or_default());
    Ok((Door::new(nic), Stations(stations), mtu))
}
