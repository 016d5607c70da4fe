//! Churn detection (802.1AX-2014 6.4.17): an end that does not come to agree within a minute, whatever the other
//! machines do meanwhile. Nothing follows from it but that people are told.

use super::CHURN;
use crate::Nanos;

/// Figures 6-23 and 6-24.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Churn {
    /// NO_CHURN: it agrees, or there is nothing to agree about.
    #[default]
    Quiet,
    /// CHURN_MONITOR: it does not agree, and may yet.
    Monitor,
    /// CHURN: it has not for a minute.
    Churned,
}

impl Churn {
    /// As `vnet status` shows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Churn::Quiet => "none",
            Churn::Monitor => "monitor",
            Churn::Churned => "churned",
        }
    }
}

/// The machine of one end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Detection {
    pub state: Churn,
    until: Nanos,
}

impl Detection {
    /// The port has carrier or not, and this end is in sync or not.
    pub fn look(&mut self, enabled: bool, in_sync: bool, now: Nanos) {
        if !enabled || in_sync {
            self.state = Churn::Quiet;
        } else if self.state == Churn::Quiet {
            *self = Detection { state: Churn::Monitor, until: now + CHURN };
        } else if self.until <= now {
            self.state = Churn::Churned;
        }
    }

    pub fn deadline(&self) -> Option<Nanos> {
        (self.state == Churn::Monitor).then_some(self.until)
    }
}
