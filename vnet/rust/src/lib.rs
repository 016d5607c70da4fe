//! The engine of vnet, and with the feature `python` its face as `vnet._native`.
#![deny(unsafe_code)]

pub mod capture;
pub mod engine;
pub mod flows;
pub mod mirror;
#[cfg(feature = "python")]
mod python;
pub mod recorder;
