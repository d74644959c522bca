use std::fmt;
use std::net::IpAddr;

use crate::names::Family;

/// Where a frontend listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FrontendAddress {
    /// One address.
    Ip(IpAddr),
    /// The NodePort addresses of a family.
    Node(Family),
}

impl FrontendAddress {
    /// Its address family.
    pub const fn family(self) -> Family {
        match self {
            FrontendAddress::Ip(ip) => Family::of(ip),
            FrontendAddress::Node(family) => family,
        }
    }
}

impl fmt::Display for FrontendAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrontendAddress::Ip(IpAddr::V6(v6)) => write!(f, "[{v6}]"),
            FrontendAddress::Ip(ip) => write!(f, "{ip}"),
            FrontendAddress::Node(_) => write!(f, "node"),
        }
    }
}
