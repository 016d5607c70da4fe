//! The socket filter that lets in what the fabric owns, so that the rest of the wire's traffic costs
//! no room and no copy: classic BPF, compiled by the kernel.
//!
//! Groups pass always. Of unicast pass the stations of the fabric, found by halving their list; when
//! there is a guest whose addresses nobody knows beforehand, all but what is the host's own.

use std::io;
use std::os::fd::{AsFd, AsRawFd};

pub type Mac = [u8; 6];

/// The most stations that a filter knows: its length is limited (BPF_MAXINSNS).
pub const STATIONS_MAX: usize = 500;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_ABOVE: u16 = 0x25;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

const PASS: u32 = u32::MAX;
const REJECT: u32 = 0;

fn op(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// The first two and the last four bytes.
fn halves(mac: &Mac) -> (u32, u32) {
    let [a, b, c, d, e, f] = *mac;
    (u32::from(u16::from_be_bytes([a, b])), u32::from_be_bytes([c, d, e, f]))
}

/// What lets in groups and `stations`, of which there are not too many.
pub fn only(stations: &[Mac]) -> Vec<libc::sock_filter> {
    let mut sorted: Vec<_> = stations.iter().map(halves).map(|(high, low)| (low, high)).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let mut program = groups();
    program.push(op(LOAD_WORD, 0, 0, 2));
    search(&sorted, &mut program);
    program
}

/// What lets in everything but what is addressed to `host`.
pub fn all_but(host: &Mac) -> Vec<libc::sock_filter> {
    let (high, low) = halves(host);
    let mut program = groups();
    program.extend([
        op(LOAD_WORD, 0, 0, 2),
        op(JUMP_EQUAL, 1, 0, low),
        op(RETURN, 0, 0, PASS),
        op(LOAD_HALF, 0, 0, 0),
        op(JUMP_EQUAL, 0, 1, high),
        op(RETURN, 0, 0, REJECT),
        op(RETURN, 0, 0, PASS),
    ]);
    program
}

/// What lets in nothing.
pub fn nothing() -> Vec<libc::sock_filter> {
    vec![op(RETURN, 0, 0, REJECT)]
}

fn groups() -> Vec<libc::sock_filter> {
    vec![op(LOAD_BYTE, 0, 0, 0), op(JUMP_SET, 0, 1, 1), op(RETURN, 0, 0, PASS)]
}

/// With the address's last four bytes loaded, whether it is one of `stations`: (last four, first two).
fn search(stations: &[(u32, u32)], program: &mut Vec<libc::sock_filter>) {
    // All with one low half stand together.
    let distinct = stations.first().zip(stations.last()).is_some_and(|(a, b)| a.0 != b.0);
    if !distinct {
        if let Some((low, _)) = stations.first() {
            program.extend([op(JUMP_EQUAL, 1, 0, *low), op(RETURN, 0, 0, REJECT), op(LOAD_HALF, 0, 0, 0)]);
            for (_, high) in stations {
                program.extend([op(JUMP_EQUAL, 0, 1, *high), op(RETURN, 0, 0, PASS)]);
            }
        }
        program.push(op(RETURN, 0, 0, REJECT));
        return;
    }
    let mut middle = stations.len() / 2;
    // Halve between two low halves.
    while middle > 0 && stations[middle - 1].0 == stations[middle].0 {
        middle -= 1;
    }
    if middle == 0 {
        middle = stations.len() / 2;
        while stations[middle - 1].0 == stations[middle].0 {
            middle += 1;
        }
    }
    let (below, above) = stations.split_at(middle);
    let pivot = below[below.len() - 1].0;
    let mut lower = Vec::new();
    search(below, &mut lower);
    program.push(op(JUMP_ABOVE, 0, 1, pivot));
    program.push(op(JUMP, 0, 0, lower.len() as u32));
    program.append(&mut lower);
    search(above, program);
}

/// Have the kernel use it from the next frame on.
pub fn attach(socket: impl AsFd, program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program has `len` instructions and lives through the call, which copies it.
    let ret = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::bpf::{Insn, Program, Verdict};

    fn run(program: &[libc::sock_filter], to: Mac) -> bool {
        let instructions =
            program.iter().map(|i| Insn { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect::<Vec<_>>();
        let program = Program::new(&instructions).unwrap();
        let frame = [&to[..], &[2, 9, 9, 9, 9, 9, 8, 0], &[0; 46]].concat();
        program.run(&frame, frame.len() as u32) != Verdict::Reject
    }

    fn mac(n: u32) -> Mac {
        let [a, b, c, d] = n.wrapping_mul(2_654_435_761).to_be_bytes();
        [2, (n % 3) as u8, a, b, c, d]
    }

    #[test]
    fn stations_and_groups_pass_and_nobody_else() {
        for count in [0, 1, 2, 3, 17, STATIONS_MAX as u32] {
            let stations: Vec<_> = (0..count).map(mac).collect();
            let program = only(&stations);
            assert!(program.len() <= 4096, "{} instructions for {count}", program.len());
            for station in &stations {
                assert!(run(&program, *station));
            }
            for other in count..count + 200 {
                assert!(!run(&program, mac(other)));
            }
            assert!(run(&program, [0xff; 6]) && run(&program, [1, 0, 0x5e, 0, 0, 1]));
        }
    }

    #[test]
    fn stations_with_the_same_end_are_told_apart() {
        let stations: Vec<_> = (0..100).map(|n| [2, n, 0, 0, 0, (n % 2)]).collect();
        let program = only(&stations);
        assert!(stations.iter().all(|station| run(&program, *station)));
        assert!(!run(&program, [2, 3, 0, 0, 0, 0]) && !run(&program, [2, 200, 0, 0, 0, 0]));
    }

    #[test]
    fn the_hosts_own_is_left_to_the_host() {
        let program = all_but(&[2, 0, 0, 0, 0, 1]);
        assert!(!run(&program, [2, 0, 0, 0, 0, 1]));
        assert!(
            run(&program, [4, 0, 0, 0, 0, 1])
                && run(&program, [2, 0, 0, 0, 0, 2])
                && run(&program, [0xff; 6])
        );
        assert!(!run(&nothing(), [0xff; 6]));
    }
}
