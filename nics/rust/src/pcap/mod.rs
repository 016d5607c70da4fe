//! `pcap`: plays a capture into the switch, and records what comes out of it.
//!
//! Playing keeps the file's own timing (`speed` 1), scaled or as fast as possible; its clock starts
//! with the first tick. Packets that can't be frames of ours are left out: ones that a snaplen has cut
//! are counted as `door-malformed` and told in the end, with those of other link types.
//!
//! Neither side touches a file in the turn, except in virtual time, where the same run must give the
//! same bytes: then files are read and written in the turn itself.

mod parse;
mod read;
mod record;
#[cfg(test)]
mod tests;

use crate::context::{Context, EventKind};
use crate::error::OpenError;
use crate::frame::{Arena, BURST, Burst, FRAME_MAX, Frame, TxFrame};
use crate::nic::{Caps, Nic, Rx, TxReport};
use crate::offload::Offload;
use crate::poller::Readiness;
use crate::socket::claim::plain;
use crate::writer::Handle;
use read::{Chunk, End, Reader, Shared, Source, Supply};
use record::Recorder;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use switch::{DropReason, Nanos};

/// What a pcap door plays and records.
#[derive(Debug, Default)]
pub struct Spec {
    /// The capture to play, and where to record to.
    pub read: Option<OwnedFd>,
    pub write: Option<OwnedFd>,
    /// How many times as fast as recorded; 0: as fast as possible.
    pub speed: f64,
    /// Name of the interface in the recording, and of the program that recorded.
    pub name: String,
    pub application: String,
    /// Virtual time: nanoseconds from the Unix epoch to time 0. Files are read and written in the
    /// turn then. `None`: real time.
    pub epoch: Option<Nanos>,
}

/// A pcap door's files, which may need a moment after the door is gone.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub reader: Option<Arc<Shared>>,
    pub writer: Option<Arc<Handle>>,
}

/// A `pcap` door.
#[derive(Debug)]
pub struct PcapNic {
    reader: Option<Reader>,
    source: Source,
    chunk: Option<Chunk>,
    speed: f64,
    clock: Clock,
    recorder: Option<Recorder>,
    files: Files,
    left_out: [u64; 3],
    malformed: u64,
    cx: Option<Context>,
    link: bool,
    virtual_time: bool,
}

/// When the next frame is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    /// Playing has not begun: wait for the first tick.
    Ready(Nanos),
    /// Running: file time `first` is our time `start`.
    Running { start: Nanos, first: Option<u64>, due: Option<Nanos> },
    /// There is nothing (more) to play.
    Over,
}

impl PcapNic {
    /// Open the files' descriptors as a door. A capture that is none, or not one of Ethernet, is
    /// refused here if it is a regular file; what comes out of a FIFO can only be told of later.
    pub fn open(spec: Spec) -> Result<(Self, Files), OpenError> {
        let failed = |e: io::Error| OpenError::new(plain(&e), "");
        let (mut reader, mut chunk) = (spec.read.map(Reader::new).transpose().map_err(failed)?, None);
        if let Some(reader) = reader.as_mut().filter(|reader| reader.is_regular()) {
            chunk = reader.fill(Chunk::default(), None);
            if let Some(End::Broken(why)) =
                chunk.as_ref().filter(|c| c.next().is_none()).and_then(|c| c.end.as_ref())
            {
                return Err(OpenError::new(
                    format!("it can't be played: {why}"),
                    "give a pcap or pcapng file",
                ));
            }
        }
        let mut files = Files::default();
        let virtual_time = spec.epoch.is_some();
        let recorder = match spec.write {
            Some(fd) => {
                // Only now, when what is to be played has turned out to be playable.
                let file = File::from(fd);
                if file.metadata().map_err(failed)?.is_file() {
                    file.set_len(0).map_err(failed)?;
                }
                let fd = file.into();
                let (recorder, handle) =
                    Recorder::open(fd, &spec.name, &spec.application, spec.epoch).map_err(failed)?;
                files.writer = Some(handle);
                Some(recorder)
            }
            None => None,
        };
        if reader.is_some() {
            files.reader = Some(Shared::new().map_err(failed)?);
        }
        let mut nic = PcapNic {
            reader,
            source: Source::None,
            chunk,
            speed: spec.speed,
            clock: Clock::Over,
            recorder,
            files: files.clone(),
            left_out: [0; 3],
            malformed: 0,
            cx: None,
            link: true,
            virtual_time,
        };
        nic.account();
        Ok((nic, files))
    }

    fn log(&self, line: String) {
        if let Some(cx) = &self.cx {
            cx.log(line);
        }
    }

    /// See to it that the current chunk has a frame. False: there is none now, or none any more.
    fn provide(&mut self) -> bool {
        loop {
            if let Some(chunk) = &mut self.chunk {
                if chunk.next().is_some() {
                    return true;
                }
                if let Some(end) = chunk.end.take() {
                    self.finish(&end);
                    return false;
                }
            }
            match self.source.next(&mut self.chunk) {
                Supply::There => self.account(),
                Supply::Later => return false,
                Supply::Busy => {
                    if let Some(cx) = &self.cx {
                        cx.kick();
                    }
                    return false;
                }
            }
        }
    }

    /// A new chunk is there: count what it leaves out.
    fn account(&mut self) {
        let left_out = self.chunk.as_ref().map_or([0; 3], |chunk| chunk.left_out);
        for (sum, n) in self.left_out.iter_mut().zip(left_out) {
            *sum += n;
            self.malformed += n;
        }
    }

    /// The file is at its end.
    fn finish(&mut self, end: &End) {
        self.clock = Clock::Over;
        let left_out = read::told(self.left_out);
        if !left_out.is_empty() {
            self.log(format!("packets of the capture were left out: {left_out}"));
        }
        if let End::Broken(why) = end {
            self.log(format!("the capture can't be played any further: {why}"));
        }
    }

    /// When the frame of file time `time` is due.
    fn due(&mut self, time: u64, now: Nanos) -> Nanos {
        let Clock::Running { start, first, .. } = &mut self.clock else { return now };
        if self.speed <= 0.0 {
            return now;
        }
        let since = time.saturating_sub(*first.get_or_insert(time));
        // As a float it saturates instead of wrapping; what is lost is below a microsecond a day.
        let scaled = if self.speed == 1.0 { since } else { (since as f64 / self.speed) as u64 };
        start.saturating_add(scaled)
    }
}

impl Nic for PcapNic {
    fn kind(&self) -> &'static str {
        "pcap"
    }

    fn caps(&self) -> Caps {
        Caps::plain(FRAME_MAX as u32)
    }

    fn carrier(&self) -> bool {
        self.link
    }

    fn set_link(&mut self, up: bool, _now: Nanos) {
        if self.link != up {
            self.link = up;
            if let Some(cx) = &self.cx {
                cx.event(EventKind::Carrier(up));
            }
        }
    }

    fn attach(&mut self, cx: Context, now: Nanos) -> io::Result<()> {
        if let Some(reader) = self.reader.take() {
            if self.chunk.as_ref().is_some_and(|chunk| chunk.end.is_some()) {
                // All of it was read when it was opened.
            } else if self.virtual_time && reader.is_regular() {
                self.source = Source::Inline(Box::new(reader));
            } else if let Some(shared) = &self.files.reader {
                shared.start(reader, cx.clone())?;
                self.source = Source::Thread(shared.clone());
            }
            self.clock = Clock::Ready(now);
        }
        self.cx = Some(cx);
        Ok(())
    }

    fn detach(&mut self) {
        self.clock = Clock::Over;
        if let Some(shared) = self.files.reader.take() {
            match std::mem::replace(&mut self.source, Source::None) {
                Source::Thread(_) => shared.stop(),
                _ => shared.never_mind(),
            }
        }
        self.reader = None;
        if let Some(mut recorder) = self.recorder.take() {
            recorder.close();
        }
        self.cx = None;
    }

    fn ready(&mut self, _sub: u16, _readiness: Readiness, _now: Nanos) -> bool {
        true
    }

    fn rx_burst<'a>(&'a mut self, now: Nanos, _arena: &'a mut Arena, burst: &mut Burst<'a>) -> Rx {
        if !matches!(self.clock, Clock::Running { .. }) {
            return Rx::Idle;
        }
        let mut shots = arrayvec::ArrayVec::<std::ops::Range<usize>, BURST>::new();
        let mut due = None;
        // Frames of one burst are of one chunk, because they are lent from there.
        if self.provide() {
            while let Some(shot) = self.chunk.as_ref().and_then(Chunk::next).cloned() {
                let at = self.due(shot.time, now);
                if at > now || shots.len() >= burst.room() {
                    due = Some(at);
                    break;
                }
                shots.push(shot.at);
                if let Some(chunk) = &mut self.chunk {
                    chunk.advance();
                }
            }
        }
        let more = !shots.is_empty() && due.is_none_or(|at| at <= now);
        if let Clock::Running { due: noted, .. } = &mut self.clock {
            *noted = due.filter(|&at| at > now);
        }
        if let Some(chunk) = &self.chunk {
            let bytes = chunk.bytes();
            burst.extend(shots.into_iter().map(|at| Frame::flat(&bytes[at], Offload::NONE)));
        }
        if more { Rx::More } else { Rx::Idle }
    }

    fn tx_burst(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        if let Some(recorder) = &mut self.recorder {
            recorder.record(now, frames, report);
        }
        // Without a recording this is a sink: it takes everything.
    }

    fn flush(&mut self, _now: Nanos) -> bool {
        if let Some(line) = self.recorder.as_mut().and_then(Recorder::flush) {
            self.log(line);
        }
        false
    }

    fn deadline(&self) -> Option<Nanos> {
        match self.clock {
            Clock::Ready(at) => Some(at),
            Clock::Running { due, .. } => due,
            Clock::Over => None,
        }
    }

    fn tick(&mut self, now: Nanos) -> bool {
        match &mut self.clock {
            Clock::Ready(_) => self.clock = Clock::Running { start: now, first: None, due: None },
            Clock::Running { due, .. } => *due = None,
            Clock::Over => return false,
        }
        true
    }

    fn take_drops(&mut self) -> Option<(DropReason, u64)> {
        match std::mem::take(&mut self.malformed) {
            0 => None,
            n => Some((DropReason::DoorMalformed, n)),
        }
    }
}

impl Drop for PcapNic {
    fn drop(&mut self) {
        self.detach();
    }
}
