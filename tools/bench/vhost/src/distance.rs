//! How far apart two cores are: how long a cache line takes from one to the other and back.
//!
//! A virtual machine's cores need not stay where they are: a host moves them about, and when they share no cache a line
//! takes several times as long. Whatever two cores do together is then slower, whoever switches.

use crate::load::pin;
use crate::options::Options;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Round trips that are measured as one: short enough that most are not interrupted.
const BATCH: u64 = 100;

/// On a line of its own; and not beside one that is fetched along with it.
#[repr(align(256))]
struct Line(AtomicU64);

/// The shortest of all batches in `--seconds`.
pub fn measure(options: &Options) -> io::Result<String> {
    pin(options.cpu)?;
    let (ball, over) = (Line(AtomicU64::new(0)), AtomicBool::new(false));
    let best = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(options.other)?;
            while !over.load(Ordering::Relaxed) {
                let at = ball.0.load(Ordering::Acquire);
                if at % 2 == 1 {
                    ball.0.store(at + 1, Ordering::Release);
                }
            }
            io::Result::Ok(())
        });
        let end = Instant::now() + Duration::from_secs_f64(options.seconds);
        let (mut best, mut at) = (Duration::MAX, 0);
        while Instant::now() < end && !other.is_finished() {
            let begun = Instant::now();
            for _ in 0..BATCH {
                ball.0.store(at + 1, Ordering::Release);
                while ball.0.load(Ordering::Acquire) == at + 1 && !other.is_finished() {}
                at += 2;
            }
            best = best.min(begun.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        match other.join() {
            Ok(done) => done.map(|()| best),
            Err(_) => Err(io::Error::other("the other thread ended")),
        }
    })?;
    Ok(format!("{{\"round_trip_ns\": {:.1}}}", best.as_nanos() as f64 / BATCH as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_takes_some_time_there_and_back() {
        let words = ["--mode", "distance", "--seconds", "0.01"].map(String::from);
        let told = Options::parse(words.into_iter()).map(|options| measure(&options));
        let two = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        match told {
            Ok(Ok(line)) => assert!(line.starts_with("{\"round_trip_ns\": "), "{line}"),
            // There is no core 1.
            other => assert!(!two, "{other:?}"),
        }
    }
}
