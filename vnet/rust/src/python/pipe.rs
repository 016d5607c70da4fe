//! `pipe` doors for Python.

use super::door::Door;
use nics::pipe::{PipeEnd, PipeError, pipe};
use pyo3::exceptions::{PyBlockingIOError, PyBrokenPipeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::time::Duration;

/// The far end of a pipe. Never blocks: raises BlockingIOError, and the port's `pipe` event tells
/// when to try again; BrokenPipeError once the port was removed.
#[pyclass(frozen)]
pub struct PipeHandle(pub(super) PipeEnd);

fn error(e: PipeError) -> PyErr {
    match e {
        PipeError::WouldBlock => PyBlockingIOError::new_err("the pipe is not ready"),
        PipeError::Closed => PyBrokenPipeError::new_err("the pipe's port was removed, or it was closed"),
        PipeError::TooLong => PyValueError::new_err("a frame of more bytes than any network carries"),
    }
}

#[pymethods]
impl PipeHandle {
    /// Put one frame (bytes, without FCS) on its way into the fabric.
    fn send(&self, frame: &[u8]) -> PyResult<()> {
        self.0.send(frame).map_err(error)
    }

    /// The same, waiting up to `timeout` seconds for room; BlockingIOError when there was none.
    /// For threads that may block.
    fn send_wait(&self, py: Python<'_>, frame: &[u8], timeout: f64) -> PyResult<()> {
        let timeout = Duration::try_from_secs_f64(timeout.max(0.0)).unwrap_or(Duration::from_secs(86_400));
        py.detach(|| self.0.send_wait(frame, timeout)).map_err(error)
    }

    /// A descriptor that is readable while there is something to receive, or the pipe is closed.
    fn fileno(&self) -> PyResult<i32> {
        Ok(self.0.fd()?)
    }

    /// Nobody will send or receive here any more: the port has no carrier from now on.
    fn close(&self) {
        self.0.close();
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
