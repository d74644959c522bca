//! Whether what was programmed is still there, which nobody tells.

use std::fmt;

use kubeweir_netlink::ipvs::Identity;
use kubeweir_nftables::Glance;
use kubeweir_plan::ObjectName;

use crate::DEVICE;

/// What is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loss {
    /// A table, or another one is in its place.
    Tables,
    /// A table, and there are those of nftables mode, which has taken over.
    TakenOver,
    /// The device, or another one is in its place.
    Device,
    /// A virtual server.
    Server(Identity),
}

impl Loss {
    pub(crate) fn of_tables(glance: Glance) -> Option<Loss> {
        match glance {
            Glance::AsLeft => None,
            Glance::Gone => Some(Loss::Tables),
            Glance::TakenOver => Some(Loss::TakenOver),
        }
    }
}

/// What is remembered from one glance to the next.
#[derive(Debug, Default)]
pub(crate) struct Remembered {
    /// The device's index, as first seen.
    device: Option<u32>,
    /// The virtual server that was asked for last, with its Service.
    pub(crate) asked: Option<(ObjectName, Identity)>,
}

impl Remembered {
    /// Whether the device with this index is the one there was; none is no device.
    pub(crate) fn is_device(&mut self, found: Option<u32>) -> bool {
        self.device = self.device.or(found);
        found.is_some() && self.device == found
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Loss::Tables | Loss::TakenOver => write!(f, "our nftables tables"),
            Loss::Device => write!(f, "the device {DEVICE}"),
            Loss::Server(identity) => write!(f, "virtual server {identity}"),
        }
    }
}
