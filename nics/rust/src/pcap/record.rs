//! The recording side of a `pcap` door: frames as pcapng, written by a thread of its own or, in
//! virtual time, in the turn.

use crate::frame::{FRAME_MAX, TxFrame};
use crate::nic::TxReport;
use crate::pcapng::{self, Direction};
use crate::socket::claim::plain;
use crate::writer::{Handle, Sink};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use switch::{DropReason, Nanos};

/// Bytes that may wait for the writer.
const ROOM: usize = 4 << 20;

/// Writes frames as pcapng, off the per-frame path.
#[derive(Debug)]
pub struct Recorder {
    sink: Sink,
    handle: Arc<Handle>,
    block: Vec<u8>,
    epoch: Option<Nanos>,
    /// Of the first and the last frame.
    times: Option<(u64, u64)>,
    number: u64,
    lost_since: u64,
    failure_told: bool,
}

impl Recorder {
    pub fn open(
        fd: OwnedFd,
        name: &str,
        application: &str,
        epoch: Option<Nanos>,
    ) -> io::Result<(Self, Arc<Handle>)> {
        let (mut sink, handle) = Sink::open(fd, ROOM, epoch.is_some())?;
        let mut block = Vec::with_capacity(FRAME_MAX + 512);
        pcapng::section(&mut block, &pcapng::Section { application, ..Default::default() });
        let interface = pcapng::Interface { name, snaplen: 262_144, ..Default::default() };
        pcapng::interface(&mut block, &interface);
        sink.push(&block, &handle);
        sink.flush(&handle);
        let recorder = Recorder {
            sink,
            handle: handle.clone(),
            block,
            epoch,
            times: None,
            number: 0,
            lost_since: 0,
            failure_told: false,
        };
        Ok((recorder, handle))
    }

    pub fn record(&mut self, now: Nanos, frames: &[TxFrame<'_>], report: &mut TxReport) {
        // In real time it is the clock's offset when the first frame comes that counts: the engine's
        // time when the door was attached may have been an old one.
        let epoch = *self.epoch.get_or_insert_with(|| crate::clock::realtime().wrapping_sub(now));
        let time = epoch.wrapping_add(now);
        let first = self.times.map_or(time, |(first, _)| first);
        self.times = Some((first, time));
        for (i, frame) in frames.iter().enumerate() {
            self.number += 1;
            self.handle.received.add(1);
            self.handle.accepted.add(1);
            self.block.clear();
            let packet = pcapng::Packet {
                interface: 0,
                time,
                len: frame.len() as u32,
                direction: Direction::Out,
                id: self.number,
                lost: self.lost_since,
                dropped: None,
                comment: "",
            };
            pcapng::packet(&mut self.block, &packet, frame.len(), |room| {
                frame.copy_to(room);
            });
            if self.handle.has_ended() {
                report.drop(i, DropReason::TxError);
            } else if self.sink.push(&self.block, &self.handle) {
                self.handle.written.add(1);
                self.lost_since = 0;
                continue;
            } else {
                report.drop(i, DropReason::TxFull);
            }
            self.handle.lost.add(1);
            self.lost_since += 1;
        }
    }

    /// The turn is over: have what there is written. A line for the log when that has failed.
    pub fn flush(&mut self) -> Option<String> {
        self.sink.flush(&self.handle);
        self.failed()
    }

    /// One line when writing has failed.
    fn failed(&mut self) -> Option<String> {
        if self.failure_told || !self.handle.has_ended() {
            return None;
        }
        self.failure_told = true;
        let (code, text) = self.handle.error()?;
        let why = code.map_or(text, |code| plain(&io::Error::from_raw_os_error(code)));
        Some(format!("the recording ends here: {why}"))
    }

    pub fn close(&mut self) {
        self.block.clear();
        let (start, end) = self.times.unwrap_or_default();
        let statistics = pcapng::Statistics {
            interface: 0,
            start,
            end,
            received: self.handle.received.get(),
            accepted: self.handle.accepted.get(),
            lost: self.handle.lost.get(),
            written: self.handle.written.get(),
        };
        pcapng::statistics(&mut self.block, &statistics);
        self.sink.close(std::mem::take(&mut self.block), &self.handle);
    }
}
