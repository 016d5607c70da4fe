//! The bpf(2) system call, as far as an XDP program needs it: maps, loading, attaching, and the number
//! by which a program calls a function of the kernel (BTF).
//!
//! The program is some 30 instructions that never change, so it is put together here, and no compiler,
//! object file or loader is needed to build or to run vnet.

use std::ffi::{CStr, c_void};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

const MAP_CREATE: libc::c_int = 0;
const MAP_UPDATE: libc::c_int = 2;
const MAP_DELETE: libc::c_int = 3;
const PROG_LOAD: libc::c_int = 5;
const LINK_CREATE: libc::c_int = 28;

pub(super) const MAP_HASH: u32 = 1;
pub(super) const MAP_XSK: u32 = 17;
const NO_PREALLOC: u32 = 1;
const PROG_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
/// The program may ask the driver what it knows beside the frame, and works with that driver alone.
const DEVICE_BOUND: u32 = 1 << 6;

/// What is passed to the kernel: its fields in 32-bit words, the union's longest member is shorter. The
/// kernel takes what it does not know when it is zero.
#[repr(C, align(8))]
struct Attributes([u32; 40]);

impl Attributes {
    fn new(words: &[(usize, u32)]) -> Self {
        let mut attributes = Attributes([0; 40]);
        for (at, word) in words {
            attributes.0[*at] = *word;
        }
        attributes
    }

    /// An address is 64 bits, at an even word.
    fn pointer<T: ?Sized>(mut self, at: usize, to: *const T) -> Self {
        let address = to.cast::<c_void>().addr() as u64;
        let halves = address.to_ne_bytes();
        let (low, high) = halves.split_at(4);
        self.0[at] = u32::from_ne_bytes(low.try_into().unwrap_or_default());
        self.0[at + 1] = u32::from_ne_bytes(high.try_into().unwrap_or_default());
        self
    }

    /// # Safety
    /// What the attributes point to must be as `command` expects it.
    unsafe fn call(&self, command: libc::c_int) -> io::Result<libc::c_long> {
        // SAFETY: the attributes live through the call and their size is given; the rest is the caller's.
        let ret = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const self.0, size_of::<Self>()) };
        if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
    }

    /// # Safety
    /// As `call`; and the command answers with a descriptor.
    unsafe fn open(&self, command: libc::c_int) -> io::Result<OwnedFd> {
        // SAFETY: the caller's promise.
        let fd = unsafe { self.call(command)? };
        // SAFETY: a new descriptor (they fit an int) that nobody else owns.
        Ok(unsafe { OwnedFd::from_raw_fd(fd as libc::c_int) })
    }
}

/// A map; its keys and values are plain bytes of fixed sizes.
#[derive(Debug)]
pub(super) struct Map {
    fd: OwnedFd,
    key: usize,
    value: usize,
}

impl Map {
    pub fn new(kind: u32, key: usize, value: usize, entries: u32) -> io::Result<Self> {
        let flags = if kind == MAP_HASH { NO_PREALLOC } else { 0 };
        let words = [(0, kind), (1, key as u32), (2, value as u32), (3, entries), (4, flags)];
        // SAFETY: MAP_CREATE follows no pointer.
        let fd = unsafe { Attributes::new(&words).open(MAP_CREATE)? };
        Ok(Map { fd, key, value })
    }

    pub fn set(&self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if (key.len(), value.len()) != (self.key, self.value) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let about = Attributes::new(&[(0, self.fd.as_raw_fd() as u32)]);
        let about = about.pointer(2, key.as_ptr()).pointer(4, value.as_ptr());
        // SAFETY: key and value have the lengths that the map was made with, and are only read.
        unsafe { about.call(MAP_UPDATE) }.map(drop)
    }

    /// One that is not there is no error.
    pub fn remove(&self, key: &[u8]) -> io::Result<()> {
        if key.len() != self.key {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let about = Attributes::new(&[(0, self.fd.as_raw_fd() as u32)]).pointer(2, key.as_ptr());
        // SAFETY: the key has the length that the map was made with, and is only read.
        match unsafe { about.call(MAP_DELETE) } {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// One instruction (`struct bpf_insn`).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(super) struct Op {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

impl Op {
    pub const fn new(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Op {
        Op { code, registers: to | from << 4, offset, immediate }
    }

    /// A jump that was to go to `label` goes over `distance` instructions.
    pub fn land(&mut self, label: i16, distance: i16) {
        if self.offset == label {
            self.offset = distance;
        }
    }

    /// Load the address of a map: two instructions.
    pub fn map(to: u8, map: &Map) -> [Op; 2] {
        [Op::new(0x18, to, 1, 0, map.fd.as_raw_fd()), Op::new(0, 0, 0, 0, 0)]
    }
}

/// Load an XDP program. `device`: the interface whose driver it may ask.
pub(super) fn load(program: &[Op], device: Option<i32>) -> io::Result<OwnedFd> {
    // Who calls functions of the kernel must say that he shares under the GPL as well.
    let license = c"Dual MIT/GPL";
    let flags = if device.is_some() { DEVICE_BOUND } else { 0 };
    let words = [
        (0, PROG_XDP),
        (1, program.len() as u32),
        (11, flags),
        // prog_name, 16 bytes, for `bpftool prog`
        (12, u32::from_ne_bytes(*b"vnet")),
        (16, device.unwrap_or(0) as u32),
        (17, ATTACH_XDP),
    ];
    let about = Attributes::new(&words).pointer(2, program.as_ptr()).pointer(4, license.as_ptr());
    // SAFETY: as many instructions as is said, and a license that ends with zero; both live through the
    // call, which only reads them and verifies the program.
    unsafe { about.open(PROG_LOAD) }
}

/// Attach a program to an interface of this thread's namespace: for as long as the descriptor that is
/// returned is open, so that a process which is killed leaves nothing there. `flags`: the mode.
pub(super) fn attach(program: impl AsFd, interface: i32, flags: u32) -> io::Result<OwnedFd> {
    let fd = program.as_fd().as_raw_fd() as u32;
    let words = [(0, fd), (1, interface as u32), (2, ATTACH_XDP), (3, flags)];
    // SAFETY: LINK_CREATE for XDP follows no pointer.
    unsafe { Attributes::new(&words).open(LINK_CREATE) }
}

/// The number of a function of the running kernel, from its own description (`/sys/kernel/btf/vmlinux`;
/// Documentation/bpf/btf.rst). None: it has no such function, or describes none.
pub(super) fn function(btf: &[u8], name: &CStr) -> Option<u32> {
    const FUNC: u32 = 12;
    let word = |at: usize| btf.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    if btf.get(..2)? != 0xeb9f_u16.to_ne_bytes() {
        return None;
    }
    let header = word(4)? as usize;
    let (mut at, strings) = (header + word(8)? as usize, header + word(16)? as usize);
    let end = at + word(12)? as usize;
    let strings = btf.get(strings..)?;
    let name = name.to_bytes_with_nul();
    let mut number = 0;
    while at < end {
        number += 1;
        let (text, info) = (word(at)? as usize, word(at + 4)?);
        let members = (info & 0xffff) as usize;
        let kind = info >> 24 & 31;
        if kind == FUNC && strings.get(text..)?.starts_with(name) {
            return Some(number);
        }
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * members,
                6 | 13 => 8 * members,
                _ => 0,
            };
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn btf() -> Vec<u8> {
        // int, a structure of two members, the function looked for.
        let types: &[u32] = &[0, 1 << 24, 4, 0, 0, 4 << 24 | 2, 8, 0, 0, 0, 0, 0, 0, 1, 12 << 24, 0];
        let strings = b"\0wanted\0";
        let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let length = size_of_val(types) as u32;
        for word in [24, 0, length, length, strings.len() as u32] {
            bytes.extend(u32::to_ne_bytes(word));
        }
        bytes.extend(types.iter().flat_map(|word| word.to_ne_bytes()));
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn a_function_is_found_by_its_name() {
        assert_eq!(function(&btf(), c"wanted"), Some(3));
        assert_eq!(function(&btf(), c"want"), None);
    }

    #[test]
    fn a_description_that_is_cut_off_is_none() {
        let whole = btf();
        for cut in 0..whole.len() {
            assert_eq!(function(&whole[..cut], c"wanted"), None);
        }
    }
}
