//! What a front-end may choose from: features, queues, and what its guest's device says of itself.

use super::protocol::{CONFIG_FIELDS, feature, protocol_feature};

/// What is offered to front-ends.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub features: u64,
    pub protocol: u64,
    /// Queue pairs.
    pub pairs: u16,
    /// Largest payload in bytes that a front-end may set.
    pub mtu: u16,
    /// The guest's MAC address, where the device is to say so itself.
    pub mac: Option<[u8; 6]>,
}

impl Offer {
    /// Everything that is implemented.
    #[must_use]
    pub fn all(pairs: u16, mtu: u16, offloads: bool) -> Self {
        let mut features = feature::MTU
            | feature::MRG_RXBUF
            | feature::STATUS
            | feature::CTRL_VQ
            | feature::GUEST_ANNOUNCE
            | feature::MQ
            | feature::LOG_ALL
            | feature::ANY_LAYOUT
            | feature::INDIRECT_DESC
            | feature::EVENT_IDX
            | feature::PROTOCOL_FEATURES
            | feature::VERSION_1
            | feature::RING_PACKED
            | feature::IN_ORDER;
        if offloads {
            features |= feature::SENDS_OFFLOADS | feature::TAKES_OFFLOADS;
        }
        let protocol = protocol_feature::MQ
            | protocol_feature::LOG_SHMFD
            | protocol_feature::RARP
            | protocol_feature::REPLY_ACK
            | protocol_feature::NET_MTU
            | protocol_feature::INFLIGHT_SHMFD
            | protocol_feature::RESET_DEVICE
            | protocol_feature::CONFIGURE_MEM_SLOTS
            | protocol_feature::STATUS;
        Offer { features, protocol, pairs, mtu, mac: None }
    }

    /// And a configuration space, with `mac` in it.
    #[must_use]
    pub fn with_config(self, mac: [u8; 6]) -> Self {
        let (features, protocol) = (self.features | feature::MAC, self.protocol | protocol_feature::CONFIG);
        Offer { features, protocol, mac: Some(mac), ..self }
    }

    /// The configuration space (virtio 1.2, 5.1.4): MAC address, status (link up), queue pairs, MTU.
    #[must_use]
    pub fn config(&self) -> Option<[u8; CONFIG_FIELDS]> {
        let mut space = [0; CONFIG_FIELDS];
        space[..6].copy_from_slice(&self.mac?);
        space[6..8].copy_from_slice(&1u16.to_le_bytes());
        space[8..10].copy_from_slice(&self.pairs.to_le_bytes());
        space[10..12].copy_from_slice(&self.mtu.to_le_bytes());
        Some(space)
    }
}
