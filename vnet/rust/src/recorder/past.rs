//! What the recorder kept, as a capture: copied out between turns, sorted and written by somebody else's
//! thread.
//!
//! The copy is taken in pieces, each within one hold of the engine's lock, so that no turn waits for more
//! than a piece. What comes while they are taken is newer than the moment at which copying began and left
//! out; so all ports are told of up to the same moment.

use super::Track;
use super::ring::{Record, Verdict, records};
use crate::capture::PortInfo;
use crate::engine::Engine;
use arrayvec::ArrayVec;
use nics::bpf::{Program, Verdict as Filtered};
use nics::output::Output;
use nics::pcapng::{self, Direction};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use switch::{Nanos, PortConfig, PortId, VlanId};

/// Bytes copied at once: some ten microseconds' work.
const PIECE: usize = 256 << 10;

/// Bytes that are written at once.
const WRITE: usize = 256 << 10;

/// How long to wait for a reader that takes nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// What of the past is wanted.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Frames that came in at these ports, were sent to them, or were refused there; None: any.
    pub ports: Option<Vec<PortId>>,
    /// Frames of these VLANs, too, of each from this time on: before, it may have been another's.
    pub vlans: BTreeMap<VlanId, Nanos>,
    /// From this time on.
    pub since: Nanos,
    /// Only what came in at the ports, or only what was to go out there.
    pub direction: Option<Direction>,
    pub drops_only: bool,
    pub program: Option<Program>,
    pub filter: String,
    /// The most bytes of a frame that are written.
    pub snaplen: u32,
    /// The latest so many frames.
    pub limit: Option<usize>,
    pub epoch: Nanos,
    pub hardware: String,
    pub os: String,
    pub application: String,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PastStats {
    pub written: u64,
    /// Frames in that time that were counted and not kept, at the ports that are in the file.
    pub left_out: u64,
    /// Frames of which the filter would have to see more than was kept.
    pub unseen: u64,
    pub bytes: u64,
    /// The oldest frame's time; 0 when there is none.
    pub oldest: Nanos,
}

/// Where copying has got to: a port, one of its rings, a chunk.
#[derive(Debug, Default)]
pub(super) struct Cursor {
    port: usize,
    dropped: bool,
    chunk: u64,
}

/// Records of several ports: each port's end in `bytes`.
#[derive(Debug, Default)]
pub(super) struct Piece {
    bytes: Vec<u8>,
    ends: Vec<(PortId, usize)>,
}

impl Piece {
    pub(super) fn new() -> Self {
        Piece { bytes: Vec::with_capacity(PIECE), ends: Vec::with_capacity(64) }
    }

    /// Each port's records.
    pub(super) fn each<'a>(&'a self, mut look: impl FnMut(PortId, &'a [u8])) {
        let mut from = 0;
        for &(port, end) in &self.ends {
            look(port, self.bytes.get(from..end).unwrap_or_default());
            from = end;
        }
    }
}

/// Fill a piece; false when that was the last one.
pub(super) fn copy(tracks: &[Option<Box<Track>>], cursor: &mut Cursor, piece: &mut Piece) -> bool {
    while let Some(track) = tracks.get(cursor.port) {
        if let Some(track) = track {
            for dropped in [false, true] {
                if cursor.dropped && !dropped {
                    continue;
                }
                let ring = if dropped { &track.dropped } else { &track.passed };
                let (chunk, done) = ring.copy(cursor.chunk, &mut piece.bytes);
                if piece.ends.last().is_none_or(|(_, end)| *end < piece.bytes.len()) {
                    piece.ends.push((cursor.port as PortId, piece.bytes.len()));
                }
                if !done {
                    (cursor.dropped, cursor.chunk) = (dropped, chunk);
                    return true;
                }
                cursor.chunk = 0;
            }
        }
        *cursor = Cursor { port: cursor.port + 1, ..Cursor::default() };
    }
    false
}

/// The fabric at the moment when copying begins.
struct Scene {
    until: Nanos,
    /// Every port: its name and such, and its switch.
    ports: BTreeMap<PortId, (PortInfo, u16)>,
    /// Those that are wanted, if not all are.
    wanted: Option<BTreeMap<PortId, (u16, PortConfig)>>,
    /// Of a switch and a VLAN: wanted ports in it, two of them at most.
    floods: HashMap<(u16, VlanId), ArrayVec<PortId, 2>>,
}

impl Scene {
    fn new(engine: &mut Engine, ports: Option<&[PortId]>) -> Self {
        let until = engine.now();
        let all: Vec<(PortId, u16)> = engine.places().collect();
        let wanted = ports.map(|ports| {
            let of = |&port| {
                let switch = all.iter().find(|(number, _)| *number == port)?.1;
                Some((port, (switch, engine.port_config(port).ok()?)))
            };
            ports.iter().filter_map(of).collect()
        });
        let named = |(port, switch)| (port, (engine.captures().info(port), switch));
        Scene { until, ports: all.into_iter().map(named).collect(), wanted, floods: HashMap::new() }
    }

    /// Whether a frame came in at a wanted port, and whether it was to go out of one.
    fn sides(&mut self, port: PortId, record: &Record) -> (bool, bool) {
        let out = is_out(record.verdict);
        let Some(wanted) = &self.wanted else {
            return (!out, !matches!(record.verdict, Verdict::Dropped(_) | Verdict::Local));
        };
        let here = wanted.contains_key(&port);
        let left = match record.verdict {
            Verdict::To(egress) => wanted.contains_key(&egress),
            // Who was in a group at the time is not known any more; anybody in the VLAN may have been.
            Verdict::Flood | Verdict::Group => {
                let switch = self.ports.get(&port).map_or(u16::MAX, |(_, switch)| *switch);
                let members = self.floods.entry((switch, record.vlan)).or_insert_with(|| {
                    let member = |(_, (at, config)): &(&PortId, &(u16, PortConfig))| {
                        *at == switch && config.carries(record.vlan)
                    };
                    wanted.iter().filter(member).map(|(port, _)| *port).take(2).collect()
                });
                members.iter().any(|member| *member != port)
            }
            Verdict::Refused(_) | Verdict::Own => here,
            Verdict::Dropped(_) | Verdict::Local => false,
        };
        (here && !out, left)
    }
}

/// A record at its port.
struct Found<'a> {
    port: PortId,
    record: Record,
    head: &'a [u8],
}

/// Whether it is of a frame on its way out.
fn is_out(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Refused(_) | Verdict::Own)
}

impl Past {
    /// Write it to `fd`. Blocks, and so is not for the engine's thread.
    pub fn write(&self, engine: &Mutex<Engine>, fd: OwnedFd) -> io::Result<PastStats> {
        let mut scene = Scene::new(&mut engine.lock(), self.ports.as_deref());
        let mut pieces = Vec::new();
        let mut cursor = Cursor::default();
        loop {
            let mut piece = Piece::new();
            let more = engine.lock().recorder().copy(&mut cursor, &mut piece);
            pieces.push(piece);
            if !more {
                break;
            }
        }
        let mut stats = PastStats::default();
        let mut found = Vec::new();
        for piece in &pieces {
            piece.each(|port, bytes| {
                for (record, head) in records(bytes) {
                    if self.selects(&mut scene, port, &record) && self.passes(&record, head, &mut stats) {
                        found.push(Found { port, record, head });
                    }
                }
            });
        }
        // Where a frame came in stands before where it was refused.
        found.sort_by_key(|f| (f.record.time, f.record.packet, is_out(f.record.verdict), f.port));
        if let Some(limit) = self.limit {
            found.drain(..found.len().saturating_sub(limit));
        }
        self.emit(&mut Output::new(fd)?, &found, &scene, &mut stats)?;
        Ok(stats)
    }

    fn selects(&self, scene: &mut Scene, port: PortId, record: &Record) -> bool {
        if record.time < self.since || record.time > scene.until {
            return false;
        }
        if self.drops_only && record.verdict.dropped().is_none() {
            return false;
        }
        let (came, left) = scene.sides(port, record);
        let listed = match self.direction {
            None => came || left,
            Some(Direction::In) => came,
            Some(Direction::Out) => left,
        };
        let way = match self.direction {
            None => true,
            Some(Direction::In) => !is_out(record.verdict),
            Some(Direction::Out) => !matches!(record.verdict, Verdict::Dropped(_) | Verdict::Local),
        };
        listed || way && self.vlans.get(&record.vlan).is_some_and(|since| record.time >= *since)
    }

    fn passes(&self, record: &Record, head: &[u8], stats: &mut PastStats) -> bool {
        let Some(program) = &self.program else { return true };
        match program.run(head, record.len) {
            Filtered::Keep(_) => true,
            Filtered::Reject => false,
            Filtered::More => {
                stats.unseen += 1;
                false
            }
        }
    }

    fn emit(
        &self,
        output: &mut Output,
        found: &[Found<'_>],
        scene: &Scene,
        stats: &mut PastStats,
    ) -> io::Result<()> {
        let mut out = Vec::with_capacity(WRITE + 4096);
        let section =
            pcapng::Section { hardware: &self.hardware, os: &self.os, application: &self.application };
        pcapng::section(&mut out, &section);
        let unknown = PortInfo::default();
        let info = |port: PortId| scene.ports.get(&port).map_or(&unknown, |(info, _)| info);
        // Each port's interface, and what is told of it in the end.
        let mut accounts: BTreeMap<PortId, pcapng::Statistics> = BTreeMap::new();
        for port in found.iter().map(|f| f.port).collect::<BTreeSet<_>>() {
            let said = info(port);
            pcapng::interface(&mut out, &said.interface(self.snaplen, &self.filter));
            let interface = accounts.len() as u32;
            accounts.insert(port, pcapng::Statistics { interface, ..pcapng::Statistics::default() });
        }
        for f in found {
            let Some(account) = accounts.get_mut(&f.port) else { continue };
            account.written += 1;
            account.lost += u64::from(f.record.gap);
            let comment = match f.record.verdict {
                Verdict::To(egress) => format!("to {}", info(egress).name),
                Verdict::Flood => format!("flooded in VLAN {}", f.record.vlan),
                Verdict::Group => format!("to its multicast group in VLAN {}", f.record.vlan),
                Verdict::Local => "to the switch itself".to_owned(),
                Verdict::Own => "the switch's own".to_owned(),
                Verdict::Dropped(_) | Verdict::Refused(_) => String::new(),
            };
            let packet = pcapng::Packet {
                interface: account.interface,
                time: self.epoch.wrapping_add(f.record.time),
                len: f.record.len,
                direction: if is_out(f.record.verdict) { Direction::Out } else { Direction::In },
                id: f.record.packet,
                lost: u64::from(f.record.gap),
                dropped: f.record.verdict.dropped(),
                comment: &comment,
            };
            let kept = f.head.len().min(self.snaplen as usize);
            pcapng::packet(&mut out, &packet, kept, |dst| dst.copy_from_slice(&f.head[..kept]));
            if out.len() >= WRITE {
                write_all(output, &out, stats)?;
                out.clear();
            }
        }
        stats.oldest = found.first().map_or(0, |f| f.record.time);
        for account in accounts.values_mut() {
            stats.written += account.written;
            stats.left_out += account.lost;
            account.received = account.written + account.lost;
            account.accepted = account.written;
            account.start = self.epoch.wrapping_add(stats.oldest);
            account.end = self.epoch.wrapping_add(scene.until);
            pcapng::statistics(&mut out, account);
        }
        write_all(output, &out, stats)
    }
}

fn write_all(output: &mut Output, mut bytes: &[u8], stats: &mut PastStats) -> io::Result<()> {
    while !bytes.is_empty() {
        let Some(n) = output.write(bytes, None, Some(PATIENCE))? else {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the reader takes nothing any more"));
        };
        stats.bytes += n as u64;
        bytes = &bytes[n..];
    }
    Ok(())
}
