//! The flight recorder for Python.

use super::capture::{BpfProgram, direction};
use super::engine::Engine;
use crate::recorder::{Past, Settings, Trigger};
use nics::output::duplicate;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::collections::BTreeMap;
use std::os::fd::RawFd;
use switch::{DropReason, Nanos, PortId, VlanId};

/// (reasons, over, per, pause): see `set_recorder`.
type TriggerTuple = (Vec<String>, u64, Nanos, Nanos);

fn trigger((reasons, over, per, pause): TriggerTuple) -> PyResult<Trigger> {
    let reason = |name: String| {
        let found = DropReason::ALL.iter().find(|reason| reason.name() == name);
        found.copied().ok_or_else(|| PyValueError::new_err(format!("there is no drop reason {name:?}")))
    };
    let reasons = reasons.into_iter().map(reason).collect::<PyResult<_>>()?;
    Ok(Trigger { reasons, over, per, pause })
}

/// How much is kept of what passes: `size` bytes a port and `total` in all, of each frame its first `snap`
/// bytes, 128 at most. `size` 0: nothing is. What was kept is forgotten if these change.
///
/// `triggers`: an event `trigger` comes with the number of one of them when a port drops more than `over`
/// frames for its `reasons` within `per` ns, and then not again for `pause` ns. Raises ValueError for a
/// reason that there is not.
#[pyfunction]
#[pyo3(signature = (engine, size, *, total, snap, triggers=Vec::new()))]
pub fn set_recorder(
    py: Python<'_>,
    engine: &Engine,
    size: usize,
    total: usize,
    snap: usize,
    triggers: Vec<TriggerTuple>,
) -> PyResult<()> {
    let triggers = triggers.into_iter().map(trigger).collect::<PyResult<_>>()?;
    let settings = Some(Settings { size, total, snap }).filter(|_| size > 0);
    engine.command(py, |engine| {
        engine.recorder().set(settings, triggers);
        Ok(())
    })
}

/// Write what was kept, as pcapng, to a duplicate of `fd`. Blocks; raises OSError.
///
/// `ports`: frames that came in at these, were sent to them or were refused there, None for all; `vlans`:
/// frames of these VLANs, too, each with the time from which on. `since`: from this time of the engine on. `count`: the latest so many.
/// The other arguments are those of `start_capture`. Counts `written`, `left_out` (frames in that time
/// that were counted and not kept), `unseen` (of which the filter would have had to see more), `bytes`;
/// `oldest` is the first frame's time, 0 without one.
#[pyfunction]
#[pyo3(signature = (
    engine, fd, *, ports, vlans=BTreeMap::new(), since=0, direction=None, drops=false, program=None, filter="",
    snaplen=128, count=None, epoch=0, hardware="", os="", application=""
))]
#[allow(clippy::too_many_arguments)]
pub fn write_past<'py>(
    py: Python<'py>,
    engine: &Engine,
    fd: RawFd,
    ports: Option<Vec<PortId>>,
    vlans: BTreeMap<VlanId, Nanos>,
    since: Nanos,
    direction: Option<&str>,
    drops: bool,
    program: Option<&BpfProgram>,
    filter: &str,
    snaplen: u32,
    count: Option<usize>,
    epoch: Nanos,
    hardware: &str,
    os: &str,
    application: &str,
) -> PyResult<Bound<'py, PyDict>> {
    let past = Past {
        ports,
        vlans,
        since,
        direction: self::direction(direction)?,
        drops_only: drops,
        program: program.map(|program| program.0.clone()),
        filter: filter.into(),
        snaplen,
        limit: count,
        epoch,
        hardware: hardware.into(),
        os: os.into(),
        application: application.into(),
    };
    let fd = duplicate(fd)?;
    let stats = py.detach(|| past.write(&engine.inner, fd))?;
    let dict = PyDict::new(py);
    for (name, count) in [
        ("written", stats.written),
        ("left_out", stats.left_out),
        ("unseen", stats.unseen),
        ("bytes", stats.bytes),
        ("oldest", stats.oldest),
    ] {
        dict.set_item(name, count)?;
    }
    Ok(dict)
}
