//! Guests on a simulated wire, in virtual time.
#![allow(clippy::unwrap_used)]

mod ending;
mod hostile;
mod link;
mod sim;
mod tcp;
mod udp;
