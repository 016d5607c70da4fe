//! `dgram` doors for Python.

use super::door::Door;
use super::error::nic_error;
use nics::dgram::DgramNic;
use nics::socket::Endpoint;
use pyo3::prelude::*;

/// Open a dgram door: `local` is our end and `remote` the guest's, each a path, `@name` or `ip:port`;
/// one may be None. Returns the door and where it is bound, with the port that the kernel chose if 0
/// was asked for, or None for a unix socket. Raises NicError.
#[pyfunction]
#[pyo3(signature = (local, remote))]
pub fn dgram_door(
    py: Python<'_>,
    local: Option<&str>,
    remote: Option<&str>,
) -> PyResult<(Door, Option<String>)> {
    let nic = py.detach(|| {
        let local = local.map(Endpoint::parse).transpose()?;
        let remote = remote.map(Endpoint::parse).transpose()?;
        DgramNic::open(local.as_ref(), remote.as_ref())
    });
    let nic = nic.map_err(|e| nic_error(py, &e))?;
    let place = nic.bound_at().map(|at| at.to_string());
    Ok((Door::new(nic), place))
}
