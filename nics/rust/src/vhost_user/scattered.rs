//! To a guest, the way that always works: a frame in several pieces, into several buffers, into chains, or for an old
//! driver. `tx.rs` comes here with what its own ways don't take.

use super::chain::Run;
use super::log::Log;
use super::ring::{AHEAD_MAX, RingFault, Used};
use super::tx::{LOOK, Takes, give_back};
use super::vring::Vring;
use crate::frame::{HEAD, Seg, TxFrame};
use switch::DropReason;

/// Copy one frame. `n` buffers ahead are filled already, and counts on, also where the ring turns out to be broken. Why the
/// frame was dropped, if it was.
#[cold]
pub fn scattered(
    ring: &mut Vring,
    takes: &Takes,
    tx: &TxFrame<'_>,
    log: Option<&Log>,
    runs: &mut Vec<Run>,
    used: &mut [Used; AHEAD_MAX],
    n: &mut usize,
) -> Result<Option<DropReason>, RingFault> {
    let need = takes.header + tx.len();
    // Where it goes: the runs of as many buffers as it takes.
    let mut buffers = 0;
    let mut room = 0;
    runs.clear();
    while room < need {
        if buffers > 0 && !takes.mergeable {
            return Ok(Some(DropReason::TxTooBig));
        }
        if *n + buffers >= ring.ahead.len() {
            // The buffers before this frame's are done with, so there is room for more ahead.
            give_back(ring, &used[..*n], log);
            used.copy_within(*n..*n + buffers, 0);
            *n = 0;
            if ring.take::<true>(buffers + LOOK)? <= buffers {
                return Ok(Some(DropReason::TxFull));
            }
        }
        let from = room;
        let walked = ring.walk::<true>(*n + buffers, &mut |run| {
            if room < need && run.len > 0 {
                let len = run.len.min((need - room) as u32);
                runs.push(Run { ptr: run.ptr, len });
                room += len as usize;
            }
            Ok(())
        });
        match walked {
            Err(RingFault::Costly) => return Ok(Some(DropReason::TxFull)),
            walked => walked?,
        }
        // There is room: both together are never more than what is ahead.
        used[*n + buffers] = Used::new(ring.ahead.get(*n + buffers).id(), (room - from) as u32);
        buffers += 1;
    }
    let header = takes.header(tx.offload(), buffers as u16);
    let mut scratch = [0; HEAD + 4];
    let mut into = Into { runs: runs.iter(), run: Run { ptr: std::ptr::null_mut(), len: 0 } };
    into.put(Seg::from(&header[..takes.header]));
    into.put(Seg::from(tx.head(&mut scratch)));
    for seg in tx.frame.body() {
        into.put(seg);
    }
    if let Some(log) = log {
        for run in runs.iter() {
            log.mark_host(ring.memory(), run.ptr, run.len);
        }
    }
    *n += buffers;
    Ok(None)
}

/// Writes one piece after the other into runs of guest memory.
struct Into<'r> {
    runs: std::slice::Iter<'r, Run>,
    /// What is left of the current one.
    run: Run,
}

impl Into<'_> {
    /// Ends when the runs do; they were measured to suffice.
    fn put(&mut self, mut seg: Seg<'_>) {
        while !seg.is_empty() {
            if self.run.len == 0 {
                match self.runs.next() {
                    Some(run) => self.run = *run,
                    None => return,
                }
            }
            let n = seg.len().min(self.run.len as usize);
            // SAFETY: the run was checked to be guest memory, which the ring keeps mapped, and n is
            // within what is left of it; the piece is readable for n bytes by Seg's promise. A guest
            // whose own buffers overlap garbles its own frame.
            unsafe {
                std::ptr::copy(seg.as_ptr(), self.run.ptr, n);
                self.run.ptr = self.run.ptr.add(n);
            }
            self.run.len -= n as u32;
            seg = seg.skip(n);
        }
    }
}
