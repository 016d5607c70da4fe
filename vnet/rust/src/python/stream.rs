//! `stream` doors for Python.

use super::door::Door;
use super::error::nic_error;
use nics::socket::{Endpoint, Role};
use nics::stream::StreamNic;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Open a stream door at `endpoint` (a path, `@name` or `ip:port`); `role` is `server` (we listen) or
/// `client`. Returns the door and where it listens or connects to, with the port that the kernel
/// chose if 0 was asked for. Raises NicError.
#[pyfunction]
pub fn stream_door(py: Python<'_>, endpoint: &str, role: &str) -> PyResult<(Door, String)> {
    let role = match role {
        "server" => Role::Server,
        "client" => Role::Client,
        _ => return Err(PyValueError::new_err("role is server or client")),
    };
    let nic = py.detach(|| Endpoint::parse(endpoint).and_then(|endpoint| StreamNic::open(endpoint, role)));
    let nic = nic.map_err(|e| nic_error(py, &e))?;
    let place = nic.listening_at().map_or_else(|| endpoint.to_owned(), |at| at.to_string());
    Ok((Door::new(nic), place))
}
