//! The doors: each kind of NIC in a file of its own, and what passes through them.
//!
//! A door turns what its guest or interface speaks into bursts of [`Frame`]s and back. The engine
//! (`vnet`) calls it; it calls nobody. See [`Nic`] for the contract and `frame.rs` for who owns
//! which bytes for how long.

pub mod backoff;
pub mod bond;
pub mod bpf;
pub mod bytering;
pub mod cache;
pub mod clock;
#[cfg(target_arch = "x86_64")]
mod compare;
pub mod confine;
pub mod context;
pub mod dgram;
pub mod error;
pub mod fair;
pub mod frame;
pub mod inside;
pub mod link;
pub mod load;
pub mod nic;
pub mod offload;
pub mod origin;
pub mod outgoing;
pub mod output;
pub mod packet;
pub mod pages;
pub mod pcap;
pub mod pcapng;
pub mod pipe;
pub mod poller;
pub mod rotation;
pub mod socket;
pub mod stack;
pub mod stream;
pub mod tap;
#[cfg(any(test, fuzzing, feature = "testkit"))]
pub mod testkit;
mod told;
pub mod vde;
pub mod vhost_user;
pub mod writer;
pub mod xdp;

pub use context::{Context, Event, EventKind, Events, Waker};
pub use error::OpenError;
pub use frame::{Arena, BURST, Burst, Frame, HEAD, HeadScratch, Seg, TxFrame};
pub use nic::{Caps, FEW, Nic, Rx, TxReport};
pub use offload::{Completer, Offload};
pub use origin::{Origin, Origins};
pub use poller::{Interest, Poller, Readiness};
