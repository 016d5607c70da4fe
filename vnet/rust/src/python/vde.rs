//! `vde` doors for Python.

use super::door::Door;
use super::error::nic_error;
use nics::socket::Role;
use nics::vde::VdeNic;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::path::PathBuf;

/// Open a vde door at `folder`; `role` is `server` (the folder is ours) or `client`, which asks the switch
/// there for `port` (0: any) and says that it is `description`. Raises NicError.
#[pyfunction]
pub fn vde_door(py: Python<'_>, folder: PathBuf, role: &str, port: u32, description: &str) -> PyResult<Door> {
    let role = match role {
        "server" => Role::Server,
        "client" => Role::Client,
        _ => return Err(PyValueError::new_err("role is server or client")),
    };
    let nic = py.detach(|| VdeNic::open(&folder, role, port, description));
    Ok(Door::new(nic.map_err(|e| nic_error(py, &e))?))
}
