//! What the API says, trimmed to what planning needs.
//!
//! These types keep the meaning of the API objects they come from and leave out everything else; interpretation, down to
//! "this Service has no ClusterIP", happens in the planner. Lists are boxed slices: there are a great many of them, and
//! none ever grows.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::names::{Family, ObjectName, Protocol};

/// A `core/v1` Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// Creation time in seconds since 1970: of two Services that want the same address and port, the older has it.
    pub created: i64,
    /// `spec.type`.
    pub kind: ServiceKind,
    /// `spec.clusterIPs`, without `None`.
    pub cluster_ips: Box<[IpAddr]>,
    /// `spec.externalIPs`.
    pub external_ips: Box<[IpAddr]>,
    /// `status.loadBalancer.ingress`, entries with an address only.
    pub ingress: Box<[Ingress]>,
    /// `spec.loadBalancerSourceRanges`.
    pub source_ranges: Box<[IpNet]>,
    /// `spec.ports`.
    pub ports: Box<[ServicePort]>,
    /// `spec.externalTrafficPolicy`.
    pub external_policy: TrafficPolicy,
    /// `spec.internalTrafficPolicy`.
    pub internal_policy: TrafficPolicy,
    /// Seconds of `ClientIP` session affinity.
    pub affinity: Option<u32>,
    /// `spec.healthCheckNodePort`; 0 for none.
    pub health_check_node_port: u16,
    /// Annotation `kubeweir.io/scheduler`, trimmed; an empty one is none.
    pub scheduler: Option<Arc<str>>,
}

/// `spec.type` of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Reachable inside the cluster.
    ClusterIp,
    /// And on a port of each node.
    NodePort,
    /// And through a load balancer's addresses.
    LoadBalancer,
    /// Only a DNS alias: nothing for us to do.
    ExternalName,
}

/// One entry of a load balancer's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// The balancer's address.
    pub address: IpAddr,
    /// `ipMode: VIP` (or unset): packets arrive with this destination address. Otherwise `Proxy`: they do not.
    pub delivers_address: bool,
}

/// One entry of `spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The name; empty for a single unnamed port.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The port on Service addresses.
    pub port: u16,
    /// The port on node addresses; 0 for none.
    pub node_port: u16,
}

/// Whether endpoints of the whole cluster or of this node only are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All endpoints.
    Cluster,
    /// Endpoints on this node.
    Local,
}

/// A `discovery/v1` EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name of the slice.
    pub name: ObjectName,
    /// The Service it belongs to, from its label.
    pub service: ObjectName,
    /// `addressType`; `None` for `FQDN`, which cannot be routed to.
    pub family: Option<Family>,
    /// Ports that all its endpoints have.
    pub ports: Box<[SlicePort]>,
    /// The endpoints.
    pub endpoints: Box<[Endpoint]>,
    /// Annotation `kubeweir.io/weight`, trimmed, valid or not; an empty one is none.
    pub weight: Option<Arc<str>>,
}

/// A port of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Name of the Service port it serves.
    pub name: Arc<str>,
    /// The protocol.
    pub protocol: Protocol,
    /// The number on the endpoints' addresses.
    pub port: u16,
}

/// One endpoint of a slice: its first address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: IpAddr,
    /// The node it runs on, if known.
    pub node: Option<Arc<str>>,
    /// `conditions.ready`, absent meaning true.
    pub ready: bool,
    /// `conditions.serving`, absent meaning true.
    pub serving: bool,
    /// `conditions.terminating`, absent meaning false.
    pub terminating: bool,
    /// Nodes and zones this endpoint is meant for; most endpoints have no hints.
    pub hints: Option<Arc<Hints>>,
}

/// `hints` of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// `hints.forNodes`.
    pub nodes: Vec<Arc<str>>,
    /// `hints.forZones`.
    pub zones: Vec<Arc<str>>,
}

/// The `core/v1` Node that this process runs on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `status.addresses`: first the internal ones, then the external ones, each in the object's order.
    pub addresses: Box<[IpAddr]>,
    /// Label `topology.kubernetes.io/zone`; an empty label is no zone.
    pub zone: Option<Arc<str>>,
    /// `spec.podCIDRs`.
    pub pod_cidrs: Box<[IpNet]>,
    /// Whether the node is about to go: balancers should send it nothing new. Planning does not care.
    pub leaving: bool,
}
