//! The command line.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub type Outcome = Result<String, Box<dyn Error>>;

/// What follows the first word.
#[derive(Debug, Default)]
pub struct Words {
    pub plain: Vec<String>,
    pub from: Vec<String>,
    address: Option<SocketAddr>,
    seconds: Option<f64>,
    pub rate: f64,
    payload: Option<usize>,
}

impl Words {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Words, Box<dyn Error>> {
        let mut found = Words::default();
        while let Some(word) = words.next() {
            if !word.starts_with("--") {
                found.plain.push(word);
                continue;
            }
            let value = words.next().ok_or(format!("{word} needs a value"))?;
            match word.as_str() {
                "--to" | "--at" => found.address = Some(value.parse()?),
                "--from" => found.from.push(value),
                "--seconds" => found.seconds = Some(value.parse()?),
                "--rate" => found.rate = value.parse()?,
                "--payload" => found.payload = Some(value.parse()?),
                _ => return Err(format!("what is {word}?").into()),
            }
        }
        Ok(found)
    }

    pub fn address(&self) -> Result<SocketAddr, Box<dyn Error>> {
        self.address.ok_or_else(|| "an address is missing: --to or --at".into())
    }

    /// A datagram's, which makes a frame of 64 bytes with its FCS.
    pub fn payload(&self) -> usize {
        self.payload.unwrap_or(18).min(65_000)
    }

    pub fn end(&self) -> Instant {
        Instant::now() + Duration::from_secs_f64(self.seconds.unwrap_or(2.0))
    }
}
