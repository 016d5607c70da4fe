//! TCP as somebody on the way sees it: whether a segment can belong to the connection (RFC 9293).
//!
//! Of each end four numbers are kept, after G. van Rooij, "Real Stateful TCP Packet Filtering": how
//! far it has sent (`end`), how far the other end's window lets it (`limit`), and the largest window
//! it has offered (`window`, by `scale`). A segment is good if
//!
//!   1. it begins no further than `limit`: the receiver has room for it;
//!   2. it ends no earlier than the receiver's largest window before `end`: it is no older than
//!      anything that can be on its way;
//!   3. it acknowledges nothing that was not sent,
//!   4. and nothing so old that nobody would.
//!
//! Numbers are compared as RFC 1323 says, around the circle. What a host must sort out with its peer
//! (a SYN in a connection that is there, a challenge for one that is not, RFC 5961) passes and changes
//! nothing, but for what `tcp/knock.rs` says; a segment that no host would take is refused.

use super::packet::Segment;

mod knock;
mod row;

pub(super) use knock::Knock;
pub(super) use row::Row;

pub(super) const FIN: u8 = 1;
pub(super) const SYN: u8 = 2;
pub(super) const RST: u8 = 4;
pub(super) const ACK: u8 = 16;

/// Acknowledgements may be this old at least, whatever the window: bytes.
const OLD_ACK: u32 = 66_000;

/// What is known of the data that one end sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Half {
    /// One past the last sequence number it has sent.
    end: u32,
    /// How far it may send.
    limit: u32,
    /// The largest window that it has offered, in bytes.
    window: u32,
    scale: u8,
    flags: u8,
}

/// It has sent a SYN, a FIN; the FIN was acknowledged.
const SENT_SYN: u8 = 1;
const SENT_FIN: u8 = 2;
const FIN_ACKED: u8 = 4;
/// It offers to scale windows.
const SCALES: u8 = 8;
/// Some of its data came in fragments, so nobody here knows how far.
const UNSEEN: u8 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum State {
    /// The one that began has sent its SYN.
    SynSent,
    /// The other one has answered.
    SynReceived,
    Established,
    /// One end has sent its FIN.
    Closing,
    /// Both have, and both were acknowledged.
    TimeWait,
    /// It was reset.
    Closed,
}

/// What a segment comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It belongs to the connection, which is now in this state.
    Good(State),
    /// It begins another connection between the same ends, this one being over.
    Anew,
    /// No host would take it.
    Bad,
}

/// Whether `a` is later than `b`, around the circle.
#[inline]
fn after(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}

fn later(a: u32, b: u32) -> u32 {
    if after(a, b) { a } else { b }
}

/// Whether this segment is one that a connection begins with.
pub(super) fn begins(segment: &Segment) -> bool {
    segment.flags & (SYN | ACK | RST | FIN) == SYN
}

/// The halves of a connection that begins with this SYN, sent by the end `from`.
pub(super) fn begin(from: usize, syn: &Segment) -> [Half; 2] {
    let mut halves = [Half::default(); 2];
    if let Some(half) = halves.get_mut(from) {
        offer(half, syn);
    }
    halves
}

/// What a SYN says of its sender. Data that comes with it (RFC 7413) need not be taken.
fn offer(half: &mut Half, syn: &Segment) {
    half.limit = syn.seq.wrapping_add(1);
    half.end = half.limit.wrapping_add(syn.len);
    half.window = u32::from(syn.window).max(1);
    half.scale = syn.scale.unwrap_or(0);
    half.flags = SENT_SYN | if syn.scale.is_some() { SCALES } else { 0 };
}

/// What a segment of the end `from` comes to; `origin` is the end that began, and may have to begin once more.
#[inline]
pub(super) fn step(
    halves: &mut [Half; 2],
    knock: &mut Knock,
    state: State,
    origin: usize,
    from: usize,
    segment: &Segment,
) -> Step {
    let (sender, receiver) = ends(halves, from);
    if state == State::Established && segment.flags & (SYN | FIN | RST | ACK) == ACK && !segment.cut {
        return if carries_on(sender, receiver, segment) { Step::Good(state) } else { Step::Bad };
    }
    rare(sender, receiver, knock, state, origin == from, segment)
}

/// Of a connection whose end `from` sends: the half of who sends, and that of who receives.
#[inline]
pub(super) fn ends(halves: &mut [Half; 2], from: usize) -> (&mut Half, &mut Half) {
    let [one, other] = halves;
    if from == 0 { (one, other) } else { (other, one) }
}

#[inline(never)]
fn rare(
    sender: &mut Half,
    receiver: &mut Half,
    knock: &mut Knock,
    state: State,
    by_origin: bool,
    segment: &Segment,
) -> Step {
    let flags = segment.flags;
    if flags & SYN != 0 && flags & (FIN | RST) != 0 {
        return Step::Bad;
    }
    if begins(segment) {
        return syn(sender, receiver, knock, state, by_origin, segment);
    }
    if state == State::SynSent {
        return answer(sender, receiver, by_origin, segment);
    }
    if flags & RST != 0 {
        // A reset at the very place that is expected closes (RFC 5961, 3.2); near it, the receiver
        // asks back, and nothing is known yet.
        let near = !after(segment.seq, sender.limit.wrapping_add(1))
            && !after(sender.end.wrapping_sub(receiver.window.max(1)), segment.seq.wrapping_add(1));
        let exact = segment.seq == sender.end || sender.flags & UNSEEN != 0;
        return match (near, exact) {
            (true, true) => Step::Good(State::Closed),
            (true, false) => Step::Good(state),
            _ => Step::Bad,
        };
    }
    if flags & ACK == 0 || state == State::Closed {
        return Step::Bad;
    }
    if !carries_on(sender, receiver, segment) {
        let opens = flags & SYN != 0 && !by_origin;
        return if opens { knock.answer(sender, receiver, segment) } else { Step::Bad };
    }
    if flags & FIN != 0 {
        sender.flags |= SENT_FIN;
    }
    if receiver.flags & SENT_FIN != 0 && !after(receiver.end, segment.ack) {
        receiver.flags |= FIN_ACKED;
    }
    let both = |flag: u8| sender.flags & receiver.flags & flag != 0;
    let one = (sender.flags | receiver.flags) & SENT_FIN != 0;
    Step::Good(match state {
        _ if both(FIN_ACKED) => State::TimeWait,
        _ if one => State::Closing,
        State::SynReceived if by_origin && flags & SYN == 0 => State::Established,
        state => state,
    })
}

/// A SYN alone where there is a connection already.
fn syn(
    sender: &mut Half,
    receiver: &mut Half,
    knock: &mut Knock,
    state: State,
    by_origin: bool,
    syn: &Segment,
) -> Step {
    match state {
        State::TimeWait | State::Closed => Step::Anew,
        // Once more, or with another number, by an end that nobody has answered yet.
        State::SynSent if by_origin => {
            offer(sender, syn);
            Step::Good(state)
        }
        // Both at once (RFC 9293, 3.5): the other end has not answered, it has begun as well.
        State::SynSent => {
            offer(sender, syn);
            settle(sender, receiver);
            receiver.limit = receiver.end.wrapping_add(sender.window);
            sender.limit = sender.end.wrapping_add(receiver.window);
            Step::Good(State::SynReceived)
        }
        state => {
            if by_origin {
                *knock = Knock::by(syn);
            }
            Step::Good(state)
        }
    }
}

/// Windows are scaled if both offer it.
fn settle(one: &mut Half, other: &mut Half) {
    if one.flags & other.flags & SCALES == 0 {
        (one.scale, other.scale) = (0, 0);
    }
}

/// A segment, no mere SYN, where only the first SYN was seen.
fn answer(sender: &mut Half, receiver: &mut Half, by_origin: bool, segment: &Segment) -> Step {
    let flags = segment.flags;
    if by_origin {
        // It may reset what it was challenged about; that it has not begun, it knows itself.
        return if flags & RST != 0 { Step::Good(State::SynSent) } else { Step::Bad };
    }
    if flags & ACK == 0 {
        return Step::Bad;
    }
    let fits = !after(segment.ack, receiver.end) && !after(receiver.limit, segment.ack);
    if flags & RST != 0 {
        return if fits { Step::Good(State::Closed) } else { Step::Bad };
    }
    if flags & SYN == 0 {
        // The answer of a host that holds an old connection for this one (RFC 5961, 4.2).
        return if segment.len == 0 && flags & FIN == 0 { Step::Good(State::SynSent) } else { Step::Bad };
    }
    if !fits {
        return Step::Bad;
    }
    offer(sender, segment);
    settle(sender, receiver);
    sender.limit = sender.end.wrapping_add(receiver.window);
    receiver.limit = later(receiver.limit, segment.ack.wrapping_add(u32::from(segment.window)));
    Step::Good(State::SynReceived)
}

/// Take a segment of a connection that both ends know of, and learn from it; `false`: no host would. With one branch:
/// nearly all of TCP's packets come by here.
#[inline(always)]
pub(super) fn carries_on(sender: &mut Half, receiver: &mut Half, segment: &Segment) -> bool {
    let Segment { seq, ack, .. } = *segment;
    let control = u32::from(segment.flags & SYN != 0) + u32::from(segment.flags & FIN != 0);
    let end = seq.wrapping_add(segment.len).wrapping_add(control);
    let scale = if segment.flags & SYN != 0 { 0 } else { sender.scale & 15 };
    let window = u32::from(segment.window) << scale;
    let unseen = receiver.flags & UNSEEN != 0;
    // By the rules above, in their order: each is negative for a segment that no host would take.
    let begins = sender.limit.wrapping_sub(seq);
    let ends = end.wrapping_sub(sender.end).wrapping_add(receiver.window.max(1));
    let sent = if unseen { 0 } else { receiver.end.wrapping_sub(ack) };
    let fresh = ack.wrapping_sub(receiver.end).wrapping_add(sender.window.max(OLD_ACK));
    if ((begins | ends | sent | fresh) as i32) < 0 {
        return false;
    }
    sender.window = sender.window.max(window);
    sender.end = later(end, sender.end);
    if segment.cut {
        sender.flags |= UNSEEN;
    }
    if unseen {
        receiver.end = later(ack, receiver.end);
    }
    // A closed window is probed with a byte beyond it.
    receiver.limit = later(receiver.limit, ack.wrapping_add(window.max(1)));
    true
}

/// Whether a segment with this number can be on its way, so that an ICMP error may be about it
/// (RFC 5927, 4.1).
pub(super) fn is_on_its_way(sender: &Half, receiver: &Half, seq: u32) -> bool {
    !after(seq, sender.end) && !after(sender.end.wrapping_sub(receiver.window.max(OLD_ACK)), seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection and what was said about each segment.
    struct Talk {
        halves: [Half; 2],
        knock: Knock,
        state: State,
    }

    fn segment(flags: u8, seq: u32, ack: u32, len: u32) -> Segment {
        Segment { seq, ack, flags, window: 1000, len, scale: None, cut: false }
    }

    impl Talk {
        /// End 0 begins at 100, end 1 at 900.
        fn begin() -> Talk {
            let syn = segment(SYN, 100, 0, 0);
            assert!(begins(&syn));
            Talk { halves: begin(0, &syn), knock: Knock::default(), state: State::SynSent }
        }

        fn established() -> Talk {
            let mut talk = Talk::begin();
            talk.good(1, segment(SYN | ACK, 900, 101, 0), State::SynReceived);
            talk.good(0, segment(ACK, 101, 901, 0), State::Established);
            talk
        }

        fn says(&mut self, from: usize, segment: Segment) -> Step {
            let step = step(&mut self.halves, &mut self.knock, self.state, 0, from, &segment);
            if let Step::Good(state) = step {
                self.state = state;
            }
            step
        }

        #[track_caller]
        fn good(&mut self, from: usize, segment: Segment, state: State) {
            assert_eq!(self.says(from, segment), Step::Good(state));
        }

        #[track_caller]
        fn bad(&mut self, from: usize, segment: Segment) {
            assert_eq!(self.says(from, segment), Step::Bad);
        }
    }

    #[test]
    fn from_syn_to_time_wait() {
        let mut talk = Talk::established();
        talk.good(0, segment(ACK, 101, 901, 500), State::Established);
        talk.good(1, segment(ACK, 901, 601, 0), State::Established);
        talk.good(0, segment(FIN | ACK, 601, 901, 0), State::Closing);
        talk.good(1, segment(ACK, 901, 602, 10), State::Closing);
        talk.good(1, segment(FIN | ACK, 911, 602, 0), State::Closing);
        talk.good(0, segment(ACK, 602, 912, 0), State::TimeWait);
        talk.good(1, segment(FIN | ACK, 911, 602, 0), State::TimeWait);
        assert_eq!(talk.says(0, segment(SYN, 5000, 0, 0)), Step::Anew);
    }

    #[test]
    fn what_begins_nothing() {
        for flags in [ACK, SYN | ACK, RST, FIN, SYN | FIN, SYN | RST, 0] {
            assert!(!begins(&segment(flags, 1, 1, 0)), "{flags}");
        }
    }

    #[test]
    fn an_answer_must_fit_the_syn() {
        for ack in [100, 102, 5000] {
            Talk::begin().bad(1, segment(SYN | ACK, 900, ack, 0));
            Talk::begin().bad(1, segment(RST | ACK, 0, ack, 0));
        }
        Talk::begin().bad(1, segment(RST, 900, 0, 0));
        Talk::begin().bad(1, segment(SYN | ACK | FIN, 900, 101, 0));
        Talk::begin().bad(1, segment(ACK, 900, 101, 5));
        Talk::begin().bad(0, segment(ACK, 101, 901, 0));
        Talk::begin().good(1, segment(RST | ACK, 0, 101, 0), State::Closed);
        Talk::begin().good(1, segment(ACK, 12345, 999, 0), State::SynSent);
        Talk::begin().good(0, segment(SYN, 100, 0, 0), State::SynSent);
    }

    #[test]
    fn both_may_begin_at_once() {
        let mut talk = Talk::begin();
        talk.good(1, segment(SYN, 900, 0, 0), State::SynReceived);
        talk.good(0, segment(SYN | ACK, 100, 901, 0), State::SynReceived);
        talk.good(1, segment(SYN | ACK, 900, 101, 0), State::SynReceived);
        talk.good(0, segment(ACK, 101, 901, 0), State::Established);
    }

    #[test]
    fn out_of_the_window() {
        // Room for 1,000 bytes each way.
        Talk::established().good(0, segment(ACK, 1101, 901, 1), State::Established);
        Talk::established().bad(0, segment(ACK, 1102, 901, 1));
        Talk::established().bad(0, segment(ACK, 101_u32.wrapping_sub(1002), 901, 0));
        Talk::established().bad(0, segment(ACK, 101, 902, 0));
        Talk::established().bad(0, segment(ACK, 101, 901_u32.wrapping_sub(66_001), 0));
        Talk::established().bad(0, segment(0, 101, 0, 10));
        Talk::established().bad(0, segment(FIN, 101, 0, 10));
        Talk::established().bad(1, segment(SYN | ACK | RST, 901, 101, 0));
    }

    #[test]
    fn resets() {
        Talk::established().good(0, segment(RST, 101, 0, 0), State::Closed);
        Talk::established().good(0, segment(RST | ACK, 101, 901, 0), State::Closed);
        Talk::established().good(0, segment(RST, 400, 0, 0), State::Established);
        Talk::established().bad(0, segment(RST, 5000, 0, 0));
        let mut talk = Talk::established();
        talk.good(0, segment(RST, 101, 0, 0), State::Closed);
        talk.bad(1, segment(ACK, 901, 101, 10));
        assert_eq!(talk.says(0, segment(SYN, 9000, 0, 0)), Step::Anew);
    }

    #[test]
    fn a_syn_in_a_connection_is_for_the_hosts_to_sort_out() {
        let mut talk = Talk::established();
        talk.good(0, segment(SYN, 7000, 0, 0), State::Established);
        talk.good(1, segment(ACK, 901, 101, 0), State::Established);
        talk.good(0, segment(RST, 101, 0, 0), State::Closed);
        assert_eq!(talk.says(0, segment(SYN, 7000, 0, 0)), Step::Anew);
    }

    #[test]
    fn a_host_that_has_lost_the_connection_begins_anew() {
        for before in [State::Established, State::Closing] {
            let mut talk = Talk::established();
            if before == State::Closing {
                talk.good(1, segment(FIN | ACK, 901, 101, 0), State::Closing);
            }
            talk.bad(1, segment(SYN | ACK, 1 << 30, 1 << 31 | 1, 0));
            talk.good(0, segment(SYN, 1 << 31, 0, 0), before);
            for wrong in [1 << 31, 1 << 31 | 2] {
                talk.bad(1, segment(SYN | ACK, 1 << 30, wrong, 0));
            }
            talk.bad(1, segment(ACK, 1 << 30, 1 << 31 | 1, 0));
            talk.bad(0, segment(SYN | ACK, 1 << 30, 1 << 31 | 1, 0));
            talk.good(1, segment(SYN | ACK, 1 << 30, 1 << 31 | 1, 0), State::SynReceived);
            talk.bad(0, segment(ACK, 101, 901, 5));
            talk.good(0, segment(ACK, 1 << 31 | 1, 1 << 30 | 1, 0), State::Established);
            talk.good(1, segment(ACK, 1 << 30 | 1, 1 << 31 | 1, 500), State::Established);
        }
    }

    #[test]
    fn a_syn_that_comes_twice_begins_nothing_anew() {
        let mut talk = Talk::begin();
        talk.good(1, segment(SYN | ACK, 900, 101, 0), State::SynReceived);
        talk.good(0, segment(SYN, 100, 0, 0), State::SynReceived);
        talk.good(0, segment(ACK, 101, 901, 500), State::Established);
        talk.good(1, segment(SYN | ACK, 900, 101, 0), State::Established);
        talk.good(0, segment(ACK, 601, 901, 500), State::Established);
    }

    #[test]
    fn scaled_windows() {
        let scaled = |flags, seq, ack, scale| Segment { scale, ..segment(flags, seq, ack, 0) };
        for (one, other, far) in [(Some(7), Some(7), true), (Some(7), None, false), (None, Some(7), false)] {
            let halves = begin(0, &scaled(SYN, 100, 0, one));
            let mut talk = Talk { halves, ..Talk::begin() };
            talk.good(1, scaled(SYN | ACK, 900, 101, other), State::SynReceived);
            talk.good(0, segment(ACK, 101, 901, 0), State::Established);
            talk.good(1, segment(ACK, 901, 101, 0), State::Established);
            let step = talk.says(0, segment(ACK, 101 + 100_000, 901, 0));
            assert_eq!(step == Step::Good(State::Established), far, "{one:?} {other:?}");
        }
    }

    #[test]
    fn data_in_fragments() {
        let mut talk = Talk::established();
        talk.good(0, Segment { cut: true, ..segment(ACK, 101, 901, 100) }, State::Established);
        // How much was sent in all, the acknowledgement says.
        talk.good(1, segment(ACK, 901, 701, 0), State::Established);
        talk.good(0, segment(ACK, 701, 901, 10), State::Established);
    }

    #[test]
    fn numbers_go_around() {
        let start = u32::MAX - 100;
        let mut talk = Talk { halves: begin(0, &segment(SYN, start, 0, 0)), ..Talk::begin() };
        let first = start.wrapping_add(1);
        talk.good(1, segment(SYN | ACK, 900, first, 0), State::SynReceived);
        talk.good(0, segment(ACK, first, 901, 500), State::Established);
        talk.good(1, segment(ACK, 901, first.wrapping_add(500), 0), State::Established);
        talk.good(0, segment(ACK, first.wrapping_add(500), 901, 500), State::Established);
        talk.bad(0, segment(ACK, first.wrapping_add(5000), 901, 1));
    }

    #[test]
    fn a_closed_window_is_probed() {
        let mut talk = Talk::established();
        talk.good(0, segment(ACK, 101, 901, 1000), State::Established);
        talk.good(1, Segment { window: 0, ..segment(ACK, 901, 1101, 0) }, State::Established);
        talk.good(0, segment(ACK, 1101, 901, 1), State::Established);
    }

    #[test]
    fn errors_are_about_what_is_on_its_way() {
        let mut talk = Talk::established();
        talk.good(0, segment(ACK, 101, 901, 500), State::Established);
        let [one, other] = &talk.halves;
        assert!(is_on_its_way(one, other, 101));
        assert!(!is_on_its_way(one, other, 700));
        assert!(!is_on_its_way(one, other, 101_u32.wrapping_sub(70_000)));
    }
}
