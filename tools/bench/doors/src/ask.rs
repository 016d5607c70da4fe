//! Requests and answers over TCP, a byte each.

use crate::words::{Outcome, Words};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

/// Most answers that are noted.
const MOST: usize = 4_000_000;

pub fn serve(words: &Words) -> Outcome {
    let listener = TcpListener::bind(words.address()?)?;
    println!("ready");
    loop {
        let (stream, _) = listener.accept()?;
        std::thread::spawn(move || {
            let _ = answer(stream);
        });
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = [0; 4096];
    loop {
        let n = stream.read(&mut bytes)?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&bytes[..n])?;
    }
}

pub fn ask(words: &Words) -> Outcome {
    let mut stream = TcpStream::connect(words.address()?)?;
    stream.set_nodelay(true)?;
    let (begun, end) = (Instant::now(), words.end());
    let mut took = Vec::with_capacity(MOST);
    let mut before = begun;
    while before < end && took.len() < MOST {
        stream.write_all(&[7])?;
        stream.read_exact(&mut [0])?;
        let now = Instant::now();
        took.push((now - before).as_secs_f64() * 1e6);
        before = now;
    }
    let rate = took.len() as f64 / (before - begun).as_secs_f64();
    took.sort_unstable_by(f64::total_cmp);
    let quantile = |q: f64| took.get((took.len() as f64 * q) as usize).copied().unwrap_or(0.0);
    let (p50, p99) = (quantile(0.5), quantile(0.99));
    Ok(format!("{{\"rate\": {rate:.0}, \"p50_us\": {p50:.2}, \"p99_us\": {p99:.2}}}"))
}
