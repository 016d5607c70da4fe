//! What a link does to frames one way, as Python says it.

use super::engine::Engine;
use nics::link::Impair as Inner;
use nics::link::Step;
use nics::link::impair::{Aqm, Bursts, Queue, Spread};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use switch::{Nanos, PortId};

/// What happens to frames one way. Times in nanoseconds, shares in millionths, `rate` in bit/s (0:
/// any), `mtu` in bytes (0: any). `bursts`: (begin, end, loss); `codel`: (target, interval), left out
/// for tail drop.
#[pyclass(frozen, eq)]
#[derive(Clone, PartialEq, Eq)]
pub struct Impair(pub Inner);

#[pymethods]
impl Impair {
    #[new]
    #[pyo3(signature = (*, delay=0, jitter=0, spread="uniform", loss=0, bursts=None, duplicate=0, reorder=0,
        corrupt=0, rate=0, queue_packets=1000, queue_bytes=0, codel=None, mtu=0))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        delay: u64,
        jitter: u64,
        spread: &str,
        loss: u32,
        bursts: Option<(u32, u32, u32)>,
        duplicate: u32,
        reorder: u32,
        corrupt: u32,
        rate: u64,
        queue_packets: u32,
        queue_bytes: u64,
        codel: Option<(u64, u64)>,
        mtu: u32,
    ) -> PyResult<Self> {
        let spread = match spread {
            "uniform" => Spread::Uniform,
            "normal" => Spread::Normal,
            "pareto" => Spread::Pareto,
            _ => return Err(PyValueError::new_err("spread is uniform, normal or pareto")),
        };
        let aqm = codel.map_or(Aqm::Tail, |(target, interval)| Aqm::Codel { target, interval });
        Ok(Impair(Inner {
            delay,
            jitter,
            spread,
            loss,
            bursts: bursts.map(|(begin, end, loss)| Bursts { begin, end, loss }),
            duplicate,
            reorder,
            corrupt,
            rate,
            queue: Queue { packets: queue_packets, bytes: queue_bytes, aqm },
            mtu,
        }))
    }

    fn __repr__(&self) -> String {
        format!("{:?}", self.0)
    }
}

/// What holds of a cable from when on: (time, one way, the other, whole).
pub type Steps = Vec<(Nanos, Py<Impair>, Py<Impair>, bool)>;

/// The first step, and what follows.
pub fn steps(steps: Steps) -> PyResult<(Step, Vec<Step>)> {
    let mut steps = steps.into_iter().map(|(at, one, other, up)| {
        let ways = [one, other].map(|impair| impair.get().0.clone());
        Step { at, ways, up }
    });
    let first = steps.next().ok_or_else(|| PyValueError::new_err("there is no step for now"))?;
    Ok((first, steps.collect()))
}

/// What the cable of a guest's NIC is like now, and from which times on: see `Engine.set_impair`, with what
/// the guest sends first.
#[pyfunction]
pub fn set_cord(
    py: Python<'_>,
    engine: &Engine,
    port: PortId,
    seed: (u64, u64),
    now: Nanos,
    steps: Steps,
) -> PyResult<()> {
    let (first, then) = self::steps(steps)?;
    engine.command(py, |engine| engine.set_cord(port, [seed.0, seed.1], first, then, now))
}

/// Whether the cable of a guest's NIC is whole, or cut by its schedule.
#[pyfunction]
pub fn cord_up(py: Python<'_>, engine: &Engine, port: PortId) -> PyResult<bool> {
    engine.command(py, |engine| Ok(engine.cord_up(port)))
}
