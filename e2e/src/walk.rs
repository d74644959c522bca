//! Walks: the way of a row's packet through the cluster, on paper.
//!
//! A packet meets every node that it passes: a pod's own node first, a node's own packet that node's output, and a packet
//! from outside node-1, unless it is for an address on the switch. At each node a [`Judge`] says what becomes of it; what it
//! leaves alone goes on to where the destination lives. So a judge needs to know nothing about the cluster, and whatever
//! can answer for one node (a plan, a simulated table) can be held against all packet tables.
//!
//! A walk follows a new connection's first packet and trusts that answers find their way back. It has no memory: where a
//! client keeps its server, all servers that the first contact could reach are reached.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use kubeweir_plan::oracle::{self, Outcome, Packet};
use kubeweir_plan::{Family, Plan, PortKey, Protocol};
use kubeweir_playground::Transport;

use crate::scenario::{Expect, Row, SeenAs};
use crate::topology::{
    EXTERNAL_PREFIXES, NODE_SERVER_PORT, Network, POD_BRIDGE, POD_PORTS, POD_PREFIXES, Pods, SERVICE_PREFIXES,
};

/// The interface of nodes to each other and to the world outside.
const LAN: &str = "eth0";
/// The node that the world outside sends Service addresses to.
const ROUTER: &str = "node-1";
/// Nodes that a packet may pass before it is going in circles.
const HOPS: usize = 4;

/// Something that answers for the nodes of a cluster.
pub trait Judge {
    /// What the node makes of a new connection's first packet.
    fn judge(&self, node: &str, packet: &Packet) -> Fate;
}

/// What a node makes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent to one of these, each seeing the client under the address said.
    Forwarded(BTreeMap<SocketAddr, Source>),
    /// Refused with an error.
    Rejected,
    /// Discarded.
    Dropped,
    /// Left alone.
    Untouched,
}

/// The source address of a forwarded packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// As it was.
    Kept,
    /// The node's own.
    Replaced,
}

/// What a client finds at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// One of these servers, each seeing the client under this address.
    Reached(BTreeSet<(String, SeenAs)>),
    /// A refusal.
    Refused,
    /// Nothing.
    Silence,
}

/// The cluster of [`topology`](crate::topology), without building it.
#[derive(Clone, Debug)]
pub struct World {
    network: Network,
    members: Vec<Place>,
}

/// A member of the cluster.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// The node that its packets meet first: its own, or itself; none for the world outside.
    pub node: Option<String>,
    /// Its addresses: first one of each family that its servers listen on; a node's towards its pods; further ones.
    pub addresses: Vec<IpAddr>,
    /// Ports that its servers listen on.
    pub ports: Vec<u16>,
}

impl World {
    /// The cluster with its pods wired so, with further addresses of some members.
    pub fn new(network: Network, further: &[(String, IpAddr)]) -> World {
        let mut members = vec![place("outside", None, &[addresses("192.0.2.100", "2001:db8::100")])];
        for node in 1..=2 {
            let name = format!("node-{node}");
            let own = addresses(&format!("192.0.2.{node}"), &format!("2001:db8::{node}"));
            let gateways = addresses(&format!("10.244.{node}.1"), &format!("fd00:244:{node}::1"));
            members.push(place(&name, Some(&name), &[own, gateways]));
            for (letter, last) in [("a", 2), ("b", 3)] {
                let own = addresses(&format!("10.244.{node}.{last}"), &format!("fd00:244:{node}::{last}"));
                let pod = place(&format!("n{node}-{letter}"), Some(&name), &[own]);
                members.push(Place { ports: POD_PORTS.to_vec(), ..pod });
            }
        }
        for (name, address) in further {
            let at = members.iter_mut().find(|place| place.name == *name);
            at.unwrap_or_else(|| panic!("no member {name}")).addresses.push(*address);
        }
        World { network, members }
    }

    /// All members.
    pub fn members(&self) -> &[Place] {
        &self.members
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Place> {
        self.members.iter().filter(|place| place.is_node())
    }

    /// Whether the row agrees with what this judge makes of its packet; if not, why.
    pub fn check(&self, judge: &dyn Judge, row: &Row) -> Result<(), String> {
        let wanted = self.wanted(row);
        match self.walk(judge, row) {
            Ok(end) if end == wanted => Ok(()),
            Ok(end) => Err(format!("{}: {row}: {end} instead of {wanted}", row.place)),
            Err(reason) => Err(format!("{}: {row}: {reason}", row.place)),
        }
    }

    fn wanted(&self, row: &Row) -> End {
        let seen_as = |seen_as: &SeenAs| match seen_as {
            SeenAs::Client => self.own_name(&row.client),
            SeenAs::Member(_) => seen_as.clone(),
        };
        match &row.expect {
            Expect::Reached(servers) | Expect::OneOf(servers) => {
                End::Reached(servers.iter().map(|(name, seen)| (name.clone(), seen_as(seen))).collect())
            }
            Expect::Refused => End::Refused,
            Expect::Silence => End::Silence,
        }
    }

    /// A node that is seen as itself looks the same whether its source address was replaced or not.
    fn own_name(&self, client: &str) -> SeenAs {
        if self.place(client).is_node() { SeenAs::Member(client.to_owned()) } else { SeenAs::Client }
    }

    /// Where the packet of a row ends.
    pub fn walk(&self, judge: &dyn Judge, row: &Row) -> Result<End, String> {
        let client = self.place(&row.client);
        let flow = Flow {
            source: self.source(client, row.to.ip()),
            destination: row.to,
            protocol: protocol(row.transport),
            seen_as: self.own_name(&row.client),
            hops: HOPS,
        };
        match &client.node {
            Some(node) if *node == client.name => self.meet(judge, self.place(node), None, &flow),
            Some(node) => self.meet(judge, self.place(node), Some(self.pod_interface(&client.name)), &flow),
            None => self.enter(judge, &flow),
        }
    }

    /// The interface that a node sees a pod's packets come in through.
    fn pod_interface(&self, pod: &str) -> String {
        match self.network.pods() {
            Pods::Routed => format!("veth-{pod}"),
            Pods::Bridged { .. } => POD_BRIDGE.to_owned(),
        }
    }

    /// A packet from outside: addresses on the switch are found there, others are behind the router.
    fn enter(&self, judge: &dyn Judge, flow: &Flow) -> Result<End, String> {
        let address = flow.destination.ip();
        let routed = [POD_PREFIXES, SERVICE_PREFIXES, EXTERNAL_PREFIXES];
        let is_routed = routed.iter().flatten().any(|prefix| {
            prefix.parse::<IpNet>().unwrap_or_else(|_| unreachable!("{prefix}")).contains(&address)
        });
        match self.owner(address) {
            _ if is_routed => self.meet(judge, self.place(ROUTER), Some(LAN.to_owned()), flow),
            Some(place) if place.is_node() => self.meet(judge, place, Some(LAN.to_owned()), flow),
            _ => Err("no way there from outside".to_owned()),
        }
    }

    fn meet(
        &self,
        judge: &dyn Judge,
        node: &Place,
        interface: Option<String>,
        flow: &Flow,
    ) -> Result<End, String> {
        let flow = Flow { hops: flow.hops.checked_sub(1).ok_or("goes in circles")?, ..flow.clone() };
        let is_here = |address: IpAddr| address.is_loopback() || node.addresses.contains(&address);
        let packet = Packet {
            source: flow.source,
            destination: flow.destination,
            protocol: flow.protocol,
            interface,
            from_node: is_here(flow.source),
            to_node: is_here(flow.destination.ip()),
        };
        match judge.judge(&node.name, &packet) {
            Fate::Untouched => self.deliver(judge, node, &flow),
            Fate::Rejected => Ok(End::Refused),
            Fate::Dropped => Ok(End::Silence),
            Fate::Forwarded(targets) => {
                let comes_in = packet.interface.is_some();
                let ends = targets.iter().map(|(target, source)| {
                    // What comes in and stays here passes no place where its source could be replaced.
                    let stays = comes_in && is_here(target.ip());
                    let source = if stays { Source::Kept } else { *source };
                    self.deliver(judge, node, &self.translated(&flow, node, *target, source))
                });
                together(ends)
            }
        }
    }

    fn translated(&self, flow: &Flow, node: &Place, destination: SocketAddr, source: Source) -> Flow {
        let flow = Flow { destination, ..flow.clone() };
        match source {
            Source::Kept => flow,
            Source::Replaced => {
                let seen_as = SeenAs::Member(node.name.clone());
                Flow { source: self.source(node, destination.ip()), seen_as, ..flow }
            }
        }
    }

    /// A packet that leaves a node for where its destination is. What nobody has goes to the world outside, which has no
    /// use for it; other nodes know nothing of a node's further addresses.
    fn deliver(&self, judge: &dyn Judge, node: &Place, flow: &Flow) -> Result<End, String> {
        let address = flow.destination.ip();
        let owner = if address.is_loopback() { Some(node) } else { self.owner(address) };
        let Some(owner) = owner else { return Ok(End::Silence) };
        match &owner.node {
            Some(other) if *other != node.name && owner.has_further(address) => Ok(End::Silence),
            Some(other) if *other != node.name => {
                self.meet(judge, self.place(other), Some(LAN.to_owned()), flow)
            }
            _ => Ok(owner.answer(flow)),
        }
    }

    /// The address that a member sends from.
    fn source(&self, from: &Place, to: IpAddr) -> IpAddr {
        let family = Family::of(to).index();
        if to.is_loopback() || from.addresses.contains(&to) {
            return to;
        }
        let to_own_pod =
            self.owner(to).is_some_and(|owner| !owner.is_node() && owner.node.as_ref() == Some(&from.name));
        from.addresses[if to_own_pod { 2 + family } else { family }]
    }

    fn owner(&self, address: IpAddr) -> Option<&Place> {
        self.members.iter().find(|place| place.addresses.contains(&address))
    }

    fn place(&self, name: &str) -> &Place {
        let found = self.members.iter().find(|place| place.name == name);
        found.unwrap_or_else(|| panic!("no member {name}"))
    }
}

/// A packet on its way.
#[derive(Clone, Debug)]
struct Flow {
    source: IpAddr,
    destination: SocketAddr,
    protocol: Protocol,
    seen_as: SeenAs,
    hops: usize,
}

impl Place {
    fn is_node(&self) -> bool {
        self.node.as_ref() == Some(&self.name)
    }

    fn has_further(&self, address: IpAddr) -> bool {
        self.addresses.iter().skip(4).any(|further| *further == address)
    }

    /// What a packet that has arrived finds. Servers take in all SCTP for their addresses, so nothing is refused there.
    fn answer(&self, flow: &Flow) -> End {
        let listens = self.addresses[..2].contains(&flow.destination.ip())
            && self.ports.contains(&flow.destination.port());
        match flow.protocol {
            _ if listens => End::Reached([(self.name.clone(), flow.seen_as.clone())].into()),
            Protocol::Sctp => End::Silence,
            Protocol::Tcp | Protocol::Udp => End::Refused,
        }
    }
}

/// The one end of several ways.
fn together(ends: impl Iterator<Item = Result<End, String>>) -> Result<End, String> {
    let join = |sum: Option<End>, end: End| match (sum, end) {
        (None, end) => Ok(Some(end)),
        (Some(End::Reached(mut sum)), End::Reached(more)) => {
            sum.extend(more);
            Ok(Some(End::Reached(sum)))
        }
        (Some(sum), end) if sum == end => Ok(Some(sum)),
        (Some(sum), end) => Err(format!("either {sum} or {end}")),
    };
    let mut sum = None;
    for end in ends {
        sum = join(sum, end?)?;
    }
    sum.ok_or_else(|| "forwarded to nobody".to_owned())
}

fn protocol(transport: Transport) -> Protocol {
    match transport {
        Transport::Tcp => Protocol::Tcp,
        Transport::Udp => Protocol::Udp,
        Transport::Sctp => Protocol::Sctp,
    }
}

fn addresses(v4: &str, v6: &str) -> [IpAddr; 2] {
    [v4, v6].map(|text| text.parse().unwrap_or_else(|_| panic!("{text} is no address")))
}

fn place(name: &str, node: Option<&str>, addresses: &[[IpAddr; 2]]) -> Place {
    Place {
        name: name.to_owned(),
        node: node.map(str::to_owned),
        addresses: addresses.concat(),
        ports: vec![NODE_SERVER_PORT],
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Reached(servers) => {
                let show = |(name, seen_as): &(String, SeenAs)| match seen_as {
                    SeenAs::Client => format!("{name} as client"),
                    SeenAs::Member(member) => format!("{name} as {member}"),
                };
                f.write_str(&servers.iter().map(show).collect::<Vec<_>>().join(", "))
            }
            End::Refused => f.write_str("refused"),
            End::Silence => f.write_str("silence"),
        }
    }
}

/// The plans of all nodes as a judge.
#[derive(Clone, Debug, Default)]
pub struct Plans(pub BTreeMap<String, Plan>);

impl Judge for Plans {
    fn judge(&self, node: &str, packet: &Packet) -> Fate {
        let plan = &self.0[node];
        match oracle::outcome(plan, packet) {
            Outcome::Forwarded { by, targets, masqueraded } => {
                let source = |target: &SocketAddr| {
                    let to_itself = target.ip() == packet.source && is_local(plan, &by, *target);
                    if masqueraded || to_itself { Source::Replaced } else { Source::Kept }
                };
                Fate::Forwarded(targets.iter().map(|target| (*target, source(target))).collect())
            }
            Outcome::Rejected(_) => Fate::Rejected,
            Outcome::Dropped(_) => Fate::Dropped,
            Outcome::Untouched => Fate::Untouched,
        }
    }
}

fn is_local(plan: &Plan, by: &PortKey, target: SocketAddr) -> bool {
    let service = plan.services.get(&by.service);
    let ports = service.into_iter().flat_map(|service| service.ports.iter()).filter(|port| port.key == *by);
    let mut targets = ports.flat_map(kubeweir_plan::PortPlan::pools).flat_map(|pool| pool.targets.iter());
    targets.any(|own| own.local && own.socket() == target)
}

#[cfg(test)]
mod tests;
