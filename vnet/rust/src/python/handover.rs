//! VLANs that pass to other networks, for Python.

use super::engine::Engine;
use pyo3::prelude::*;
use switch::Handover;

/// VLANs pass from their networks to others, and no port that is up carries them: what was learned in them is
/// forgotten, and what is on links in them lost. `handover`: each of them, and the VLAN that the network has instead, in
/// which it keeps the leases of its guests; None: it has none.
#[pyfunction]
pub fn hand_over(py: Python<'_>, engine: &Engine, handover: Handover) -> PyResult<()> {
    engine.command(py, |engine| {
        engine.hand_over(&handover);
        Ok(())
    })
}
