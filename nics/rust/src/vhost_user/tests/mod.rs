//! A guest of our own making at the other end, driven step by step: what works, and what hostile
//! guests and front-ends do.
#![allow(clippy::unwrap_used)]
#![cfg_attr(fuzzing, allow(dead_code, unused_imports))]

mod front;
#[cfg(test)]
mod functional;
mod fuzz;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod packed;

#[cfg(fuzzing)]
pub use fuzz::{Part, run};
