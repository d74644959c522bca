//! What a network plugin does: pods to their node, and nodes to each other's pods.

use std::net::IpAddr;

use ipnet::IpNet;
use kubeweir_playground::{Bridge, Mac, Namespace, Veth, Vxlan};

use super::{Between, Filtered, Member, Network, Pods, gateways, pod_prefixes, tunnel_ends};

/// The bridge that pods are behind, in networks that have one.
pub const POD_BRIDGE: &str = "cni0";
/// Tunnel devices by the family of the packets inside, which is that of the packets outside, too. As with flannel, they
/// share a number and a port: sockets of two families do not meet.
pub const TUNNELS: [&str; 2] = ["flannel.1", "flannel-v6.1"];
/// The port that tunnels use, flannel's and Linux' own.
pub const TUNNEL_PORT: u16 = 8472;
const TUNNEL_ID: u32 = 1;

/// What the node needs before it can have pods.
pub(super) fn prepare(node: &Namespace, number: usize, pods: Pods) {
    let Pods::Bridged { filtered, .. } = pods else { return };
    let bridge = Bridge { here: node, name: POD_BRIDGE };
    bridge.make().unwrap();
    for (prefix, gateway) in pod_prefixes(number).iter().zip(gateways(number)) {
        node.address(POD_BRIDGE, IpNet::new(gateway, prefix.prefix_len()).unwrap()).unwrap();
    }
    for sysctl in ["bridge/bridge-nf-call-iptables", "bridge/bridge-nf-call-ip6tables"] {
        node.sysctl(sysctl, if filtered == Filtered::BySysctl { "1" } else { "0" }).unwrap();
    }
    if filtered == Filtered::ByOption {
        bridge.filter().unwrap();
    }
}

/// Connects a pod to its node.
pub(super) fn connect(node: &Namespace, number: usize, pods: Pods, pod: &Member) {
    let port = format!("veth-{}", pod.name);
    Veth { here: node, name: &port, there: &pod.namespace, peer: "eth0" }.make().unwrap();
    match pods {
        Pods::Routed => {}
        Pods::Bridged { hairpin, .. } => {
            let bridge = Bridge { here: node, name: POD_BRIDGE };
            bridge.enslave(&port).unwrap();
            bridge.hairpin(&port, hairpin).unwrap();
        }
    }
    for ((address, gateway), prefix) in
        pod.addresses.into_iter().zip(gateways(number)).zip(pod_prefixes(number))
    {
        if pods == Pods::Routed {
            node.address(&port, IpNet::from(gateway)).unwrap();
            node.route_to_link(IpNet::from(address), &port).unwrap();
            pod.namespace.address("eth0", IpNet::from(address)).unwrap();
            pod.namespace.route_to_link(IpNet::from(gateway), "eth0").unwrap();
        } else {
            pod.namespace.address("eth0", IpNet::new(address, prefix.prefix_len()).unwrap()).unwrap();
        }
        let everything = if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        pod.namespace.route(everything.parse().unwrap(), gateway).unwrap();
    }
}

/// Lets two nodes reach each other's pods.
pub(super) fn join(network: Network, nodes: [&Member; 2]) {
    match network.between() {
        Between::HostGateways => {
            for (here, there, number) in [(0, 1, 2), (1, 0, 1)] {
                for (prefix, gateway) in pod_prefixes(number).into_iter().zip(nodes[there].addresses) {
                    nodes[here].namespace.route(prefix, gateway).unwrap();
                }
            }
        }
        Between::Vxlan => {
            dig(nodes[0], 1);
            dig(nodes[1], 2);
            aim(nodes[0], nodes[1], 2);
            aim(nodes[1], nodes[0], 1);
        }
    }
}

/// A node's ends of the tunnels.
fn dig(node: &Member, number: usize) {
    let here = &node.namespace;
    for (family, (name, local)) in TUNNELS.into_iter().zip(node.addresses).enumerate() {
        let mac = mac(number, family);
        Vxlan { here, name, mac, id: TUNNEL_ID, port: TUNNEL_PORT, over: "eth0", local }.make().unwrap();
        here.address(name, IpNet::from(tunnel_ends(number)[family])).unwrap();
    }
}

/// The other node's pods through the tunnels: route, neighbour and forwarding entry, all static.
fn aim(here: &Member, there: &Member, number: usize) {
    let ends: [IpAddr; 2] = tunnel_ends(number);
    for (family, name) in TUNNELS.into_iter().enumerate() {
        let mac = mac(number, family);
        here.namespace.route_on_link(pod_prefixes(number)[family], ends[family], name).unwrap();
        here.namespace.neighbour(name, ends[family], mac).unwrap();
        here.namespace.tunnel_to(name, mac, there.addresses[family]).unwrap();
    }
}

/// The hardware address of a node's end: locally administered, and its own.
fn mac(node: usize, family: usize) -> Mac {
    [0x02, 0, 0, 0, u8::try_from(family).unwrap(), u8::try_from(node).unwrap()]
}
