//! How long each of many took.

use std::time::Duration;

/// Times, in microseconds.
#[derive(Debug, Default)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn push(&mut self, time: Duration) {
        self.0.push(time.as_nanos() as f64 / 1e3);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// For how long whoever is to be woken for the `n`th time is left alone before.
    pub fn between_wakes(n: usize) -> Duration {
        Duration::from_micros(3000 + n as u64 % 7 * 100)
    }

    /// One JSON object. So many never came.
    pub fn told(mut self, lost: u64) -> String {
        let times = &mut self.0;
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(0.0);
        format!(
            "{{\"p50_us\": {:.3}, \"p99_us\": {:.3}, \"p999_us\": {:.3}, \"most_us\": {:.3}, \"frames\": {}, \"lost\": {lost}}}",
            at(0.5),
            at(0.99),
            at(0.999),
            times.last().copied().unwrap_or(0.0),
            times.len()
        )
    }
}
