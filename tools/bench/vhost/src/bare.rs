//! How long it takes to wake a thread that sleeps, and nothing else: no switch is faster that its guest has to wake first.
//!
//! In a virtual machine a core that has nothing to do is given back to the host: so most of it is how long the host takes
//! to give it again.

use crate::load::pin;
use crate::options::Options;
use crate::times::Times;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// From a write on one core to the return from a read on the other, by the clock of the first.
pub fn wake(options: &Options) -> io::Result<String> {
    pin(options.cpu)?;
    let (mut bell, mut ear) = UnixStream::pair()?;
    let heard = AtomicU64::new(0);
    let mut times = Times::default();
    std::thread::scope(|scope| {
        let sleeper = scope.spawn(|| {
            pin(options.other)?;
            // Until the bell is gone.
            while ear.read(&mut [0])? > 0 {
                heard.fetch_add(1, Ordering::Release);
            }
            io::Result::Ok(())
        });
        let end = Instant::now() + Duration::from_secs_f64(options.seconds);
        while Instant::now() < end && !sleeper.is_finished() {
            // Its core rests as long as in `--mode wake`.
            let rung = Instant::now() + Times::between_wakes(times.len());
            while Instant::now() < rung {
                std::hint::spin_loop();
            }
            let (before, start) = (heard.load(Ordering::Acquire), Instant::now());
            bell.write_all(&[1])?;
            while heard.load(Ordering::Acquire) == before && !sleeper.is_finished() {
                std::hint::spin_loop();
            }
            times.push(start.elapsed());
        }
        drop(bell);
        sleeper.join().unwrap_or_else(|_| Err(io::Error::other("the other thread ended")))
    })?;
    Ok(times.told(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleeper_takes_some_time_to_wake() {
        let words = ["--mode", "bare-wake", "--seconds", "0.01"].map(String::from);
        let told = Options::parse(words.into_iter()).map(|options| wake(&options));
        let two = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
        match told {
            Ok(Ok(line)) => assert!(line.starts_with("{\"p50_us\": "), "{line}"),
            // There is no core 1.
            other => assert!(!two, "{other:?}"),
        }
    }
}
