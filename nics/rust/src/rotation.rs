//! A stream of pcapng blocks into several files, each of which stands by itself.
//!
//! What comes before the packets (section header, interface descriptions) is repeated at the beginning of each
//! file, with the same numbers of interfaces. A file ends with the block that makes it too long, as with
//! `dumpcap -b`; time is the packets' own, so a file is begun by the first packet behind its time. Blocks are
//! looked at for their length and no more; whatever lies between two changes is written at once.

use std::io::{self, ErrorKind, Read, Write};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
/// The longest block that we write, by far.
const LONGEST: usize = 1 << 24;
/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// When a file is full; nothing set: never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Bytes in a file, at least one packet's.
    pub bytes: Option<u64>,
    /// Nanoseconds from its first packet on.
    pub nanos: Option<u64>,
    pub packets: Option<u64>,
}

/// What was written in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub files: u64,
    pub packets: u64,
    pub bytes: u64,
}

struct Splitter<N, W> {
    limits: Limits,
    next: N,
    file: Option<W>,
    /// What each file begins with.
    preface: Vec<u8>,
    /// In this file.
    bytes: u64,
    packets: u64,
    first: u64,
    written: Written,
}

impl<W: Write, N: FnMut(u64, u64) -> io::Result<W>> Splitter<N, W> {
    /// Whether a packet of so many bytes at this time belongs into another file.
    fn is_full(&self, time: u64, len: usize) -> bool {
        let Limits { bytes, nanos, packets } = self.limits;
        self.file.is_none()
            || self.packets > 0
                && (bytes.is_some_and(|most| self.bytes + len as u64 > most)
                    || nanos.is_some_and(|most| time.saturating_sub(self.first) >= most)
                    || packets.is_some_and(|most| self.packets >= most))
    }

    fn turn(&mut self, time: u64) -> io::Result<()> {
        if let Some(mut file) = self.file.take() {
            file.flush()?;
        }
        let mut file = (self.next)(self.written.files + 1, time)?;
        file.write_all(&self.preface)?;
        self.file = Some(file);
        self.written.files += 1;
        self.written.bytes += self.preface.len() as u64;
        (self.bytes, self.packets, self.first) = (self.preface.len() as u64, 0, time);
        Ok(())
    }

    fn put(&mut self, blocks: &[u8]) -> io::Result<()> {
        if let (Some(file), false) = (&mut self.file, blocks.is_empty()) {
            file.write_all(blocks)?;
            self.written.bytes += blocks.len() as u64;
        }
        Ok(())
    }

    /// All whole blocks of `data`; how many bytes those were.
    fn take(&mut self, data: &[u8]) -> io::Result<usize> {
        let (mut from, mut at) = (0, 0);
        while let Some((kind, len)) = block(&data[at..])? {
            let Some(whole) = data.get(at..at + len) else { break };
            match kind {
                SECTION | INTERFACE => self.preface.extend_from_slice(whole),
                PACKET => {
                    let time = time(whole);
                    if self.is_full(time, len) {
                        self.put(&data[from..at])?;
                        from = at;
                        self.turn(time)?;
                    }
                    self.packets += 1;
                    self.written.packets += 1;
                }
                _ => {}
            }
            self.bytes += len as u64;
            at += len;
            if self.file.is_none() {
                // Before the first packet all is preface.
                from = at;
            }
        }
        self.put(&data[from..at])?;
        Ok(at)
    }
}

/// Kind and length of the block that `data` begins with, if enough of it is there to tell.
fn block(data: &[u8]) -> io::Result<Option<(u32, usize)>> {
    let Some(&[a, b, c, d, e, f, g, h]) = data.first_chunk::<8>() else { return Ok(None) };
    let len = u32::from_le_bytes([e, f, g, h]) as usize;
    if !(12..=LONGEST).contains(&len) || !len.is_multiple_of(4) {
        return Err(io::Error::new(ErrorKind::InvalidData, "a block with a length that none has"));
    }
    Ok(Some((u32::from_le_bytes([a, b, c, d]), len)))
}

/// A packet's time, in nanoseconds as we write them.
fn time(block: &[u8]) -> u64 {
    let half = |at: usize| {
        let word = block.get(at..).and_then(<[u8]>::first_chunk::<4>);
        u64::from(word.map_or(0, |word| u32::from_le_bytes(*word)))
    };
    half(12) << 32 | half(16)
}

/// Copy `from` until it ends. `next` opens the file of this number, from 1, whose first packet has this time.
/// When there was no packet at all, there is one file all the same.
///
/// # Errors
/// Reading or writing failed, `next` did, or what came is no pcapng of ours.
pub fn split<W: Write>(
    from: &mut dyn Read,
    limits: Limits,
    next: impl FnMut(u64, u64) -> io::Result<W>,
) -> io::Result<Written> {
    let mut splitter = Splitter {
        limits,
        next,
        file: None,
        preface: Vec::new(),
        bytes: 0,
        packets: 0,
        first: 0,
        written: Written::default(),
    };
    let mut room = vec![0; PIECE];
    let mut filled = 0;
    loop {
        if filled == room.len() {
            // A block that is longer than what is read at once; `block` bounds it.
            room.resize(room.len() * 2, 0);
        }
        let n = match from.read(&mut room[filled..]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        filled += n;
        let done = splitter.take(&room[..filled])?;
        room.copy_within(done..filled, 0);
        filled -= done;
    }
    if splitter.file.is_none() {
        splitter.turn(0)?;
    }
    if let Some(file) = &mut splitter.file {
        file.flush()?;
    }
    Ok(splitter.written)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pcapng::{self, Direction};
    use std::cell::RefCell;
    use std::rc::Rc;

    fn stream(packets: u64) -> Vec<u8> {
        let mut out = vec![];
        pcapng::section(&mut out, &pcapng::Section::default());
        pcapng::interface(&mut out, &pcapng::Interface { name: "a", ..Default::default() });
        for n in 0..packets {
            if n == 2 {
                pcapng::interface(&mut out, &pcapng::Interface { name: "b", ..Default::default() });
            }
            let packet = pcapng::Packet {
                interface: u32::from(n >= 2),
                time: n * 1_000_000_000,
                len: 60,
                direction: Direction::In,
                id: n,
                lost: 0,
                dropped: None,
                comment: "",
            };
            pcapng::packet(&mut out, &packet, 60, |bytes| bytes.fill(n as u8));
        }
        out
    }

    #[derive(Clone, Default)]
    struct Files(Rc<RefCell<Vec<Vec<u8>>>>);

    impl Write for Files {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.borrow_mut().last_mut().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);

    impl Read for Drops<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(to.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn run(data: &[u8], limits: Limits, piece: usize) -> (Vec<Vec<u8>>, Written) {
        let files = Files::default();
        let written = split(&mut Drops(data, piece), limits, |_, _| {
            files.0.borrow_mut().push(vec![]);
            Ok(files.clone())
        });
        (files.0.take(), written.unwrap())
    }

    fn kinds(mut data: &[u8]) -> Vec<u32> {
        let mut found = vec![];
        while let Some((kind, len)) = block(data).unwrap() {
            found.push(kind);
            data = &data[len..];
        }
        found
    }

    #[test]
    fn without_limits_nothing_changes() {
        let data = stream(5);
        for piece in [1, 7, 4096] {
            assert_eq!(run(&data, Limits::default(), piece).0, std::slice::from_ref(&data));
        }
    }

    #[test]
    fn each_file_has_all_interfaces_so_far() {
        let data = stream(5);
        for piece in [3, 4096] {
            let (files, written) = run(&data, Limits { packets: Some(2), ..Limits::default() }, piece);
            assert_eq!(written.files, 3);
            assert_eq!(written.packets, 5);
            assert_eq!(kinds(&files[0]), [SECTION, 1, 6, 6, 1]);
            assert_eq!(kinds(&files[1]), [SECTION, 1, 1, 6, 6]);
            assert_eq!(kinds(&files[2]), [SECTION, 1, 1, 6]);
            assert_eq!(written.bytes as usize, files.iter().map(Vec::len).sum::<usize>());
        }
    }

    #[test]
    fn by_time_and_size() {
        let data = stream(6);
        let (files, _) = run(&data, Limits { nanos: Some(2_000_000_000), ..Limits::default() }, 4096);
        assert_eq!(files.len(), 3);
        let (files, _) = run(&data, Limits { bytes: Some(1), ..Limits::default() }, 4096);
        assert_eq!(files.len(), 6, "one packet each");
        let (files, _) = run(&data, Limits { bytes: Some(500), ..Limits::default() }, 4096);
        assert!(files.len() > 1 && files.iter().all(|file| file.len() <= 500));
    }

    #[test]
    fn no_packet_is_one_file_and_nonsense_an_error() {
        assert_eq!(run(&stream(0), Limits::default(), 5).0, [stream(0)]);
        let nonsense = split(&mut &[1_u8; 40][..], Limits::default(), |_, _| Ok(vec![]));
        assert_eq!(nonsense.unwrap_err().kind(), ErrorKind::InvalidData);
    }
}
