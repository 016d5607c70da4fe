//! Errors of Rust as the exceptions that Python has for them.

use crate::engine::EngineError;
use nics::OpenError;
use pyo3::exceptions::{PyKeyError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

/// `nics.errors.NicError(what, remedy)`.
pub fn nic_error(py: Python<'_>, error: &OpenError) -> PyErr {
    let made = py
        .import("nics.errors")
        .and_then(|module| module.getattr("NicError"))
        .and_then(|class| class.call1((&error.what, &error.remedy)));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(e) => e,
    }
}

/// Of a command that the engine refused.
pub fn engine_error(e: EngineError) -> PyErr {
    match e {
        EngineError::NoSuchPort | EngineError::NoSuchSwitch => PyKeyError::new_err(e.to_string()),
        EngineError::PortsExhausted | EngineError::SwitchInUse => PyRuntimeError::new_err(e.to_string()),
        EngineError::Switch(e) => PyValueError::new_err(e.to_string()),
        EngineError::Io(e) => match e.raw_os_error() {
            Some(code) => PyOSError::new_err((code, e.to_string())),
            None => PyOSError::new_err(e.to_string()),
        },
    }
}
