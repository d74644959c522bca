//! What is behind an address that the node has taken on, or must not take on.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_e2e::topology::{NODE_SERVER_PORT, Network, Topology};
use kubeweir_playground::{Answer, Server, Transport};
use tempfile::TempDir;

use crate::objects::{NODE, service, slice};
use crate::stage::{SILENCE, ask, ip};
use crate::witness::run;

const OTHER_NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: node-2}, \
     status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}";
/// On this node, and a pod of it.
const CLIENTS: [&str; 2] = ["node-1", "n1-b"];
const BOTH: [&str; 2] = ["n1-a", "node-2"];
const PATIENCE: Duration = Duration::from_secs(20);

/// Manifests of a Service that has the other node's address as an external one, with an endpoint on this node.
fn at_the_other_node() -> TempDir {
    let manifests = TempDir::new().unwrap();
    let spec = "clusterIP: 10.96.8.1, externalIPs: [192.0.2.2], ports: [{port: 80}]";
    let web = service("web", "", spec) + &slice("web", "port: 8080", &["10.244.1.2"]);
    generate::put(manifests.path(), "web.yaml", &web);
    generate::put(manifests.path(), "node.yaml", NODE);
    manifests
}

fn start(topology: &Topology, manifests: &TempDir) -> Proxy {
    let flags = vec![format!("--manifests={}", manifests.path().display())];
    let proxy = Proxy::ours(&topology.member("node-1").namespace, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    proxy
}

fn is_bound(topology: &Topology, address: &str) -> bool {
    let shown = run(&topology.member("node-1").namespace, "ip address show dev kube-ipvs0");
    shown.contains(&format!("inet {address}/32"))
}

/// Who answers at the other node's address: at the port of the Service, and at one of the other node's own.
fn answers(topology: &Topology, client: &str) -> [String; 2] {
    [80, NODE_SERVER_PORT].map(|port| {
        let to = SocketAddr::new(ip("192.0.2.2"), port).to_string();
        match ask(&topology.member(client).namespace, Transport::Tcp, &to, PATIENCE) {
            Answer::Reached { server, .. } => server,
            other => other.to_string(),
        }
    })
}

#[test]
#[ignore = "runs in a guest kernel"]
fn an_address_of_another_node_is_never_taken_on_and_serves_both() {
    let (topology, manifests) = (Topology::build(Network::Routed), at_the_other_node());
    generate::put(manifests.path(), "other.yaml", OTHER_NODE);
    let seen = manifests.path().join("seen");
    let mut monitor = Command::new("ip");
    monitor.args(["monitor", "address"]).stdout(File::create(&seen).unwrap()).stdin(Stdio::null());
    let mut monitor = topology.member("node-1").namespace.start(&mut monitor).unwrap();
    let proxy = start(&topology, &manifests);
    assert_eq!(CLIENTS.map(|client| answers(&topology, client)), [BOTH; 2]);
    let seen = || std::fs::read_to_string(&seen).unwrap();
    // The monitor may have started late: until it sees something, it is given something to see.
    topology.member("node-1").namespace.address("lo", "198.51.100.77/32".parse().unwrap()).unwrap();
    proxy.wait("the monitor sees", |_| seen().contains("198.51.100.77").then_some(()));
    monitor.kill().unwrap();
    monitor.wait().unwrap();
    assert!(seen().contains("10.96.8.1") && !seen().contains("192.0.2.2"), "{}", seen());
    assert!(is_bound(&topology, "10.96.8.1") && !is_bound(&topology, "192.0.2.2"));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn an_address_that_turns_out_to_be_another_nodes_is_given_up() {
    let (topology, manifests) = (Topology::build(Network::Routed), at_the_other_node());
    let proxy = start(&topology, &manifests);
    assert!(is_bound(&topology, "192.0.2.2"));
    generate::put(manifests.path(), "other.yaml", OTHER_NODE);
    proxy.wait("an end of it", |_| (!is_bound(&topology, "192.0.2.2")).then_some(()));
    proxy.wait("both", |_| (CLIENTS.map(|client| answers(&topology, client)) == [BOTH; 2]).then_some(()));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn what_the_host_serves_is_not_reached_through_addresses_of_services() {
    const OWN: u16 = 2222;
    let (topology, manifests) = (Topology::build(Network::Routed), TempDir::new().unwrap());
    let spec = "clusterIP: 10.96.0.10, externalIPs: [203.0.113.7], ports: [{port: 80}]";
    let web = service("web", "", spec) + &slice("web", "port: 8080", &["10.244.1.2"]);
    generate::put(manifests.path(), "web.yaml", &web);
    let node = &topology.member("node-1").namespace;
    let _host = Server::start(node, "host", &[ip("0.0.0.0")], &[OWN]).unwrap();
    let _proxy = start(&topology, &manifests);
    for client in ["outside", "n1-b", "node-1"] {
        let client = &topology.member(client).namespace;
        let of = |address: &str, port: u16, patience: Duration| match ask(
            client,
            Transport::Tcp,
            &format!("{address}:{port}"),
            patience,
        ) {
            Answer::Reached { server, .. } => server,
            other => other.to_string(),
        };
        for (address, otherwise) in [("10.96.0.10", "refused"), ("203.0.113.7", "silence")] {
            assert_eq!(of(address, 80, PATIENCE), "n1-a", "{}: {address}", client.name());
            assert_eq!(of(address, OWN, SILENCE), otherwise, "{}: {address}", client.name());
        }
        assert_eq!(of("192.0.2.1", OWN, PATIENCE), "host", "{}", client.name());
    }
}
