//! `vhost-user` doors for Python.

use super::door::Door;
use super::error::nic_error;
use nics::socket::{Endpoint, Role};
use nics::vhost_user::{Config, VhostUser};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Open a vhost-user door at `path`; `role` is `server` (we listen) or `client`. `queues`: queue
/// pairs that are offered. `mtu`: the largest payload in bytes that a front-end may tell its guest.
/// `offload`: offer checksum and segmentation offloads. `mac`: let the device tell the guest that this
/// is its address. Raises NicError.
#[pyfunction]
#[pyo3(signature = (path, role, *, queues, mtu, offload, mac=None))]
pub fn vhost_user_door(
    py: Python<'_>,
    path: &str,
    role: &str,
    queues: u16,
    mtu: u16,
    offload: bool,
    mac: Option<[u8; 6]>,
) -> PyResult<Door> {
    let role = match role {
        "server" => Role::Server,
        "client" => Role::Client,
        _ => return Err(PyValueError::new_err("role is server or client")),
    };
    if !(1..=VhostUser::QUEUES_MAX).contains(&queues) {
        return Err(PyValueError::new_err(format!("queues are 1 to {}", VhostUser::QUEUES_MAX)));
    }
    let nic = py.detach(|| {
        let endpoint = Endpoint::parse(path)?;
        VhostUser::open(&Config { endpoint, role, queues, mtu, offloads: offload, mac })
    });
    Ok(Door::new(nic.map_err(|e| nic_error(py, &e))?))
}
