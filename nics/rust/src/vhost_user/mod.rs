//! `vhost-user`: NICs of virtual machines whose memory we see.
//!
//! The guest's driver puts descriptors of its buffers into rings in its own memory; the front-end
//! (QEMU, cloud-hypervisor, crosvm, DPDK's virtio-user, ...) tells us over a socket where that memory
//! and the rings are, and hands us eventfds to be woken and to interrupt by. From then on frames go
//! from guest memory to guest memory with one copy, and the front-end is not involved.
//!
//! Reading order:
//!  * `protocol.rs`, `socket.rs`: what the front-end says, and how it gets here in whole requests (the
//!    connection itself is that of all socket doors, `nics::socket`, and so is what becomes of
//!    descriptors that it sent);
//!  * `offer.rs`, `session.rs`, `queue.rs`: what it may choose from, and what follows from it;
//!  * `memory.rs`, `mapping.rs`, `fault.rs`: guest memory, and what happens when it goes away;
//!  * `ring.rs`, `chain.rs`, `split.rs`, `packed.rs`, `vring.rs`: buffers out of rings and back into them;
//!  * `rx.rs`, `tx.rs`, `scattered.rs`, `copy.rs`, `steer.rs`: frames out of buffers, frames into buffers;
//!  * `inflight.rs`, `log.rs`, `eventfd.rs`: what a restart and a migration need, and notifications;
//!  * `nic.rs`: all of it together as a door.
//!
//! **Whom we trust.** The guest: nothing at all. Everything in its memory may be a lie and may change
//! while we look; see `frame.rs` and `split.rs` for how that is met. The front-end, which may have
//! been taken over by its guest: to be a process of the same owner that is told nothing and given
//! nothing of other guests. Its requests are checked, its memory must be memory (a file on FUSE could
//! stop us at any access), its eventfds must be eventfds, and all it holds of ours is bounded: 256
//! regions, 1 TiB (of 64 TiB for all devices), as much that is still to be unmapped, a few descriptors a
//! queue.
//!
//! **Why not the `vhost` and `virtio-queue` crates.** The first reads blocking, whole messages from
//! the socket, which lets a front-end that stops in the middle stop the engine; see `socket.rs`. The
//! second translates an address at every access and makes an iterator a chain; here a ring keeps
//! validated pointers, and a burst is walked in one loop.

mod chain;
mod copy;
mod eventfd;
mod fault;
mod inflight;
mod log;
mod mapping;
mod memory;
mod nic;
mod offer;
mod packed;
mod patience;
mod protocol;
mod queue;
mod ring;
mod rx;
mod scattered;
mod session;
mod socket;
mod split;
mod steer;
// `cargo fuzz` needs its guests, too.
#[cfg(any(test, fuzzing))]
pub mod tests;
mod tx;
mod vring;

pub use nic::{Config, VhostUser};
