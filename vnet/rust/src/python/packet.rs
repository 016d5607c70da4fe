//! `packet` doors for Python.

use super::door::Door;
use super::switch::mac as parse_mac;
use nics::output::duplicate;
use nics::packet::{Options, PacketNic, Stations as Shared, Wanted};
use pyo3::exceptions::PyOSError;
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
/// (NETLINK_ROUTE) of its namespace, which are duplicated. Returns the door, who decides what comes in,
/// and the interface's MTU. Raises OSError; ENODEV: there is no such interface.
#[pyfunction]
#[pyo3(signature = (packet, netlink, interface, *, offload))]
pub fn packet_door(
    packet: RawFd,
    netlink: RawFd,
    interface: &str,
    offload: bool,
) -> PyResult<(Door, Stations, u32)> {
    let open = || {
        let options = Options { interface: interface.to_owned(), offload };
        PacketNic::new(duplicate(packet)?, duplicate(netlink)?, options)
    };
    let nic = open().map_err(error)?;
    let (stations, mtu) = (nic.stations(), nic.mtu().unwrap_or_default());
    Ok((Door::new(nic), Stations(stations), mtu))
}
