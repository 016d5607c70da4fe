//! A carrier as it was told last: a door says of it only what is new.

use crate::context::{Context, EventKind};

/// Down, as long as nothing was told.
#[derive(Debug, Default)]
pub struct Told(bool);

impl Told {
    /// Tell that the carrier is like this, if it was not told yet.
    pub fn tell(&mut self, carrier: bool, cx: Option<&Context>) {
        if std::mem::replace(&mut self.0, carrier) != carrier
            && let Some(cx) = cx
        {
            cx.event(EventKind::Carrier(carrier));
        }
    }

    #[must_use]
    pub fn is_up(&self) -> bool {
        self.0
    }
}
