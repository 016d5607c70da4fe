//! `pipe` doors for Python.

use super::door::Door;
use nics::pipe::{PipeEnd, PipeError, pipe};
use pyo3::exceptions::{PyBlockingIOError, PyBrokenPipeError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// The far end of a pipe. Never blocks: raises BlockingIOError, and the port's `pipe` event tells
/// when to try again; BrokenPipeError once the port was removed.
#[pyclass(frozen)]
pub struct PipeHandle(PipeEnd);

fn error(e: PipeError) -> PyErr {
    match e {
        PipeError::WouldBlock => PyBlockingIOError::new_err("the pipe is not ready"),
        PipeError::Closed => PyBrokenPipeError::new_err("the pipe's port was removed"),
    }
}

#[pymethods]
impl PipeHandle {
    /// Put one frame (bytes, without FCS) on its way into the fabric.
    fn send(&self, frame: &[u8]) -> PyResult<()> {
        self.0.send(frame).map_err(error)
    }

    /// The next frame that came out of the fabric.
    fn receive<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.0.receive().map_err(error)?))
    }
}

/// Open a pipe that holds `limit` frames of at most `max_frame` bytes each way.
#[pyfunction]
pub fn pipe_door(limit: usize, max_frame: u32) -> (Door, PipeHandle) {
    let (nic, end) = pipe(limit, max_frame);
    (Door::new(nic), PipeHandle(end))
}
