//! A random plug: mostly nearly right, because what is all wrong gets no further than the first check.
//!
//! One iteration is one thing that a plug can do. Whatever comes, nothing may panic, nobody else's socket
//! may hear anything, no descriptors or files may pile up, and an honest plug must be welcome at the end.
//!
//! `VNET_FUZZ=1000000 cargo test --release -p vnet-nics vde::tests::random` runs a million;
//! `VNET_FUZZ_SEED` repeats a run.

use super::*;
use crate::backoff::Backoff;

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8) as usize % n
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

fn number_of(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Sockets that are bound in the switch's folder and open, connections to one of them included.
fn open_in(folder: &TestFolder) -> usize {
    let prefix = folder.path("vde").display().to_string();
    std::fs::read_to_string("/proc/net/unix").unwrap().lines().filter(|line| line.contains(&prefix)).count()
}

/// A request with something wrong, or nothing.
fn request(random: &mut Random, names: &[Name]) -> Vec<u8> {
    let mut bytes =
        words::request(random.pick(names), random.below(4) as u32, &"d".repeat(random.below(140)));
    for _ in 0..random.below(3) {
        match random.below(5) {
            0 => bytes.truncate(random.below(bytes.len() + 1)),
            // A number of the head, an address family, a terminator.
            1 => {
                let at = *random.pick(&[0, 3, 4, 8, 9, 11, 12, 13, 14]);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.below(256) as u8;
                }
            }
            2 => bytes.iter_mut().skip(14).filter(|b| **b == 0).for_each(|b| *b = b'x'),
            3 => bytes.extend((0..random.below(400)).map(|i| i as u8)),
            _ => {
                bytes.drain(4..8.min(bytes.len()).max(4));
            }
        }
        if bytes.len() < 8 {
            break;
        }
    }
    bytes
}

#[test]
fn whatever_a_plug_does_the_next_one_is_welcome() {
    let steps = number_of("VNET_FUZZ", 4_000);
    let seed = number_of("VNET_FUZZ_SEED", 0x5eed_1234);
    let mut random = Random(seed | 1);
    let folder = TestFolder::new();
    let mut bench = server(&folder);
    let victim = UnixDatagram::bind(folder.path("victim")).unwrap();
    victim.set_nonblocking(true).unwrap();
    let inside = |name: &str| Name::Path(folder.path("vde").join(name));
    std::os::unix::fs::symlink(folder.path("victim"), folder.path("vde/link")).unwrap();
    let mut names: Vec<Name> = ["a", "b", "ctl", "link", "none", "001.0", "../victim"].map(inside).into();
    names.push(Name::Path(folder.path("victim")));
    names.push(Name::Abstract(vec![0; 108]));
    names.push(Name::Path("x".repeat(108).into()));

    let mut sockets: Vec<Option<UnixDatagram>> = vec![None, None];
    let mut controls: Vec<UnixStream> = Vec::new();
    let (mut plugged, mut frames) = (0_u64, 0_u64);
    for step in 0..steps {
        match random.below(12) {
            0 | 1 => {
                let which = random.below(2);
                let path = folder.path(["vde/a", "vde/b"][which]);
                sockets[which] = None;
                let _ = std::fs::remove_file(&path);
                let socket = UnixDatagram::bind(&path).unwrap();
                socket.set_nonblocking(true).unwrap();
                sockets[which] = Some(socket);
            }
            2..=4 => {
                if controls.len() < 8
                    && let Ok(control) = UnixStream::connect(folder.path("vde/ctl"))
                {
                    control.set_nonblocking(true).unwrap();
                    controls.push(control);
                }
                let bytes = request(&mut random, &names);
                if let Some(mut control) = controls.last() {
                    for piece in bytes.chunks(1 + random.below(200)) {
                        let _ = control.write(piece);
                        bench.settle();
                    }
                }
            }
            5 => {
                if !controls.is_empty() {
                    controls.swap_remove(random.below(controls.len()));
                }
            }
            6 => {
                if let Some(mut control) = controls.first() {
                    let mut room = [0; 300];
                    if let Ok(n) = control.read(&mut room)
                        && let Ok(Some(Name::Path(ours))) = words::read_answer(&room[..n])
                    {
                        for socket in sockets.iter().flatten() {
                            let _ = socket.connect(&ours);
                        }
                    }
                }
            }
            7 => {
                for socket in sockets.iter().flatten() {
                    for i in 0..random.below(100) as u32 {
                        let _ = socket.send(&numbered(i, *random.pick(&[0, 1, 14, 60, 1514, 70_000])));
                    }
                }
            }
            8 => {
                let burst: Vec<_> = (0..1 + random.below(64) as u32).map(|i| numbered(i, 1514)).collect();
                frames += bench.send(&burst) as u64;
            }
            9 => {
                let mut room = [0; 2000];
                for socket in sockets.iter().flatten() {
                    while socket.recv(&mut room).is_ok() {}
                }
            }
            10 => bench.advance(random.below(4_000_000_000) as u64),
            _ => {
                let which = random.below(2);
                sockets[which] = None;
            }
        }
        bench.settle();
        bench.nic.connection.lane().until_empty();
        bench.received.clear();
        plugged += u64::from(bench.nic.carrier());
        // `ctl` and what is connected to it or waits to be (a backlog of 16), two sockets of ours, and the
        // door's for frames.
        assert!(open_in(&folder) <= 1 + 17 + 2 + 1, "step {step} of seed {seed}");
    }
    assert_eq!(victim.recv(&mut [0; 2000]).unwrap_err().kind(), ErrorKind::WouldBlock, "seed {seed}");
    assert!(plugged > 0 && frames > 0, "it was never nearly right: seed {seed}");
    drop((controls, sockets));
    bench.settle();
    // Each of those that wait to be heard may cost a pause.
    for _ in 0..20 {
        bench.advance(Backoff::LONGEST);
    }
    let _ = std::fs::remove_file(folder.path("vde/a"));
    let guest = Guest::plug(&folder, &mut bench, "a");
    bench.received.clear();
    guest.data.send(&numbered(1, 60)).unwrap();
    bench.until("received", |b| b.received.len() == 1);
}
