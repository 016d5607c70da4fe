//! Frames that the kernel put aside whole, because a slot has no room for them, and how each meets its slot.
//!
//! It is put aside and its slot taken under one lock, so both come in one order. But what happened to the
//! interface a socket tells once, and instead of a frame. Were the frame's slot passed then, the frame would
//! be left behind, and every later slot would get the one before its own, in another's VLAN. So the
//! socket is asked again. And each frame is told of by itself, too (PACKET_AUXDATA): one that its slot does not
//! speak of is none of this slot's.

use super::HEADER;
use super::ring::{Slot, Tag, tag};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// How often a slot asks for its frame. What it leaves behind, later ones clear away.
const TRIES: usize = 8;

/// What a frame is known by: how long it is with its header, and the tag that was taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Label {
    len: usize,
    tag: Option<Tag>,
}

/// Receive the frame of `slot`, header first: its length with the header, also when `room` is shorter. None: it
/// is lost.
pub(super) fn receive(socket: impl AsFd, slot: &Slot, room: &mut [u8]) -> Option<usize> {
    let wanted = Label { len: HEADER + slot.len as usize, tag: slot.tag() };
    find(wanted, || next(&socket, room)).then_some(wanted.len)
}

/// Take frames up to the wanted one. Whether it is there; each slot that has none counts as a loss, so what
/// is found of such a slot later was counted.
fn find(wanted: Label, mut next: impl FnMut() -> io::Result<Label>) -> bool {
    for _ in 0..TRIES {
        match next().map_err(|e| e.raw_os_error()) {
            Ok(label) if label == wanted => return true,
            // There is none; or one was taken that can't be had.
            Err(Some(libc::EAGAIN | libc::EINVAL | libc::EFAULT)) => return false,
            _ => {}
        }
    }
    false
}

/// Receive the next one. (Packet sockets know no MSG_NOSIGNAL.)
fn next(socket: impl AsFd, room: &mut [u8]) -> io::Result<Label> {
    // Words, so that it is aligned as a header has to be.
    let mut control = [0u64; 8];
    let mut run = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: all-zero is a valid msghdr: no name, no control data, no runs.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut run;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: all that the message points to lives through the call and is writable for the lengths given.
    let n = unsafe {
        let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
        libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut message, flags)
    };
    let len = usize::try_from(n).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the control data is what the kernel wrote, in `control`; of a header as long as one with a
    // tpacket_auxdata the data is that, integers, wherever it lies.
    let told = unsafe {
        let size = libc::CMSG_LEN(size_of::<libc::tpacket_auxdata>() as libc::c_uint) as usize;
        libc::CMSG_FIRSTHDR(&raw const message).as_ref().and_then(|header| {
            let is_it = header.cmsg_level == libc::SOL_PACKET && header.cmsg_type == libc::PACKET_AUXDATA;
            (is_it && header.cmsg_len >= size)
                .then(|| libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned())
        })
    };
    let tag = told.and_then(|aux| tag(aux.tp_status, aux.tp_vlan_tpid, aux.tp_vlan_tci));
    Ok(Label { len, tag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const RED: Label = Label { len: 3010, tag: Some((0x8100, 10)) };
    const BLUE: Label = Label { len: 3010, tag: Some((0x8100, 20)) };
    const PLAIN: Label = Label { len: 3010, tag: None };

    /// A socket and what it answers, an error by its number.
    struct Queue(VecDeque<Result<Label, i32>>);

    impl Queue {
        fn new(answers: impl IntoIterator<Item = Result<Label, i32>>) -> Self {
            Queue(answers.into_iter().collect())
        }

        fn find(&mut self, wanted: Label) -> bool {
            find(wanted, || {
                let answer = self.0.pop_front().unwrap_or(Err(libc::EAGAIN));
                answer.map_err(io::Error::from_raw_os_error)
            })
        }
    }

    #[test]
    fn an_error_of_the_interface_takes_no_frame_away() {
        let mut queue = Queue::new([Ok(RED), Err(libc::ENETDOWN), Err(libc::ENETDOWN), Ok(BLUE), Ok(RED)]);
        assert!([RED, BLUE, RED].iter().all(|wanted| queue.find(*wanted)));
        assert!(!queue.find(BLUE), "there is none");
    }

    #[test]
    fn what_was_left_behind_goes_to_no_other_slot() {
        let longer = Label { len: 3011, ..RED };
        let mut queue = Queue::new([BLUE, PLAIN, longer, RED, BLUE].map(Ok));
        assert!([RED, BLUE].iter().all(|wanted| queue.find(*wanted)));
        let mut queue = Queue::new((0..2 * TRIES).map(|_| Ok(BLUE)).chain([Ok(RED), Ok(PLAIN)]));
        assert_eq!([RED, RED, RED, PLAIN].map(|wanted| queue.find(wanted)), [false, false, true, true]);
    }

    #[test]
    fn a_frame_that_can_not_be_had_is_its_slot_s_loss() {
        let mut queue = Queue::new([Err(libc::EINVAL), Ok(BLUE), Err(libc::EFAULT), Ok(PLAIN)]);
        assert_eq!([RED, BLUE, RED, PLAIN].map(|wanted| queue.find(wanted)), [false, true, false, true]);
    }
}
