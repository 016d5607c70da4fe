//! What can be wrong with a command to the engine.

use nics::context::PORTS_MAX;
use std::{fmt, io};
use switch::SwitchError;

/// Why a port could not be added or changed.
#[derive(Debug)]
pub enum EngineError {
    /// All `PORTS_MAX` are taken.
    PortsExhausted,
    NoSuchPort,
    NoSuchSwitch,
    /// It still has ports.
    SwitchInUse,
    Switch(SwitchError),
    Io(io::Error),
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::PortsExhausted => write!(f, "all {PORTS_MAX} ports are taken"),
            EngineError::NoSuchPort => write!(f, "there is no such port"),
            EngineError::NoSuchSwitch => write!(f, "there is no such switch"),
            EngineError::SwitchInUse => write!(f, "the switch still has ports"),
            EngineError::Switch(e) => e.fmt(f),
            EngineError::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for EngineError {}

impl From<SwitchError> for EngineError {
    fn from(e: SwitchError) -> Self {
        EngineError::Switch(e)
    }
}

impl From<io::Error> for EngineError {
    fn from(e: io::Error) -> Self {
        EngineError::Io(e)
    }
}
