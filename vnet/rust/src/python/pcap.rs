//! `pcap` doors for Python.

use super::door::Door;
use super::error::nic_error;
use nics::output::duplicate;
use nics::pcap::{Files, PcapNic, Spec};
use pyo3::prelude::*;
use std::os::fd::RawFd;
use switch::Nanos;

/// The files of a pcap door, which may need a moment after the door is gone.
#[pyclass(frozen)]
pub struct PcapFiles(Files);

#[pymethods]
impl PcapFiles {
    /// Descriptors that all become readable once nothing of the door is open any more.
    fn filenos(&self) -> Vec<RawFd> {
        let reader = self.0.reader.iter().map(|reader| reader.ended());
        reader.chain(self.0.writer.iter().map(|writer| writer.fd())).collect()
    }

    /// What writing the recording failed with, if it did.
    fn error(&self) -> Option<String> {
        self.0.writer.as_ref()?.error().map(|(_, text)| text)
    }

    /// Frames that the recording lost.
    #[getter]
    fn lost(&self) -> u64 {
        self.0.writer.as_ref().map_or(0, |writer| writer.lost.get())
    }
}

/// Open a pcap door on descriptors, which stay the caller's: `read` is played, `write` is written.
/// `speed`: how many times as fast as recorded, 0 for as fast as possible. `name` and `application`
/// stand in the recording. `epoch`: nanoseconds from the Unix epoch to time 0 in virtual time, where
/// files are read and written in the turn; None in real time. Raises NicError and OSError.
#[pyfunction]
#[pyo3(signature = (read, write, *, speed, name, application, epoch))]
pub fn pcap_door(
    py: Python<'_>,
    read: Option<RawFd>,
    write: Option<RawFd>,
    speed: f64,
    name: String,
    application: String,
    epoch: Option<Nanos>,
) -> PyResult<(Door, PcapFiles)> {
    let (read, write) = (read.map(duplicate).transpose()?, write.map(duplicate).transpose()?);
    let opened = py.detach(|| PcapNic::open(Spec { read, write, speed, name, application, epoch }));
    let (nic, files) = opened.map_err(|e| nic_error(py, &e))?;
    Ok((Door::new(nic), PcapFiles(files)))
}
