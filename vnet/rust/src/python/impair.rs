//! What a link does to frames one way, as Python says it.

use nics::link::Impair as Inner;
use nics::link::impair::{Aqm, Bursts, Queue, Spread};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

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
