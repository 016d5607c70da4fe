//! Errors of Rust as the exceptions that Python has for them.

use nics::OpenError;
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
