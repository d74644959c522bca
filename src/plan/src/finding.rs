//! Findings: what an operator should know about a plan. The planner never logs; it tells.

use std::fmt;
use std::sync::Arc;

use crate::address::FrontendAddress;
use crate::names::{Family, ObjectName, Protocol};
use crate::plan::Target;

/// Something worth telling an operator. It belongs to the Service in whose plan it stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub enum Finding {
    /// An older Service has this address and port already.
    FrontendTaken {
        /// The address.
        address: FrontendAddress,
        /// The protocol.
        protocol: Protocol,
        /// The port.
        port: u16,
        /// Who has it.
        owner: ObjectName,
    },
    /// The Service has no ClusterIP.
    NoClusterIp,
    /// An EndpointSlice of type FQDN was ignored.
    FqdnSlice(ObjectName),
    /// All source ranges are of the other family: nobody may use the balancer's addresses of this one.
    NobodyAllowed(Family),
    /// NodePorts answer on all addresses because the Node has none of its own.
    NodeAddressesUnknown,
    /// Pods are told by the Node's prefixes, and it has none: nobody is taken for a pod, and no client of a ClusterIP is
    /// masqueraded for being none.
    PodPrefixesUnknown,
    /// NodePorts of this family answer nowhere: the Node has no address of the family.
    NoNodePortAddress(Family),
    /// The Service asks for a scheduler that the mode in force does not know.
    UnknownScheduler {
        /// What it asks for.
        name: Arc<str>,
        /// What the mode knows; empty if it has no choice of scheduler.
        known: &'static [&'static str],
    },
    /// The weight that an EndpointSlice gives its endpoints makes no sense: they have the default.
    InvalidWeight(ObjectName, Arc<str>),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::FrontendTaken { address, protocol, port, owner } => {
                write!(f, "{address}:{port}/{protocol} belongs to the older Service {owner}")
            }
            Finding::NoClusterIp => write!(f, "no ClusterIP"),
            Finding::FqdnSlice(name) => write!(f, "EndpointSlice {name} of type FQDN ignored"),
            Finding::NobodyAllowed(family) => {
                write!(f, "no source range is of {family}: nobody may use the balancer's {family} addresses")
            }
            Finding::NodeAddressesUnknown => {
                write!(f, "the Node has no address yet: NodePorts answer on all local addresses")
            }
            Finding::PodPrefixesUnknown => {
                write!(f, "the Node has no podCIDRs yet: no client is taken for a pod")
            }
            Finding::NoNodePortAddress(family) => {
                write!(f, "NodePorts do not answer over {family}: the Node has no such address")
            }
            Finding::UnknownScheduler { name, known: [] } => {
                write!(f, "scheduler {name:?} ignored: this mode has no choice of scheduler")
            }
            Finding::UnknownScheduler { name, known } => {
                write!(f, "scheduler {name:?} ignored: not one of {}", known.join(", "))
            }
            Finding::InvalidWeight(slice, text) => {
                let most = Target::GREATEST_WEIGHT;
                write!(f, "weight {text:?} of EndpointSlice {slice} ignored: not a number from 0 to {most}")
            }
        }
    }
}

impl Finding {
    /// A short name in CamelCase, the same for all findings of the kind.
    pub const fn reason(&self) -> &'static str {
        match self {
            Finding::FrontendTaken { .. } => "FrontendTaken",
            Finding::NoClusterIp => "NoClusterIP",
            Finding::FqdnSlice(_) => "FQDNSlice",
            Finding::NobodyAllowed(_) => "NobodyAllowed",
            Finding::NodeAddressesUnknown => "NodeAddressesUnknown",
            Finding::PodPrefixesUnknown => "PodPrefixesUnknown",
            Finding::NoNodePortAddress(_) => "NoNodePortAddress",
            Finding::UnknownScheduler { .. } => "UnknownScheduler",
            Finding::InvalidWeight(..) => "InvalidWeight",
        }
    }
}
