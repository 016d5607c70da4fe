//! What a guest does with split rings.
#![no_main]

use nics::vhost_user::tests::{Part, run};
use std::sync::atomic::{AtomicU64, Ordering};

const MANY: u64 = 500_000;
static STEPS: AtomicU64 = AtomicU64::new(0);

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let now = run(bytes, Part::Split);
    let before = STEPS.fetch_add(now, Ordering::Relaxed);
    if before / MANY < (before + now) / MANY {
        eprintln!("{} steps", (before + now) / MANY * MANY);
    }
});
