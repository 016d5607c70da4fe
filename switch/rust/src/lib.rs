//! The hall: a learning VLAN switch that does no I/O and knows no clock.
//!
//! Frames and a time come in, decisions come out. What a frame is made of, where its bytes lie and
//! how it leaves the house is the business of the doors (`nics`); who calls, and when, that of the
//! engine (`vnet`). Nothing here allocates, locks or makes a system call for a frame.
#![forbid(unsafe_code)]

pub mod config;
pub mod counters;
pub mod decision;
pub mod reason;

pub use config::{Native, PortConfig, PortMode, SwitchConfig, SwitchError, VlanSet};
pub use counters::{Counter, PortCounters};
pub use decision::{Decision, Out, TagEdit, View};
pub use reason::DropReason;

/// A port's number, unique in one engine. Decisions name ports by it.
pub type PortId = u16;

/// Nanoseconds since an epoch of the caller's choice; never goes back.
pub type Nanos = u64;

/// A VLAN id, 1..=4094 (IEEE 802.1Q clause 9.6).
pub type VlanId = u16;
