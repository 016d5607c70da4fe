//! A `pcap` door, and the reading of captures of all sorts.
#![allow(clippy::unwrap_used)]

mod format;
mod play;
mod record;

use super::*;
use crate::testkit::{Bench, Folder, numbered};
use std::fs::File;
use std::path::Path;

/// A capture as other programs write them, of either byte order.
struct Capture {
    big: bool,
    bytes: Vec<u8>,
}

impl Capture {
    fn new(big: bool) -> Self {
        Capture { big, bytes: Vec::new() }
    }

    fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend(if self.big { value.to_be_bytes() } else { value.to_le_bytes() });
        self
    }

    fn pcap(big: bool, magic: u32, kind: u32) -> Self {
        let mut file = Capture::new(big);
        file.u32(magic).u16(2).u16(4).u32(0).u32(0).u32(65_535).u32(kind);
        file
    }

    fn record(&mut self, seconds: u32, fraction: u32, data: &[u8], len: usize) -> &mut Self {
        self.u32(seconds).u32(fraction).u32(data.len() as u32).u32(len as u32);
        self.bytes.extend(data);
        self
    }

    fn block(&mut self, kind: u32, body: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.u32(kind).u32(0);
        body(self);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - start + 4) as u32;
        self.u32(length);
        let length = if self.big { length.to_be_bytes() } else { length.to_le_bytes() };
        self.bytes[start + 4..start + 8].copy_from_slice(&length);
        self
    }

    fn section(&mut self) -> &mut Self {
        self.block(0x0a0d_0d0a, |f| {
            f.u32(0x1a2b_3c4d).u16(1).u16(0).u32(u32::MAX).u32(u32::MAX);
        })
    }

    fn interface(&mut self, kind: u16, snaplen: u32, options: &[(u16, &[u8])]) -> &mut Self {
        self.block(1, |f| {
            f.u16(kind).u16(0).u32(snaplen);
            f.options(options);
        })
    }

    fn options(&mut self, options: &[(u16, &[u8])]) -> &mut Self {
        for (code, value) in options {
            self.u16(*code).u16(value.len() as u16);
            self.bytes.extend(*value);
            self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        }
        self
    }

    fn packet(&mut self, interface: u32, ticks: u64, data: &[u8], options: &[(u16, &[u8])]) -> &mut Self {
        self.block(6, |f| {
            f.u32(interface).u32((ticks >> 32) as u32).u32(ticks as u32);
            f.u32(data.len() as u32).u32(data.len() as u32);
            f.bytes.extend(data);
            f.bytes.resize(f.bytes.len().next_multiple_of(4), 0);
            f.options(options);
        })
    }

    fn simple(&mut self, len: usize, data: &[u8]) -> &mut Self {
        self.block(3, |f| {
            f.u32(len as u32);
            f.bytes.extend(data);
        })
    }
}

type Read = (Vec<(u64, Vec<u8>)>, [u64; 3], Option<End>);

/// All that the reader makes of a file.
fn read(bytes: &[u8]) -> Read {
    let folder = Folder::new();
    std::fs::write(folder.path("x"), bytes).unwrap();
    let mut reader = Reader::new(File::open(folder.path("x")).unwrap().into()).unwrap();
    let (mut frames, mut left_out, mut chunk) = (Vec::new(), [0; 3], Chunk::default());
    loop {
        chunk = reader.fill(chunk, None).unwrap();
        while let Some(shot) = chunk.next() {
            frames.push((shot.time, chunk.bytes()[shot.at.clone()].to_vec()));
            chunk.advance();
        }
        for (sum, n) in left_out.iter_mut().zip(chunk.left_out) {
            *sum += n;
        }
        if let Some(end) = chunk.end.take() {
            return (frames, left_out, Some(end));
        }
    }
}

fn spec(folder: &Folder, bytes: Option<&[u8]>, write: bool, speed: f64, virtual_time: bool) -> Spec {
    let read = bytes.map(|bytes| {
        std::fs::write(folder.path("in"), bytes).unwrap();
        File::open(folder.path("in")).unwrap().into()
    });
    let write = write.then(|| File::create(folder.path("out")).unwrap().into());
    Spec { read, write, speed, name: "web.0".into(), epoch: virtual_time.then_some(0), ..Spec::default() }
}

fn open(spec: Spec) -> (Bench<PcapNic>, Files) {
    let (nic, files) = PcapNic::open(spec).unwrap();
    (Bench::new(nic), files)
}

/// Wait until the threads of a door that was detached are gone.
fn wait_for_end(fd: i32) {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd that lives through the call.
    assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 20_000) }, 1, "a thread does not end");
}

/// A pcap of one frame a millisecond.
fn a_frame_a_millisecond(count: u32) -> Vec<u8> {
    let mut file = Capture::pcap(false, 0xa1b2_c3d4, 1);
    for i in 0..count {
        file.record(
            5 + i / 1000,
            i % 1000 * 1000,
            &numbered(i, 60 + i as usize % 1000),
            60 + i as usize % 1000,
        );
    }
    file.bytes
}

fn fifo(path: &Path, flags: i32) -> OwnedFd {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .read(flags != libc::O_WRONLY)
        .write(flags != libc::O_RDONLY)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .unwrap()
        .into()
}

fn make_fifo(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    // SAFETY: a NUL-terminated string that lives through the call.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
}
