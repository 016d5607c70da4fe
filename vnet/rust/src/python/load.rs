//! Load for `vnet bench`; not for users.

use super::engine::Engine;
use super::pipe::PipeHandle;
use super::stack::StackHandle;
use nics::load::{Far, Tcp, Way, bulk, echo, flood};
use nics::output::duplicate;
use nics::stack::SocketId;
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::time::Duration;
use switch::PortId;

/// A far side that sends one frame over and over. Descriptors are duplicated.
#[pyclass(frozen)]
pub struct LoadFar(Mutex<Far>);

/// One side of a TCP connection.
#[pyclass(frozen)]
pub struct LoadTcp(Tcp);

#[pymethods]
impl LoadFar {
    #[staticmethod]
    fn pipe(handle: &PipeHandle, frame: Vec<u8>) -> Self {
        LoadFar(Mutex::new(Far::new(Way::Pipe(handle.0.clone()), frame)))
    }

    #[staticmethod]
    fn stream(fd: RawFd, frame: Vec<u8>) -> PyResult<Self> {
        Ok(LoadFar(Mutex::new(Far::new(Way::Stream(duplicate(fd)?), frame))))
    }

    #[staticmethod]
    fn packet(fd: RawFd, frame: Vec<u8>) -> PyResult<Self> {
        Ok(LoadFar(Mutex::new(Far::new(Way::Packet(duplicate(fd)?.into()), frame))))
    }

    #[staticmethod]
    fn udp(handle: &StackHandle, socket: SocketId, to: &str, payload: Vec<u8>) -> PyResult<Self> {
        let to: SocketAddr = to.parse().map_err(|_| PyValueError::new_err("not an address and port"))?;
        Ok(LoadFar(Mutex::new(Far::new(Way::Udp(handle.0.clone(), socket, to), payload))))
    }
}

#[pymethods]
impl LoadTcp {
    #[staticmethod]
    fn stack(handle: &StackHandle, socket: SocketId) -> Self {
        LoadTcp(Tcp::Stack(handle.0.clone(), socket))
    }

    #[staticmethod]
    fn kernel(fd: RawFd) -> PyResult<Self> {
        Ok(LoadTcp(Tcp::Kernel(duplicate(fd)?)))
    }
}

fn duration(seconds: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(seconds).map_err(|e| PyValueError::new_err(e.to_string()))
}

/// Send from `source` as fast as the fabric takes it, at most `window` frames on their way. Returns
/// frames and bytes that left by port `egress`, lost frames, nanoseconds.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
pub fn load_flood(
    py: Python<'_>,
    engine: &Engine,
    source: &LoadFar,
    sink: &LoadFar,
    ingress: PortId,
    egress: PortId,
    window: u64,
    seconds: f64,
) -> PyResult<(u64, u64, u64, u64)> {
    let (ingress, egress) = (engine.counters_of(ingress)?, engine.counters_of(egress)?);
    let time = duration(seconds)?;
    let done =
        py.detach(|| flood(&mut source.0.lock(), &mut sink.0.lock(), (&ingress, &egress), window, time))?;
    Ok((done.frames, done.bytes, done.lost, done.nanos))
}

/// Frames there and back, one at a time, `count` times but no longer than `seconds`: nanoseconds each.
#[pyfunction]
pub fn load_echo(
    py: Python<'_>,
    near: &LoadFar,
    far: &LoadFar,
    count: usize,
    seconds: f64,
) -> PyResult<Vec<u64>> {
    let time = duration(seconds)?;
    Ok(py.detach(|| echo(&mut near.0.lock(), &mut far.0.lock(), count, time))?)
}

/// TCP from `source` to `sink` as fast as it goes: bytes that arrived, nanoseconds.
#[pyfunction]
pub fn load_bulk(py: Python<'_>, source: &LoadTcp, sink: &LoadTcp, seconds: f64) -> PyResult<(u64, u64)> {
    let time = duration(seconds)?;
    Ok(py.detach(|| bulk(&source.0, &sink.0, time))?)
}
