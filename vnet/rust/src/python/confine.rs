//! Confinement of the process, once its doors are open; see `nics/rust/src/confine/`.

use nics::confine::{self, Access, Plan, Rule};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::os::fd::{AsFd, IntoRawFd};
use std::path::PathBuf;

/// (Landlock's version, calls are filtered, no new code, threads, descriptor).
type Told = (i32, bool, bool, usize, i32);

/// Confine every thread of this process, for good; after an error it is to end.
///
/// `capabilities`: numbers of those that are kept. `rules`: (path, `read`, `write`, `own`, `sockets`,
/// `prune` or `device`) each. `bind`, `connect`: TCP ports. `families`: of new sockets. `calls`: names of system
/// calls beyond the usual ones. Raises OSError.
#[pyfunction]
#[pyo3(signature = (*, capabilities, rules, bind, connect, abstract_sockets, families, calls))]
#[expect(clippy::too_many_arguments, reason = "all by name")]
pub fn confine_process(
    py: Python<'_>,
    capabilities: Vec<u8>,
    rules: Vec<(PathBuf, String)>,
    bind: Vec<u16>,
    connect: Vec<u16>,
    abstract_sockets: bool,
    families: Vec<i32>,
    calls: Vec<String>,
) -> PyResult<Told> {
    let unknown = |what: &str, found: &str| PyValueError::new_err(format!("{what} {found:?}"));
    let mut plan = Plan { bind, connect, abstract_sockets, families, ..Plan::default() };
    for bit in capabilities {
        plan.capabilities |= 1_u64.checked_shl(bit.into()).unwrap_or(0);
    }
    for (path, access) in rules {
        let access = match access.as_str() {
            "read" => Access::Read,
            "write" => Access::Write,
            "own" => Access::Own,
            "sockets" => Access::Sockets,
            "prune" => Access::Prune,
            "device" => Access::Device,
            other => return Err(unknown("no such access:", other)),
        };
        plan.rules.push(Rule { path, access });
    }
    for wanted in calls {
        let known = confine::MORE.iter().find(|(name, _)| name.strip_prefix("SYS_") == Some(&wanted));
        plan.calls.push(known.ok_or_else(|| unknown("a call that can't be kept:", &wanted))?.1);
    }
    let done = py.detach(|| confine::confine(&plan))?;
    let descriptor = done.refused.as_fd().try_clone_to_owned()?.into_raw_fd();
    Ok((done.landlock, done.filtered, done.no_new_code, done.threads, descriptor))
}

/// System calls that were refused since: (name, how often) each.
#[pyfunction]
pub fn refused_calls() -> Vec<(String, u64)> {
    let told = |number| confine::name(number).map_or_else(|| format!("number {number}"), str::to_owned);
    confine::refused().into_iter().map(|(number, count)| (told(number), count)).collect()
}

/// Version of this kernel's Landlock, 0 without; whether it can keep memory that was writable from being
/// run.
#[pyfunction]
pub fn confinement_offered() -> (i32, bool) {
    (confine::landlock_version(), confine::no_new_code().is_some())
}
