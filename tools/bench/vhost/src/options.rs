//! The command line.

use crate::front::HEADER;
use std::path::PathBuf;

pub const USAGE: &str = "\
usage: vhost-load --socket A --socket B [--socket IDLE]... [options]
  --mode uni|both|latency  one way, both ways, or one frame at a time (uni)
  --mode pairs             one way from the first to the second, from the third to the fourth, and so on
  --mode wake              one frame every 3 ms, so that the switch sleeps in between
  --mode idle              connected, and nothing else, for --seconds or until killed
  --mode copy              no switch: what one core can copy between such buffers
  --mode bare-wake         no switch: how long a thread on the core of --other takes to wake, asleep as long as for wake
  --mode distance          no switch, no sockets: how long a line takes to the core of --other and back
  --size N       bytes of each frame, without FCS (60)
  --macs N       pairs of addresses (1)
  --flows N      with --touch: source ports that are used in turn, from 1024 on (1)
  --seconds N    how long to measure (2)
  --touch        write the beginning of each frame sent, read that of each one received
  --check        compare every byte received (slow)
  --segments N   descriptors of each frame sent: 1, or a header alone and the rest in N - 1
  --apart        what these describe does not lie side by side in memory
  --buffer N     bytes of each receive buffer (as Linux has them for frames of the size)
  --gso          TCP super-frames: the size may be up to 65,000
  --ring N       entries of each ring (1024)
  --sources N    buffers that frames are sent from in turn, if they are more than the ring holds (one segment each)
  --rotate N     receive buffers in rotation, if they are more than the ring holds
  --tag N        802.1Q VLAN id that the first guest's frames carry
  --cpu N        core to run on (0)
  --other N      core that the switch runs on (1), for --mode distance and bare-wake";

/// A cache line.
pub const LINE: usize = 64;
/// What a guest of Linux has receive buffers for at least: Ethernet header, tag, and 1,500 bytes.
const LEAST: usize = 1518;
/// At most a buffer is a page.
const PAGE: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    OneWay,
    Both,
    Pairs,
    Latency,
    Wake,
    Idle,
    Copy,
    BareWake,
    Distance,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub sockets: Vec<PathBuf>,
    pub mode: Mode,
    pub size: usize,
    pub macs: usize,
    pub flows: usize,
    pub seconds: f64,
    pub touch: bool,
    pub check: bool,
    pub segments: usize,
    pub apart: bool,
    pub buffer: usize,
    pub gso: bool,
    pub ring: usize,
    pub sources: usize,
    pub rotate: usize,
    pub tag: Option<u16>,
    pub cpu: usize,
    pub other: usize,
}

impl Options {
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            sockets: vec![],
            mode: Mode::OneWay,
            size: 60,
            macs: 1,
            flows: 1,
            seconds: 2.0,
            touch: false,
            check: false,
            segments: 1,
            apart: false,
            buffer: 0,
            gso: false,
            ring: 1024,
            sources: 0,
            rotate: 0,
            tag: None,
            cpu: 0,
            other: 1,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            match word.as_str() {
                "--socket" => options.sockets.push(value()?.into()),
                "--mode" => {
                    options.mode = match value()?.as_str() {
                        "uni" => Mode::OneWay,
                        "both" => Mode::Both,
                        "pairs" => Mode::Pairs,
                        "latency" => Mode::Latency,
                        "wake" => Mode::Wake,
                        "idle" => Mode::Idle,
                        "copy" => Mode::Copy,
                        "bare-wake" => Mode::BareWake,
                        "distance" => Mode::Distance,
                        other => return Err(format!("what is mode {other}?")),
                    }
                }
                "--size" => options.size = number(&value()?)?,
                "--macs" => options.macs = number(&value()?)?,
                "--flows" => options.flows = number(&value()?)?,
                "--seconds" => options.seconds = value()?.parse().map_err(|_| "seconds are a number")?,
                "--touch" => options.touch = true,
                "--check" => options.check = true,
                "--segments" => options.segments = number(&value()?)?,
                "--buffer" => options.buffer = number(&value()?)?,
                "--gso" => options.gso = true,
                "--apart" => options.apart = true,
                "--ring" => options.ring = number(&value()?)?,
                "--sources" => options.sources = number(&value()?)?,
                "--rotate" => options.rotate = number(&value()?)?,
                "--tag" => options.tag = Some(number(&value()?)? as u16),
                "--cpu" => options.cpu = number(&value()?)?,
                "--other" => options.other = number(&value()?)?,
                other => return Err(format!("what is {other}?")),
            }
        }
        if options.buffer == 0 {
            options.buffer = mergeable(options.size);
        }
        let most = if options.gso || options.mode == Mode::Copy { 65_000 } else { 60_000 };
        if options.sockets.len() < 2 && !matches!(options.mode, Mode::Distance | Mode::BareWake)
            || !options.sockets.len().is_multiple_of(2) && options.mode == Mode::Pairs
        {
            return Err("two sockets at least, and an even number for pairs".into());
        }
        if !(60..=most).contains(&options.size) || options.buffer < 128 || options.buffer > 65_600 {
            return Err("a size or buffer that can't be".into());
        }
        if !options.ring.is_power_of_two() || !(16..=4096).contains(&options.ring) {
            return Err("a ring has 16 to 4096 entries, a power of two".into());
        }
        if options.rotate > 1 << 16 || options.sources > 1 << 16 {
            return Err("65536 buffers at most".into());
        }
        if options.sources > 0 && (options.segments > 1 || options.sources < options.ring) {
            return Err("more sources than the ring holds, with one segment each".into());
        }
        if !(1..=16).contains(&options.segments) || !options.segments.is_power_of_two() {
            return Err("1, 2, 4, 8 or 16 segments".into());
        }
        if !(1..=60_000).contains(&options.flows)
            || options.flows > 1 && (!options.touch || options.tag.is_some())
        {
            return Err("1 to 60000 flows, with --touch and without --tag".into());
        }
        if !(1..=options.ring / options.segments).contains(&options.macs) {
            return Err("no more addresses than frames in a ring".into());
        }
        Ok(options)
    }
}

impl Options {
    /// How many buffers a guest sends from.
    pub fn frames(&self) -> usize {
        self.sources.max(self.ring / self.segments)
    }

    /// How many receive buffers it has.
    pub fn buffers(&self) -> usize {
        self.rotate.max(self.ring)
    }

    /// How many of the guests send or receive.
    pub fn busy(&self) -> usize {
        if self.mode == Mode::Pairs { self.sockets.len() } else { 2 }
    }
}

/// The buffers that a guest of Linux posts once frames of this size have come in for a while.
fn mergeable(size: usize) -> usize {
    (HEADER + size.clamp(LEAST, PAGE - HEADER)).next_multiple_of(LINE)
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
