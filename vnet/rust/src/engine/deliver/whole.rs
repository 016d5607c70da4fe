//! Messages that the switch weighs as a whole (`switch/rust/src/guard/whole.rs`): frames of guests' DHCP clients.
//!
//! A guest can rewrite its memory meanwhile, so from here on each of them is the copy that was weighed.

use nics::offload::Offload;
use nics::{BURST, Burst, Frame, TxFrame};
use switch::snoop::LONGEST;
use switch::{Decision, Switch, TagEdit};

/// Room for such messages of one burst, from the first one on.
#[derive(Default)]
pub(super) struct Wholes(Vec<u8>);

impl Wholes {
    /// The burst with its messages copied, and those dropped that may not be sent.
    #[cold]
    pub(super) fn weigh<'b>(
        &'b mut self,
        switch: &mut Switch,
        burst: &'b Burst<'_>,
        decisions: &mut [Decision],
    ) -> Burst<'b> {
        self.0.resize(BURST * LONGEST, 0);
        let mut lens = [None; BURST];
        for (i, (frame, decision)) in burst.iter().zip(decisions).enumerate() {
            if !switch.is_weighed(decision, frame.head()) {
                continue;
            }
            let room = &mut self.0[i * LONGEST..(i + 1) * LONGEST];
            let len = if frame.offload.gso_type == Offload::GSO_NONE {
                TxFrame { frame, edit: TagEdit::NONE }.copy_to(room)
            } else {
                None
            };
            switch.weigh(decision, len.map(|len| &room[..len]));
            lens[i] = len;
        }
        let mut weighed = Burst::new();
        weighed.origins = burst.origins;
        for (i, frame) in burst.iter().enumerate() {
            weighed.push(match lens[i] {
                Some(len) => {
                    Frame::flat(&self.0[i * LONGEST..][..len], frame.offload).at(frame.place, frame.sender)
                }
                None => *frame,
            });
        }
        weighed
    }
}
