//! What is known of a burst as a whole.
//!
//! Whoever brings a burst has copied the first bytes of its frames, and can say in which of them they differ while they
//! are at hand. What one guest sends another at a time mostly differs in little that the switch looks at, so all of it is
//! decided as one frame is, without a look at the others. Nothing is kept from burst to burst.

use crate::View;

/// Where the frames of a burst differ, which are as long as each other, without offload and without a place beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alike<'a> {
    /// Of their first bytes, the bits that are not the same in all of them.
    differ: [u8; Alike::BYTES],
    /// Of each, where that was gathered, what stands at [`Alike::PORTS`].
    ports: Option<&'a [u32]>,
}

impl<'a> Alike<'a> {
    /// Bytes that are compared, as many as the shortest frame of Ethernet has. Frames that have fewer are not known so.
    pub const BYTES: usize = 60;

    /// Where packets of IPv4 have their ports, without tags and options: most have nothing else that differs and that
    /// anybody asks for.
    pub const PORTS: usize = 34;

    /// `differ`: the bits that are not the same in all of the frames. `ports`: of each of them the four bytes at
    /// [`Alike::PORTS`], as they stand there, if they are known.
    #[inline]
    #[must_use]
    pub fn new(differ: [u8; Alike::BYTES], ports: Option<&'a [u32]>) -> Self {
        Alike { differ, ports }
    }

    /// What of it is known of some of these frames.
    #[inline]
    #[must_use]
    pub fn of_some(&self) -> Self {
        Alike { ports: None, ..*self }
    }

    /// The ports of so many frames, if they are known.
    #[inline]
    pub(crate) fn ports(&self, frames: usize) -> Option<&'a [u32]> {
        self.ports.filter(|ports| ports.len() == frames)
    }

    /// As if it were a frame: what is read of it differs in the bits that are set.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        View::plain(&self.differ, Self::BYTES as u32)
    }

    /// Whether it is so.
    #[must_use]
    pub fn is_true<'v>(&self, burst: impl IntoIterator<Item = View<'v>>) -> bool {
        let burst: Vec<_> = burst.into_iter().collect();
        let Some(first) = burst.first() else { return true };
        let like = |(number, view): (usize, &View<'_>)| {
            let same = |i: usize| (view.head[i] ^ first.head[i]) & !self.differ[i] == 0;
            let plain = View { head: view.head, ..View::plain(first.head, first.len) };
            let ports = |ports: &[u32]| {
                ports
                    .get(number)
                    .is_some_and(|word| view.head[Self::PORTS..].starts_with(&word.to_ne_bytes()))
            };
            *view == plain
                && view.head.len() >= Self::BYTES
                && (0..Self::BYTES).all(same)
                && self.ports.is_none_or(ports)
        };
        burst.iter().enumerate().all(like) && self.ports.is_none_or(|ports| ports.len() == burst.len())
    }
}

/// How many of a burst's next frames are such, `room` at most, and their bytes. They are out of the burst.
#[inline(always)]
pub(crate) fn leading<'v>(
    burst: &mut (impl Iterator<Item = View<'v>> + Clone),
    room: usize,
    mut is_such: impl FnMut(&View<'v>) -> bool,
) -> (usize, u64) {
    let (mut count, mut bytes) = (0, 0);
    while count < room {
        // Not kept for the one that is another: then all of each were written down.
        let before = burst.clone();
        let Some(view) = burst.next() else { break };
        if !is_such(&view) {
            *burst = before;
            break;
        }
        count += 1;
        bytes += u64::from(view.len);
    }
    (count, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_all_is_so_of_some_but_for_the_ports() {
        let mut frames = [[7_u8; 60]; 9];
        let mut differ = [0; Alike::BYTES];
        differ[35] = 0xff;
        for (frame, port) in frames.iter_mut().zip(0..) {
            frame[35] = port;
        }
        let mut ports = frames.map(|frame| u32::from_ne_bytes([frame[34], frame[35], frame[36], frame[37]]));
        let views = || frames.iter().map(|frame| View::plain(frame, 60));
        let all = Alike::new(differ, Some(&ports));
        assert!(all.is_true(views()) && all.ports(9).is_some());
        assert!(!all.is_true(views().skip(1)) && all.ports(8).is_none());
        assert!(all.of_some().is_true(views().skip(1)) && all.of_some().ports(9).is_none());
        assert!(!Alike::new([0; Alike::BYTES], None).is_true(views()));
        ports.swap(3, 4);
        assert!(!Alike::new(differ, Some(&ports)).is_true(views()));
    }
}
