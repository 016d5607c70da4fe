//! A guest of our own making at the other end, driven step by step: what works, and what hostile
//! guests and front-ends do.
#![allow(clippy::unwrap_used)]

mod front;
mod functional;
mod fuzz;
mod hostile;
mod messages;
mod packed;
