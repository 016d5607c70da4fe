//! `tap` doors for Python.

use super::door::Door;
use nics::output::duplicate;
use nics::tap::{Options, TapNic};
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::io;
use std::os::fd::RawFd;

/// OSError with its errno, so that the caller can tell why.
fn error(e: io::Error) -> PyErr {
    match e.raw_os_error() {
        Some(errno) => PyOSError::new_err((errno, e.to_string())),
        None => e.into(),
    }
}

/// Open the TAP `name` by descriptors of /dev/net/tun, one a queue, opened in the network namespace
/// that it belongs in; with `name` None, they are queues of a TAP already. `create`: it must not exist
/// yet. The descriptors are duplicated. Returns the door and the interface's name.
#[pyfunction]
#[pyo3(signature = (fds, name, *, create, mtu, offload))]
pub fn tap_door(
    fds: Vec<RawFd>,
    name: Option<&str>,
    create: bool,
    mtu: u32,
    offload: bool,
) -> PyResult<(Door, String)> {
    let fds = fds.into_iter().map(duplicate).collect::<io::Result<Vec<_>>>().map_err(error)?;
    let options = Options { mtu, offload };
    let nic = match name {
        Some(name) => TapNic::claim(fds, name, create, options),
        None => TapNic::adopt(fds, options),
    };
    let nic = nic.map_err(error)?;
    let name = nic.name().to_owned();
    Ok((Door::new(nic), name))
}
