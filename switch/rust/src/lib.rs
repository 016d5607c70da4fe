//! The hall: a learning VLAN switch that does no I/O and knows no clock.
//!
//! Frames and a time come in, decisions come out. What a frame is made of, where its bytes lie and
//! how it leaves the house is the business of the doors (`nics`); who calls, and when, that of the
//! engine (`vnet`). Nothing here allocates, locks or makes a system call for a frame.
#![forbid(unsafe_code)]

mod account;
mod alike;
mod beyond;
mod classify;
pub mod config;
pub mod counters;
pub mod decision;
mod egress;
pub mod fdb;
pub mod groups;
pub mod guard;
mod handover;
mod headers;
pub mod lacp;
pub mod limits;
mod members;
pub mod multicast;
mod pairs;
mod parse;
pub mod private;
mod proxy;
pub mod reason;
pub mod snoop;
mod states;
pub mod stp;
mod switch;
pub mod twin;

pub use alike::Alike;
pub use config::{Native, PortConfig, PortMode, SwitchConfig, SwitchError, VlanMap, VlanSet};
pub use counters::{Counter, PortCounters};
pub use decision::{Came, Decision, Flood, Out, TagEdit, View};
pub use fdb::{FdbCount, FdbEntry, Flush, Kind, Mac};
pub use groups::{Connection, Groups, Judged, LookUp, Lookup, Rule};
pub use guard::{Guard, Roles};
pub use handover::Handover;
pub use limits::{Limit, Limits, Meter, Storm};
pub use private::{Place, Private};
pub use proxy::{Answer, Proxy, ProxyNetwork};
pub use reason::DropReason;
pub use snoop::Binding;
pub use switch::Switch;
pub use twin::Twin;

/// A port's number, unique in one engine. Decisions name ports by it.
pub type PortId = u16;

/// Nanoseconds since an epoch of the caller's choice; never goes back.
pub type Nanos = u64;

/// A VLAN id, 1..=4094 (IEEE 802.1Q clause 9.6).
pub type VlanId = u16;
