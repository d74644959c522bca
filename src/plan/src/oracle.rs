//! The oracle: where would this packet go, and why?
//!
//! Answers from the plan alone, the way a person would read it. Every mode, simulated or in a kernel, must agree.

use std::net::{IpAddr, SocketAddr};

use crate::address::FrontendAddress;
use crate::names::{Family, PortKey, Protocol};
use crate::plan::{Client, Frontend, LocalSources, NodePlan, NodePortAddresses, Plan, PortPlan, Verdict};

/// A new connection's first packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Interface it came in through; `None` for a packet made on this node.
    pub interface: Option<String>,
    /// Whether the source address is one of this node's own.
    pub from_node: bool,
    /// Whether the destination address is one of this node's own.
    pub to_node: bool,
}

/// What happens to a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// To one of these endpoints.
    Forwarded {
        /// The port that took it.
        by: PortKey,
        /// One of these, in order.
        targets: Vec<SocketAddr>,
        /// Whether the endpoint sees the node's address instead of the client's. A connection of an endpoint to itself is
        /// masqueraded besides this.
        masqueraded: bool,
    },
    /// Refused with an ICMP error.
    Rejected(Why),
    /// Discarded.
    Dropped(Why),
    /// None of our business.
    Untouched,
}

/// Why a packet goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The port has no endpoints that could be used from here.
    NoEndpoints,
    /// The ClusterIP has no such port.
    UnusedPort,
    /// The address is in a Service prefix and belongs to no Service.
    Unallocated,
    /// The source is not allowed.
    Source,
}

/// Who sent the packet.
pub fn client(node: &NodePlan, packet: &Packet) -> Client {
    let sources = &node.local_sources[Family::of(packet.source).index()];
    let interface = packet.interface.as_deref();
    let pod = match sources {
        LocalSources::Unknown => false,
        LocalSources::Prefix(prefix) => prefix.contains(&packet.source),
        LocalSources::Interface(name) => interface == Some(&**name),
        LocalSources::InterfacePrefix(prefix) => interface.is_some_and(|name| name.starts_with(&**prefix)),
    };
    match (pod, packet.from_node) {
        (true, _) => Client::Pod,
        (false, true) => Client::Node,
        (false, false) => Client::Outside,
    }
}

/// What happens to the packet.
pub fn outcome(plan: &Plan, packet: &Packet) -> Outcome {
    let client = client(&plan.node, packet);
    match find(plan, packet) {
        Some(Found { port, frontend }) => through(&port.key, frontend, client, packet.source),
        None => unclaimed(plan, packet.destination.ip()),
    }
}

/// The frontend that a packet is addressed to.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The port it belongs to.
    pub port: &'a PortPlan,
    /// The frontend.
    pub frontend: &'a Frontend,
}

/// The frontend that the packet is addressed to, if there is one.
pub fn find<'a>(plan: &'a Plan, packet: &Packet) -> Option<Found<'a>> {
    let by_address = FrontendAddress::Ip(packet.destination.ip());
    let by_node = FrontendAddress::Node(Family::of(packet.destination.ip()));
    let search = |address: FrontendAddress| {
        let ports = plan.services.values().flat_map(|service| &service.ports);
        ports.filter(|port| port.key.protocol == packet.protocol).find_map(|port| {
            let wanted = |f: &&Frontend| f.address == address && f.port == packet.destination.port();
            port.frontends.iter().find(wanted).map(|frontend| Found { port, frontend })
        })
    };
    let answers_here = answers_node_ports(&plan.node, packet);
    search(by_address).or_else(|| answers_here.then(|| search(by_node)).flatten())
}

fn answers_node_ports(node: &NodePlan, packet: &Packet) -> bool {
    let address = packet.destination.ip();
    match &node.node_port_addresses[Family::of(address).index()] {
        NodePortAddresses::AllLocal => packet.to_node && !address.is_loopback(),
        NodePortAddresses::Only(addresses) => addresses.contains(&address),
    }
}

fn through(key: &PortKey, frontend: &Frontend, client: Client, source: IpAddr) -> Outcome {
    let allowed = frontend.allowed_sources.as_ref();
    if allowed.is_some_and(|ranges| !ranges.iter().any(|range| range.contains(&source))) {
        return Outcome::Dropped(Why::Source);
    }
    match frontend.verdict(client) {
        Verdict::Forward(pool) => Outcome::Forwarded {
            by: key.clone(),
            targets: pool.targets.iter().map(crate::plan::Target::socket).collect(),
            masqueraded: frontend.masquerade.contains(client),
        },
        Verdict::Reject => Outcome::Rejected(Why::NoEndpoints),
        Verdict::Drop => Outcome::Dropped(Why::NoEndpoints),
    }
}

fn unclaimed(plan: &Plan, address: IpAddr) -> Outcome {
    if plan.services.values().any(|service| service.cluster_ips.contains(&address)) {
        return Outcome::Rejected(Why::UnusedPort);
    }
    if plan.node.service_prefixes.iter().any(|prefix| prefix.contains(&address)) {
        return Outcome::Dropped(Why::Unallocated);
    }
    Outcome::Untouched
}
