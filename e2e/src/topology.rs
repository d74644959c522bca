//! The cluster that packet tests run in.
//!
//! ```text
//!   outside 192.0.2.100 ─┐               ┌─ n1-a 10.244.1.2, n1-b 10.244.1.3
//!                      (switch)── node-1 192.0.2.1
//!                        └─────── node-2 192.0.2.2 ── n2-a 10.244.2.2, n2-b 10.244.2.3
//! ```
//!
//! IPv6 alike: `2001:db8::1`, `fd00:244:1::2` and so on. `outside` sends Service addresses to node-1, as a router in front of
//! the cluster would. Every pod and node runs a tiny server that tells its name and the client's address. How pods are wired
//! is the [`Network`]'s affair.

mod network;
mod wiring;

use std::net::IpAddr;

use ipnet::IpNet;
use kubeweir_playground::{Bridge, Namespace, Server, Veth};

pub use network::{Between, Filtered, Network, Pods};
pub use wiring::{POD_BRIDGE, TUNNEL_PORT, TUNNELS};

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
        set_up_quickly(&switch);
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
        set_up_quickly(&namespace);
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
        // Strict filters of return paths are for the tests that are about them.
        for interface in ["all", "default", "eth0"] {
            node.sysctl(&format!("ipv4/conf/{interface}/rp_filter"), "0").unwrap();
        }
        wiring::prepare(&node, number, self.network.pods());
        for (letter, last) in [("a", 2), ("b", 3)] {
            self.add_pod(number, &node, &format!("n{number}-{letter}"), last);
        }
    }

    fn add_pod(&mut self, number: usize, node: &Namespace, name: &str, last: u16) {
        let namespace = Namespace::new(name).unwrap();
        set_up_quickly(&namespace);
        let addresses = [ip(&format!("10.244.{number}.{last}")), ip(&format!("fd00:244:{number}::{last}"))];
        let pod = Member { name: name.to_owned(), namespace, addresses, node: Some(number) };
        wiring::connect(node, number, self.network.pods(), &pod);
        self.members.push(pod);
    }

    /// Pods of the other node, by the network's means; the world outside reaches everything through node-1.
    fn route_between(&self) {
        let node = |number: usize| self.member(&format!("node-{number}"));
        wiring::join(self.network, [node(1), node(2)]);
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

/// The addresses of a node that its pods have as their gateway, IPv4 first.
pub fn gateways(node: usize) -> [IpAddr; 2] {
    [format!("10.244.{node}.1"), format!("fd00:244:{node}::1")].map(|text| ip(&text))
}

/// The addresses of a node inside the tunnels to others, IPv4 first.
pub fn tunnel_ends(node: usize) -> [IpAddr; 2] {
    [format!("10.244.{node}.0"), format!("fd00:244:{node}::")].map(|text| ip(&text))
}

/// Spares new interfaces of a namespace the second for which IPv6 looks for others with the same address.
fn set_up_quickly(namespace: &Namespace) {
    namespace.sysctl("ipv6/conf/default/accept_dad", "0").unwrap();
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an address"))
}
