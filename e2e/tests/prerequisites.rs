//! What the daemon says about the host that it finds itself on, in a node of each network.

use std::collections::BTreeSet;

use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_e2e::topology::{Network, Topology};
use tempfile::TempDir;

const OPEN: &str = "kubeweir_host_findings";

/// Starts the daemon on node-1 with no Services, and waits until it has judged the host.
fn judged(topology: &Topology, manifests: &TempDir, flags: &[&str]) -> Proxy {
    let manifests = format!("--manifests={}", manifests.path().display());
    let flags = flags.iter().map(|&flag| flag.to_owned()).chain([manifests]).collect();
    let proxy = Proxy::ours(&topology.member("node-1").namespace, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("judged the host");
    proxy
}

/// The log lines that tell a finding, without what a line begins with.
fn told(proxy: &Proxy) -> BTreeSet<String> {
    let log = proxy.log();
    let lines = log.lines().filter(|line| line.contains("finding=") && !line.contains("mended"));
    lines.map(|line| line.split_once("publisher: ").unwrap().1.to_owned()).collect()
}

/// Starts the daemon in this network, with these sysctls of the node, and compares all that it tells.
#[track_caller]
fn check(network: Network, sysctls: &[(&str, &str)], expected: &[&str]) {
    let (topology, manifests) = (Topology::build(network), TempDir::new().unwrap());
    for (name, value) in sysctls {
        topology.member("node-1").namespace.sysctl(name, value).unwrap();
    }
    let proxy = judged(&topology, &manifests, &[]);
    assert_eq!(told(&proxy), expected.iter().map(|&line| line.to_owned()).collect(), "{}", network.name());
    assert_eq!(proxy.count(OPEN), expected.len() as u64);
}

#[test]
fn healthy_networks_have_no_findings() {
    for network in Network::HEALTHY.into_iter().chain([Network::BridgeOwnFilter]) {
        check(network, &[], &[]);
    }
}

#[test]
fn a_bridge_that_is_not_filtered_is_named_in_both_families() {
    check(
        Network::BridgeNoFilter,
        &[],
        &[
            "pods on cni0 that talk to a Service with an endpoint on the same bridge will not get answers over IPv4: net.bridge.bridge-nf-call-iptables is 0 finding=\"bridge-not-filtered\"",
            "pods on cni0 that talk to a Service with an endpoint on the same bridge will not get answers over IPv6: net.bridge.bridge-nf-call-ip6tables is 0 finding=\"bridge-not-filtered\"",
        ],
    );
}

#[test]
fn a_bridge_of_pods_is_known_by_its_name_if_that_is_how_pods_are_told() {
    let (topology, manifests) = (Topology::build(Network::BridgeNoFilter), TempDir::new().unwrap());
    let by_name = |name: &str| {
        let bridge = format!("--pod-bridge-interface={name}");
        let flags = ["--detect-local-mode=BridgeInterface", bridge.as_str()];
        told(&judged(&topology, &manifests, &flags)).len()
    };
    assert_eq!((by_name(kubeweir_e2e::topology::POD_BRIDGE), by_name("docker0")), (2, 0));
}

#[test]
fn ports_without_hairpin_mode_are_named() {
    check(
        Network::BridgeNoHairpin,
        &[],
        &[
            "a pod on cni0 that is picked as endpoint of its own connection will not get an answer: its port has no hairpin mode finding=\"no-hairpin\" interfaces=\"veth-n1-a veth-n1-b\"",
        ],
    );
}

#[test]
fn strict_return_paths_are_named_beside_tunnels_only() {
    let strict = [("ipv4/conf/all/rp_filter", "1")];
    let line = |interface: &str| {
        format!(
            "net.ipv4.conf.{interface}.rp_filter is 1 beside the tunnel flannel.1: unless the pods' network masquerades what they send to nodes, endpoints in other nodes' own network do not answer pods finding=\"strict-return-path\""
        )
    };
    check(Network::Vxlan, &strict, &[&line("eth0"), &line("flannel.1")]);
    check(Network::Vxlan, &[("ipv4/conf/eth0/rp_filter", "1")], &[&line("eth0")]);
    check(
        Network::Vxlan,
        &[("ipv4/conf/all/rp_filter", "1"), ("ipv4/conf/eth0/rp_filter", "2")],
        &[&line("flannel.1")],
    );
    check(Network::Bridge, &strict, &[]);
    check(Network::Routed, &strict, &[]);
}

#[test]
fn a_host_that_does_not_forward_is_named() {
    check(
        Network::Routed,
        &[("ipv4/ip_forward", "0"), ("ipv6/conf/all/forwarding", "0")],
        &[
            "net.ipv4.ip_forward is 0: pods and clients outside do not reach Services through this node finding=\"not-forwarding\"",
            "net.ipv6.conf.all.forwarding is 0: pods and clients outside do not reach Services through this node finding=\"not-forwarding\"",
        ],
    );
}

#[test]
fn what_changes_on_a_port_is_told_and_so_is_its_mending() {
    let (topology, manifests) = (Topology::build(Network::Bridge), TempDir::new().unwrap());
    let proxy = judged(&topology, &manifests, &[]);
    assert_eq!(proxy.count(OPEN), 0);
    let node = &topology.member("node-1").namespace;
    let bridge = kubeweir_playground::Bridge { here: node, name: kubeweir_e2e::topology::POD_BRIDGE };
    bridge.hairpin("veth-n1-a", false).unwrap();
    proxy.wait_for_log("finding=\"no-hairpin\" interfaces=\"veth-n1-a\"");
    bridge.hairpin("veth-n1-a", true).unwrap();
    proxy.wait_for_log("mended: a pod on cni0");
    proxy.wait("nothing open", |proxy| (proxy.count(OPEN) == 0).then_some(()));
}
