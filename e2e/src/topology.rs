//! The cluster that packet tests run in.
//!
//! ```text
//!   outside 192.0.2.100 ─┐               ┌─ n1-a 10.244.1.2, n1-b 10.244.1.3
//!                      (switch)── node-1 192.0.2.1
//!                        └─────── node-2 192.0.2.2 ── n2-a 10.244.2.2, n2-b 10.244.2.3
//! ```
//!
//! IPv6 alike: `2001:db8::1`, `fd00:244:1::2` and so on. `outside` sends Service addresses to node-1, as a router in front of
//! the cluster would. Every pod and node runs a tiny server that tells its name and the client's address.

use std::net::IpAddr;

use ipnet::IpNet;
use kubeweir_playground::{Bridge, Namespace, Server, Veth};

/// Ports that servers in pods listen on.
pub const POD_PORTS: [u16; 3] = [8080, 8081, 8053];
/// Port that servers on nodes listen on, outside the range of NodePorts.
pub const NODE_SERVER_PORT: u16 = 9090;
/// Prefixes of all pods.
pub const POD_PREFIXES: [&str; 2] = ["10.244.0.0/16", "fd00:244::/32"];
/// Prefixes of all Services.
pub const SERVICE_PREFIXES: [&str; 2] = ["10.96.0.0/16", "fd00:96::/64"];
/// Further addresses that Services are reached by: load balancers' and external ones.
pub const EXTERNAL_PREFIXES: [&str; 2] = ["203.0.113.0/24", "2001:db8:113::/64"];

/// How pods are wired to their node and to the pods of other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// A veth pair for each pod and a route to it, no bridge; other nodes' pods by way of their node (like Calico).
    Routed,
}

impl Network {
    /// All of them.
    pub const ALL: [Network; 1] = [Network::Routed];

    /// The network with this name.
    pub fn named(name: &str) -> Network {
        let found = Network::ALL.into_iter().find(|network| network.name() == name);
        found.unwrap_or_else(|| panic!("no network {name}"))
    }

    /// Its name in scenarios.
    pub const fn name(self) -> &'static str {
        match self {
            Network::Routed => "routed",
        }
    }
}

/// A whole cluster. Dropping it takes everything down.
pub struct Topology {
    /// How its pods are wired.
    pub network: Network,
    /// Clients and servers by name: `outside`, `node-1`, `n1-a` and so on.
    members: Vec<Member>,
    switch: Namespace,
    servers: Vec<Server>,
}

/// A place that packets come from or go to.
#[derive(Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub namespace: Namespace,
    /// Its own addresses, IPv4 first.
    pub addresses: [IpAddr; 2],
    /// The node it runs on, for pods.
    pub node: Option<usize>,
}

impl Topology {
    /// Builds the cluster with two nodes of two pods each.
    pub fn build(network: Network) -> Topology {
        let switch = Namespace::new("switch").unwrap();
        Bridge { here: &switch, name: "lan" }.make().unwrap();
        let mut topology = Topology { network, members: Vec::new(), switch, servers: Vec::new() };
        topology.attach("outside", 100);
        for number in 1..=2 {
            topology.add_node(number);
        }
        topology.route_between();
        topology.start_servers();
        topology
    }

    /// The member with this name.
    pub fn member(&self, name: &str) -> &Member {
        self.members.iter().find(|member| member.name == name).unwrap_or_else(|| panic!("no member {name}"))
    }

    /// All members.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Gives members further addresses, on their loopback interface.
    pub fn add_addresses(&self, addresses: &[(String, IpAddr)]) {
        for (name, address) in addresses {
            self.member(name).namespace.address("lo", IpNet::from(*address)).unwrap();
        }
    }

    /// The nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|member| member.name.starts_with("node-"))
    }

    fn attach(&mut self, name: &str, last: u16) {
        let namespace = Namespace::new(name).unwrap();
        let port = format!("p-{name}");
        Veth { here: &self.switch, name: &port, there: &namespace, peer: "eth0" }.make().unwrap();
        Bridge { here: &self.switch, name: "lan" }.enslave(&port).unwrap();
        let addresses = [ip(&format!("192.0.2.{last}")), ip(&format!("2001:db8::{last}"))];
        namespace.address("eth0", IpNet::new(addresses[0], 24).unwrap()).unwrap();
        namespace.address("eth0", IpNet::new(addresses[1], 64).unwrap()).unwrap();
        self.members.push(Member { name: name.to_owned(), namespace, addresses, node: None });
    }

    fn add_node(&mut self, number: usize) {
        let name = format!("node-{number}");
        self.attach(&name, u16::try_from(number).unwrap());
        let node = self.member(&name).namespace.clone();
        // Without limits on ICMP errors, so that every refusal of a table can be seen.
        let unlimited = [("ipv4/icmp_ratelimit", "0"), ("ipv6/icmp/ratelimit", "0")];
        let forwarding = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];
        for (sysctl, value) in unlimited.into_iter().chain(forwarding) {
            node.sysctl(sysctl, value).unwrap();
        }
        for (letter, last) in [("a", 2), ("b", 3)] {
            self.add_pod(number, &node, &format!("n{number}-{letter}"), last);
        }
    }

    /// A pod behind a veth pair of its own, routed to by its node.
    fn add_pod(&mut self, node_number: usize, node: &Namespace, name: &str, last: u16) {
        let namespace = Namespace::new(name).unwrap();
        let interface = format!("veth-{name}");
        Veth { here: node, name: &interface, there: &namespace, peer: "eth0" }.make().unwrap();
        let addresses =
            [ip(&format!("10.244.{node_number}.{last}")), ip(&format!("fd00:244:{node_number}::{last}"))];
        let gateways = [ip(&format!("10.244.{node_number}.1")), ip(&format!("fd00:244:{node_number}::1"))];
        for (address, gateway) in addresses.into_iter().zip(gateways) {
            node.address(&interface, IpNet::from(gateway)).unwrap();
            node.route_to_link(IpNet::from(address), &interface).unwrap();
            namespace.address("eth0", IpNet::from(address)).unwrap();
            namespace.route_to_link(IpNet::from(gateway), "eth0").unwrap();
            let everything = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            namespace.route(everything.parse().unwrap(), gateway).unwrap();
        }
        self.members.push(Member { name: name.to_owned(), namespace, addresses, node: Some(node_number) });
    }

    /// Pods of the other node through that node; the world outside reaches everything through node-1.
    fn route_between(&self) {
        let node = |number: usize| self.member(&format!("node-{number}"));
        for (here, there) in [(1, 2), (2, 1)] {
            for (family, prefix) in pod_prefixes(there).iter().enumerate() {
                node(here).namespace.route(*prefix, node(there).addresses[family]).unwrap();
            }
        }
        let outside = &self.member("outside").namespace;
        for prefixes in [POD_PREFIXES, SERVICE_PREFIXES, EXTERNAL_PREFIXES] {
            for (family, prefix) in prefixes.iter().enumerate() {
                outside.route(prefix.parse().unwrap(), node(1).addresses[family]).unwrap();
            }
        }
        // A node sends what it has no better route for to the other world, as any host with a default route would.
        for member in self.nodes() {
            for (family, everything) in ["0.0.0.0/0", "::/0"].iter().enumerate() {
                let gateway = self.member("outside").addresses[family];
                member.namespace.route(everything.parse().unwrap(), gateway).unwrap();
            }
        }
    }

    fn start_servers(&mut self) {
        let ports =
            |member: &Member| if member.node.is_some() { POD_PORTS.to_vec() } else { vec![NODE_SERVER_PORT] };
        let start = |member: &Member| {
            Server::start(&member.namespace, &member.name, &member.addresses, &ports(member)).unwrap()
        };
        self.servers = self.members.iter().map(start).collect();
    }
}

/// The pod prefixes of a node, IPv4 first.
pub fn pod_prefixes(node: usize) -> [IpNet; 2] {
    [format!("10.244.{node}.0/24"), format!("fd00:244:{node}::/64")].map(|text| text.parse().unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an address"))
}
