//! A live ClusterIP refuses every protocol that it does not serve, ICMP echo included; an unallocated one answers nothing.

use std::net::IpAddr;
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::settle::wait_until_programmed;
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_playground::{Echo, ping};

const PATIENCE: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(400);
const CLIENTS: [&str; 4] = ["n1-a", "n1-b", "node-1", "outside"];
/// Two Services, only the first of which has an endpoint.
const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: '2001:db8::1'}]}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/16, 'fd00:96::/64']}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: e2e}
spec: {type: ClusterIP, clusterIP: 10.96.8.1, clusterIPs: [10.96.8.1, 'fd00:96::8:1'], ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: idle, namespace: e2e}
spec: {type: ClusterIP, clusterIP: 10.96.8.2, clusterIPs: [10.96.8.2, 'fd00:96::8:2'], ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-4, namespace: e2e, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: '', port: 8080}]
endpoints: [{addresses: [10.244.1.2]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-6, namespace: e2e, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: '', port: 8080}]
endpoints: [{addresses: ['fd00:244:1::2']}]
";

#[test]
fn echo_requests_to_a_cluster_ip_are_refused_and_to_an_unallocated_one_dropped() {
    let (topology, api) = (Topology::build(Network::Routed), StandIn::start());
    api.replace_all(OBJECTS);
    let node = topology.member("node-1");
    // Refusals and silence are the rules' doing, so somebody has the addresses where packets go that no rule holds back.
    let addresses = ["10.96.8.1", "10.96.8.2", "10.96.8.9", "fd00:96::8:1", "fd00:96::8:2", "fd00:96::8:9"];
    topology.add_addresses(&addresses.map(|text| ("node-2".to_owned(), ip(text))));
    for (prefix, via) in [("10.96.8.0/24", "192.0.2.2"), ("fd00:96::/64", "2001:db8::2")] {
        node.namespace.route(prefix.parse().unwrap(), ip(via)).unwrap();
    }
    // Nobody tells the world outside of a shorter way, which would not pass node-1.
    for interface in ["all", "eth0"] {
        node.namespace.sysctl(&format!("ipv4/conf/{interface}/send_redirects"), "0").unwrap();
    }
    topology.member("outside").namespace.sysctl("ipv6/conf/eth0/accept_redirects", "0").unwrap();
    let check = |rows: &[(&str, Echo)]| {
        for (client, (to, wanted)) in
            CLIENTS.iter().flat_map(|client| rows.iter().map(move |row| (client, row)))
        {
            let patience = if *wanted == Echo::Silence { SILENCE } else { PATIENCE };
            let found = ping(&topology.member(client).namespace, ip(to), patience).unwrap();
            assert_eq!(found, *wanted, "{client} to {to}");
        }
    };
    check(&addresses.map(|to| (to, Echo::Answered)));
    let proxy = Proxy::under_test(&node.namespace, "node-1", &api.listen_in(&node.namespace), &[]);
    wait_until_programmed(node, &proxy, &[], OBJECTS);
    check(&[
        ("10.96.8.1", Echo::Refused),
        ("10.96.8.2", Echo::Refused),
        ("10.96.8.9", Echo::Silence),
        ("fd00:96::8:1", Echo::Refused),
        ("fd00:96::8:2", Echo::Refused),
        ("fd00:96::8:9", Echo::Silence),
        // What is no Service's address goes on as before.
        ("192.0.2.1", Echo::Answered),
        ("2001:db8::1", Echo::Answered),
        ("10.244.2.2", Echo::Answered),
        ("fd00:244:2::2", Echo::Answered),
    ]);
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
