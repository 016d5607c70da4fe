//! Captures for Python.

use super::engine::Engine;
use crate::capture::writer::Handle;
use crate::capture::{CaptureId, PortInfo, Spec};
use nics::bpf::{Insn, Program};
use nics::output::duplicate;
use nics::pcapng::Direction;
use nics::rotation::{Limits, split};
use parking_lot::Mutex;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::fs::File;
use std::os::fd::RawFd;
use std::sync::Arc;
use switch::{Nanos, PortId, VlanId};

/// (code, jt, jf, k), as in libpcap's `struct bpf_insn`.
type InsnTuple = (u16, u8, u8, u32);

/// A verified BPF program. Raises ValueError for one that could do anything but end.
#[pyclass(frozen)]
pub struct BpfProgram(pub Program);

#[pymethods]
impl BpfProgram {
    #[new]
    #[allow(clippy::needless_pass_by_value)]
    fn new(instructions: Vec<InsnTuple>) -> PyResult<Self> {
        let insns: Vec<Insn> =
            instructions.iter().map(|&(code, jt, jf, k)| Insn { code, jt, jf, k }).collect();
        Program::new(&insns).map(BpfProgram).map_err(|e| PyValueError::new_err(e.to_string()))
    }

    /// How many bytes of the packet to keep, 0 to reject it. `length` is that on the wire.
    #[pyo3(signature = (data, length=None))]
    fn run(&self, data: &[u8], length: Option<u32>) -> u32 {
        match self.0.run(data, length.unwrap_or(data.len() as u32)) {
            nics::bpf::Verdict::Keep(n) => n,
            nics::bpf::Verdict::Reject | nics::bpf::Verdict::More => 0,
        }
    }
}

/// A running capture.
#[pyclass(frozen)]
pub struct CaptureHandle {
    engine: Arc<Mutex<crate::engine::Engine>>,
    id: CaptureId,
    handle: Arc<Handle>,
}

#[pymethods]
impl CaptureHandle {
    /// Have it look at these ports, and for frames of these VLANs at any port, instead of those that it had. One of
    /// all ports stays one.
    #[allow(clippy::needless_pass_by_value)]
    fn select(&self, py: Python<'_>, ports: Vec<PortId>, vlans: Vec<VlanId>) {
        let vlans = vlans.into_iter().collect();
        py.detach(|| self.engine.lock().captures().select(self.id, &ports, &vlans));
    }

    /// End it. What was captured is written on; `fileno()` tells when all is.
    fn stop(&self, py: Python<'_>) {
        py.detach(|| {
            let mut engine = self.engine.lock();
            let now = engine.now();
            engine.captures().stop(now, self.id);
        });
    }

    /// Readable once the capture has ended and all that will be written is.
    fn fileno(&self) -> RawFd {
        self.handle.fd()
    }

    /// Whether that is so.
    #[getter]
    fn ended(&self) -> bool {
        self.handle.has_ended()
    }

    /// What writing failed with: (error number or None, text).
    #[getter]
    fn error(&self) -> Option<(Option<i32>, String)> {
        self.handle.error()
    }

    /// Frames received at its ports, accepted by the filter, lost for want of room or time, and written;
    /// bytes in the file.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = PyDict::new(py);
        let handle = &self.handle;
        for (name, counter) in [
            ("received", &handle.received),
            ("accepted", &handle.accepted),
            ("lost", &handle.lost),
            ("written", &handle.written),
            ("bytes", &handle.bytes),
        ] {
            stats.set_item(name, counter.get())?;
        }
        Ok(stats)
    }
}

/// A direction by its word.
pub fn direction(word: Option<&str>) -> PyResult<Option<Direction>> {
    match word {
        None => Ok(None),
        Some("in") => Ok(Some(Direction::In)),
        Some("out") => Ok(Some(Direction::Out)),
        Some(_) => Err(PyValueError::new_err("direction is in, out or None")),
    }
}

/// Start a capture into a duplicate of `fd`. Raises OSError.
///
/// `ports` None: all, those to come included. `vlans`: frames of these VLANs at any port, too.
/// `direction`: `in` to the switch, `out` of it, None for both. `program`: the filter, `filter` its text.
/// `segment`: super-frames as the segments that a wire would see. `complete`: take as much of the engine's time as
/// it needs. `room`: bytes that may wait for the writer. `inline`: write regular files in the turn itself.
/// `epoch`: nanoseconds from the Unix epoch to the engine's time 0.
#[pyfunction]
#[pyo3(signature = (
    engine, fd, *, ports, vlans=Vec::new(), direction=None, drops=false, program=None, filter="", snaplen=Spec::SNAPLEN,
    segment=false, complete=false, count=None, room=Spec::ROOM, inline=false, epoch=0, hardware="", os="", application=""
))]
#[allow(clippy::too_many_arguments)]
pub fn start_capture(
    py: Python<'_>,
    engine: &Engine,
    fd: RawFd,
    ports: Option<Vec<PortId>>,
    vlans: Vec<VlanId>,
    direction: Option<&str>,
    drops: bool,
    program: Option<&BpfProgram>,
    filter: &str,
    snaplen: u32,
    segment: bool,
    complete: bool,
    count: Option<u64>,
    room: usize,
    inline: bool,
    epoch: Nanos,
    hardware: &str,
    os: &str,
    application: &str,
) -> PyResult<CaptureHandle> {
    let direction = self::direction(direction)?;
    let fd = duplicate(fd)?;
    let spec = Spec {
        all: ports.is_none(),
        ports: ports.unwrap_or_default(),
        vlans: vlans.into_iter().collect(),
        direction,
        drops_only: drops,
        program: program.map(|program| program.0.clone()),
        filter: filter.into(),
        snaplen,
        segment,
        complete,
        limit: count,
        room,
        inline,
        epoch,
        hardware: hardware.into(),
        os: os.into(),
        application: application.into(),
    };
    let (id, handle) = py.detach(|| {
        let mut inner = engine.inner.lock();
        let now = inner.now();
        inner.captures().start(now, spec, fd)
    })?;
    Ok(CaptureHandle { engine: engine.inner.clone(), id, handle })
}

/// Name a port for captures. `mac` as six bytes, `speed` in bits per second.
#[pyfunction]
#[pyo3(signature = (engine, port, name, description="", mac=None, speed=None))]
pub fn describe_port(
    py: Python<'_>,
    engine: &Engine,
    port: PortId,
    name: &str,
    description: &str,
    mac: Option<[u8; 6]>,
    speed: Option<u64>,
) {
    let info = PortInfo { name: name.into(), description: description.into(), mac, speed };
    py.detach(|| engine.inner.lock().captures().describe(port, info));
}

/// Copy a capture from `fd` into files until it ends, each of which stands by itself. `begin(number, time)`
/// opens file `number`, from 1, whose first packet has that time in nanoseconds, and returns a descriptor, which
/// stays its own. A file is full with `bytes`, `packets`, or `nanos` after its first
/// packet. Returns (files, packets, bytes) that were written. Raises OSError, and what `begin` raises.
#[pyfunction]
#[pyo3(signature = (fd, begin, *, bytes=None, nanos=None, packets=None))]
#[allow(clippy::needless_pass_by_value)]
pub fn split_capture(
    py: Python<'_>,
    fd: RawFd,
    begin: Py<PyAny>,
    bytes: Option<u64>,
    nanos: Option<Nanos>,
    packets: Option<u64>,
) -> PyResult<(u64, u64, u64)> {
    let mut from = File::from(duplicate(fd)?);
    let mut raised = None;
    let limits = Limits { bytes, nanos, packets };
    let done = py.detach(|| {
        split(&mut from, limits, |number, time| {
            let opened = Python::attach(|py| {
                let fd: RawFd = begin.call1(py, (number, time))?.extract(py)?;
                PyResult::Ok(File::from(duplicate(fd)?))
            });
            opened.map_err(|error| {
                raised = Some(error);
                std::io::Error::other("no file")
            })
        })
    });
    if let Some(error) = raised {
        return Err(error);
    }
    let written = done?;
    Ok((written.files, written.packets, written.bytes))
}
