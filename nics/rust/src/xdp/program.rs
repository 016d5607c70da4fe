//! The XDP program: of what comes in by an interface it takes unicast frames for the fabric's stations,
//! and leaves everything else to the kernel.
//!
//! Groups go to the kernel as well, because XDP can't give one frame to two: the host hears its ARP,
//! and the fabric gets its copy by the packet socket. So do frames with a VLAN tag that the driver took
//! out, which XDP does not see: taken as they look, a frame of one tenant would arrive in the network of
//! another. The driver of a veth is asked about each frame; other drivers must leave tags where they are,
//! which only those of hardware do in generic mode.

use super::Choice;
use super::bpf::{self, MAP_HASH, MAP_XSK, Map, Op};
use super::ethtool::Driver;
use crate::packet::{Mac, Takes, Wanted};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// More stations than this are not taken one by one: their frames go by the packet socket.
const STATIONS_MAX: u32 = 1 << 16;

/// The queues of an interface that sockets may stand at.
pub(super) const QUEUES_MAX: usize = 64;

/// The mode that an attached program runs in, in the words of `ip link`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Native,
    Generic,
}

/// Mode flags of BPF_LINK_CREATE (XDP_FLAGS_*).
const GENERIC: u32 = 1 << 1;
const NATIVE: u32 = 1 << 2;

/// What it needs to know whether a tag was taken out.
const TAG_OF: &std::ffi::CStr = c"bpf_xdp_metadata_rx_vlan_tag";
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// Key of `stations`: an address, and two bytes of zero.
type Key = [u8; 8];
/// Stands for all that are not listed: no station has that address.
const REST: Key = [0; 8];
const TAKE: [u8; 4] = 1_u32.to_ne_bytes();
const LEAVE: [u8; 4] = [0; 4];

/// The maps of an attached program; it is detached when this is dropped.
#[derive(Debug)]
pub(super) struct Program {
    _link: OwnedFd,
    pub mode: Mode,
    sockets: Map,
    stations: Arc<Map>,
}

impl Program {
    /// Attach it to an interface of this thread's namespace.
    pub fn attach(interface: i32, driver: &Driver, choice: Choice) -> io::Result<Self> {
        let stations = Arc::new(Map::new(MAP_HASH, 8, 4, STATIONS_MAX)?);
        let sockets = Map::new(MAP_XSK, 4, 4, QUEUES_MAX as u32)?;
        let (link, mode) = attach(interface, driver, choice, &stations, &sockets)?;
        Ok(Program { _link: link, mode, sockets, stations })
    }

    /// What comes in by `queue` goes to this socket from now on.
    pub fn plug(&self, queue: u32, socket: impl AsFd) -> io::Result<()> {
        self.sockets.set(&queue.to_ne_bytes(), &socket.as_fd().as_raw_fd().to_ne_bytes())
    }

    /// Who decides about the stations. It may outlive the program.
    pub fn stations(&self) -> Table {
        Table { map: self.stations.clone(), entries: BTreeMap::new() }
    }
}

/// The number of the kernel's function that says whether a tag was taken out, if it has one. It is looked up
/// once: what the process gives up once its doors are open takes the file along.
pub(super) fn tag_of() -> Option<u32> {
    static NUMBER: OnceLock<Option<u32>> = OnceLock::new();
    *NUMBER.get_or_init(|| bpf::function(&std::fs::read(BTF).unwrap_or_default(), TAG_OF))
}

fn attach(
    interface: i32,
    driver: &Driver,
    choice: Choice,
    stations: &Map,
    sockets: &Map,
) -> io::Result<(OwnedFd, Mode)> {
    let generic = || {
        let program = bpf::load(&instructions(stations, sockets, None), None)?;
        bpf::attach(&program, interface, GENERIC).map(|link| (link, Mode::Generic))
    };
    if choice == Choice::Generic && driver.name == "veth" {
        // In that mode they come as they are, and nothing beside them says how they are to be cut.
        return Err(io::Error::other("in generic mode a veth's super-frames arrive whole: `mode: native`"));
    }
    if choice == Choice::Generic {
        return generic();
    }
    if driver.name == "veth" {
        let Some(tag_of) = tag_of() else {
            return Err(io::Error::other("this kernel does not say where a veth left VLAN tags (Linux 6.8)"));
        };
        let program = bpf::load(&instructions(stations, sockets, Some(tag_of)), Some(interface))?;
        return bpf::attach(&program, interface, NATIVE).map(|link| (link, Mode::Native));
    }
    if !driver.tags_stay {
        return Err(io::Error::other("its driver takes VLAN tags out of frames: `ethtool -K IT rxvlan off`"));
    }
    let program = bpf::load(&instructions(stations, sockets, None), None)?;
    match bpf::attach(&program, interface, NATIVE) {
        // The driver has no such mode. Frames of other software may bring tags beside them.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) && choice == Choice::Auto => {
            if driver.is_hardware { generic() } else { Err(e) }
        }
        other => other.map(|link| (link, Mode::Native)),
    }
}

/// The program. Registers: 6 the context, 7 the frame.
fn instructions(stations: &Map, sockets: &Map, tag_of: Option<u32>) -> Vec<Op> {
    const LOAD_32: u8 = 0x61;
    const LOAD_16: u8 = 0x69;
    const LOAD_8: u8 = 0x71;
    const STORE_64: u8 = 0x7b;
    const STORE_32: u8 = 0x63;
    const MOVE: u8 = 0xbf;
    const MOVE_VALUE: u8 = 0xb7;
    const ADD: u8 = 0x07;
    const AND: u8 = 0x57;
    const ABOVE: u8 = 0x2d;
    const EQUAL: u8 = 0x15;
    const NOT_EQUAL: u8 = 0x55;
    const NOT_EQUAL_32: u8 = 0x56;
    const CALL: u8 = 0x85;
    const EXIT: u8 = 0x95;
    const LOOKUP: i32 = 1;
    const REDIRECT: i32 = 51;
    const PASS: i32 = 2;
    const STACK: u8 = 10;
    const NO_TAG: i32 = -libc::ENODATA;
    /// Jumps to where the frame is left to the kernel; their distance is filled in at the end.
    const TO_PASS: i16 = i16::MAX;

    let mut ops = vec![
        Op::new(MOVE, 6, 1, 0, 0),
        Op::new(LOAD_32, 7, 6, 0, 0),
        Op::new(LOAD_32, 2, 6, 4, 0),
        Op::new(MOVE, 3, 7, 0, 0),
        Op::new(ADD, 3, 0, 0, 14),
        Op::new(ABOVE, 3, 2, TO_PASS, 0),
        // A group.
        Op::new(LOAD_8, 1, 7, 0, 0),
        Op::new(AND, 1, 0, 0, 1),
        Op::new(NOT_EQUAL, 1, 0, TO_PASS, 0),
        Op::new(LOAD_32, 1, 7, 0, 0),
        Op::new(STORE_32, STACK, 1, -8, 0),
        Op::new(LOAD_16, 1, 7, 4, 0),
        Op::new(STORE_32, STACK, 1, -4, 0),
    ];
    let find = |ops: &mut Vec<Op>| {
        ops.extend(Op::map(1, stations));
        ops.extend([
            Op::new(MOVE, 2, STACK, 0, 0),
            Op::new(ADD, 2, 0, 0, -8),
            Op::new(CALL, 0, 0, 0, LOOKUP),
        ]);
    };
    find(&mut ops);
    // One that is not listed: what is said of all others. Over eight instructions otherwise.
    ops.push(Op::new(NOT_EQUAL, 0, 0, 8, 0));
    let before = ops.len();
    ops.extend([Op::new(MOVE_VALUE, 1, 0, 0, 0), Op::new(STORE_64, STACK, 1, -8, 0)]);
    find(&mut ops);
    ops.push(Op::new(EQUAL, 0, 0, TO_PASS, 0));
    debug_assert_eq!(ops.len() - before, 8);
    ops.extend([Op::new(LOAD_32, 1, 0, 0, 0), Op::new(EQUAL, 1, 0, TO_PASS, 0)]);
    if let Some(number) = tag_of {
        // It puts the tag beside the frame on the stack, or says that there is none.
        ops.extend([
            Op::new(MOVE_VALUE, 1, 0, 0, 0),
            Op::new(STORE_64, STACK, 1, -16, 0),
            Op::new(STORE_64, STACK, 1, -24, 0),
            Op::new(MOVE, 1, 6, 0, 0),
            Op::new(MOVE, 2, STACK, 0, 0),
            Op::new(ADD, 2, 0, 0, -16),
            Op::new(MOVE, 3, STACK, 0, 0),
            Op::new(ADD, 3, 0, 0, -24),
            Op::new(CALL, 0, 2, 0, number as i32),
            Op::new(NOT_EQUAL_32, 0, 0, TO_PASS, NO_TAG),
        ]);
    }
    // To the socket of the queue that it came in by, or, where there is none, to the kernel.
    ops.push(Op::new(LOAD_32, 2, 6, 16, 0));
    ops.extend(Op::map(1, sockets));
    ops.extend([
        Op::new(MOVE_VALUE, 3, 0, 0, PASS),
        Op::new(CALL, 0, 0, 0, REDIRECT),
        Op::new(EXIT, 0, 0, 0, 0),
    ]);
    let pass = ops.len();
    ops.extend([Op::new(MOVE_VALUE, 0, 0, 0, PASS), Op::new(EXIT, 0, 0, 0, 0)]);
    for (at, op) in ops.iter_mut().take(pass).enumerate() {
        op.land(TO_PASS, (pass - at - 1) as i16);
    }
    ops
}

/// The stations whose frames are taken.
#[derive(Debug)]
pub(super) struct Table {
    map: Arc<Map>,
    entries: BTreeMap<Key, [u8; 4]>,
}

fn key(mac: &Mac) -> Key {
    let mut key = REST;
    key[..6].copy_from_slice(mac);
    key
}

impl Takes for Table {
    fn take(&mut self, wanted: &Wanted, host: &Mac) -> io::Result<()> {
        let entries: BTreeMap<_, _> = match wanted {
            Wanted::All => BTreeMap::from([(REST, TAKE), (key(host), LEAVE)]),
            Wanted::Only(macs) => {
                macs.iter().take(STATIONS_MAX as usize - 2).map(|mac| (key(mac), TAKE)).collect()
            }
        };
        // What is to be left first: a frame is then left to the packet socket, which takes it, and
        // never taken from the host.
        for old in self.entries.keys().filter(|old| !entries.contains_key(*old)) {
            self.map.remove(old)?;
        }
        for now in [LEAVE, TAKE] {
            for (key, value) in entries.iter().filter(|(_, value)| **value == now) {
                if self.entries.get(key) != Some(value) {
                    self.map.set(key, value)?;
                }
            }
        }
        self.entries = entries;
        Ok(())
    }
}
