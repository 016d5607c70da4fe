//! Private VLANs (RFC 5517): who of one network may exchange frames with whom.
//!
//! A port is promiscuous (a gateway, an uplink), isolated, or of a community. A promiscuous port
//! reaches everybody, an isolated one promiscuous ports alone, and a community's those and its own.
//! It is asked in two places, for one port (`classify/`) and for each port of a flood
//! (`Switch::floods_to`), so that it holds for every kind of frame.
//!
//! What is asked about is the sender's [`Place`], which a decision has. At a guest's port it follows
//! from how the port is set up. Over a link between two switches it goes beside the frame, in no byte
//! of it that a guest could write or a wire could damage ([`TagEdit::place`](crate::TagEdit)), and the next switch
//! takes it from there. A frame that comes by such a link with no place told counts as isolated.

use crate::VlanId;
use crate::config::VlanSet;

/// A port that does not reach everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Private {
    /// In these VLANs; elsewhere it is promiscuous.
    pub vlans: VlanSet,
    /// Ports with the same number reach each other; 0: isolated. At most [`Private::COMMUNITIES`].
    pub community: u16,
}

impl Private {
    /// The highest number of a community.
    pub const COMMUNITIES: u16 = u16::MAX - Place::ISOLATED.0;
}

/// Where the sender of a frame stands in its VLAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u16);

impl Place {
    /// Nobody said: good for no more than an isolated one's.
    pub const UNTOLD: Place = Place(0);
    pub const PROMISCUOUS: Place = Place(1);
    pub const ISOLATED: Place = Place(2);

    /// Of a port in `vlan`.
    #[inline]
    #[must_use]
    pub fn of(private: Option<&Private>, vlan: VlanId) -> Place {
        match private {
            Some(private) if private.vlans.contains(vlan) => {
                Place(Self::ISOLATED.0.saturating_add(private.community))
            }
            _ => Self::PROMISCUOUS,
        }
    }

    /// Whether frames pass between two places of one VLAN, either way.
    #[inline]
    #[must_use]
    pub fn reaches(self, other: Place) -> bool {
        self == Self::PROMISCUOUS
            || other == Self::PROMISCUOUS
            || (self == other && self.0 > Self::ISOLATED.0)
    }
}

/// As `switch/private.py` counts them.
impl From<u16> for Place {
    fn from(number: u16) -> Place {
        Place(number)
    }
}

impl From<Place> for u16 {
    fn from(place: Place) -> u16 {
        place.0
    }
}
