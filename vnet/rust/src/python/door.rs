//! A NIC on its way from the function that opened it to the engine that will own it.

use nics::Nic;
use parking_lot::Mutex;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// An open NIC that is not attached to a port yet. Dropping it closes it.
#[pyclass(frozen)]
pub struct Door(Mutex<Option<Box<dyn Nic>>>);

impl Door {
    pub fn new(nic: impl Nic + 'static) -> Self {
        Door(Mutex::new(Some(Box::new(nic))))
    }

    /// The NIC itself; a door can be attached once.
    pub fn take(&self) -> PyResult<Box<dyn Nic>> {
        self.0.lock().take().ok_or_else(|| PyRuntimeError::new_err("this door is attached already"))
    }
}

#[pymethods]
impl Door {
    /// The kind's name, as in a topology file; None once attached.
    #[getter]
    fn kind(&self) -> Option<&'static str> {
        self.0.lock().as_ref().map(|nic| nic.kind())
    }

    /// Close it now, unless it is attached: then the engine does.
    fn close(&self) {
        drop(self.0.lock().take());
    }
}
