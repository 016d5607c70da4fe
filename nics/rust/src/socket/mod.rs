//! Sockets, as the doors need them: addresses from a topology file, socket files that are claimed and
//! given back, one connection kept alive, and calls that move a burst at a time. Nothing here blocks.

pub mod calls;
pub mod claim;
pub mod closing;
pub mod connection;
pub mod datagrams;
pub mod endpoint;
pub mod many;
pub mod names;

pub use claim::Claim;
pub use connection::{Connection, Descriptors, Role, Step};
pub use endpoint::Endpoint;
