//! A guest of our own making at the other end, driven step by step: what works, and what hostile
//! guests and front-ends do.
#![allow(clippy::unwrap_used)]
#![cfg_attr(fuzzing, allow(dead_code, unused_imports))]

#[cfg(test)]
mod bounds;
mod driver;
#[cfg(test)]
mod frames;
mod front;
mod fuzz;
mod host;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod negotiated;
#[cfg(test)]
mod packed;
#[cfg(test)]
mod restarts;
#[cfg(test)]
mod rings;
#[cfg(test)]
mod waits;

#[cfg(fuzzing)]
pub use fuzz::{Part, run};
