//! What sources report.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use kubeweir_plan::ObjectName;
use kubeweir_plan::input::{EndpointSlice, Node, Service};

use crate::version::Version;

/// One report of a source.
#[derive(Clone, Debug)]
pub enum Event {
    /// A list of all objects of this kind begins: what is not in it is gone.
    ListBegins(Kind),
    /// The list is complete.
    ListEnds(Kind),
    /// A Service is there, new or changed.
    Service(Arc<Service>, Version),
    /// A Service is gone, or is none of our business any more.
    ServiceGone(ObjectName),
    /// A slice is there, new or changed.
    Slice(Arc<EndpointSlice>, Version, Option<Trigger>),
    /// A slice is gone, or is none of our business any more.
    SliceGone(ObjectName),
    /// The Node is there, new or changed.
    Node(Arc<Node>),
    /// The Node is gone.
    NodeGone,
    /// Another Node is there, new or changed, with these addresses.
    OtherNode(Arc<str>, Arc<[IpAddr]>),
    /// Another Node is gone.
    OtherNodeGone(Arc<str>),
    /// A ServiceCIDR is there, new or changed.
    ServiceCidr(Arc<str>, Arc<[IpNet]>),
    /// A ServiceCIDR is gone.
    ServiceCidrGone(Arc<str>),
}

/// When the change that a slice reports happened in the cluster: its annotation
/// `endpoints.kubernetes.io/last-change-trigger-time`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trigger(pub SystemTime);

/// A kind of objects that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `core/v1`.
    Service,
    /// `discovery/v1`.
    EndpointSlice,
    /// `core/v1`: the Node we are on, and where that is asked for all others too.
    Node,
    /// `networking.k8s.io/v1`.
    ServiceCidr,
}

impl Kind {
    /// All kinds that are watched.
    pub const ALL: [Kind; 4] = [Kind::Service, Kind::EndpointSlice, Kind::Node, Kind::ServiceCidr];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Service => "Service",
            Kind::EndpointSlice => "EndpointSlice",
            Kind::Node => "Node",
            Kind::ServiceCidr => "ServiceCIDR",
        })
    }
}
