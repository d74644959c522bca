//! Addresses of the host come and go: NodePorts follow at once, told by the kernel.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_playground::{Answer, Probe, Transport, probe};

const OBJECTS: &str = "
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: InternalIP, address: '2001:db8::1'}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: e2e}
spec: {type: NodePort, clusterIP: 10.96.6.1, clusterIPs: [10.96.6.1, 'fd00:96::6:1'], ports: [{port: 80, nodePort: 30600}]}
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
fn node_ports_answer_on_a_new_address_and_no_more_on_one_that_is_gone() {
    let (topology, api) = (Topology::build(Network::Routed), StandIn::start());
    api.replace_all(OBJECTS);
    let node = &topology.member("node-1").namespace;
    let flags = ["--nodeport-addresses=192.0.2.0/26,2001:db8::/64".to_owned()];
    let proxy = Proxy::under_test(node, "node-1", &api.listen_in(node), &flags);
    let outside = &topology.member("outside").namespace;
    let ask = |address: IpAddr| {
        let to = SocketAddr::new(address, 30_600);
        probe(outside, &Probe { transport: Transport::Tcp, to, patience: Duration::from_secs(2) }).unwrap()
    };
    let answers =
        |address: IpAddr| matches!(ask(address), Answer::Reached { server, .. } if server == "n1-a");
    proxy.wait("the first address", |_| answers("192.0.2.1".parse().unwrap()).then_some(()));
    for (address, length) in [("192.0.2.51", 24), ("2001:db8::51", 64)] {
        let address: IpAddr = address.parse().unwrap();
        node.address("eth0", ipnet::IpNet::new(address, length).unwrap()).unwrap();
        proxy.wait("the new address", |_| answers(address).then_some(()));
        node.delete_address("eth0", address).unwrap();
        proxy.wait("an end of the new address", |_| {
            let listing = proxy.page("/explain?from=192.0.2.100&to=192.0.2.51:30600")?.1;
            (listing.contains("not ours") && !answers(address)).then_some(())
        });
    }
    // One that is outside the prefixes is none of ours, although it is the node's.
    let other: IpAddr = "192.0.2.151".parse().unwrap();
    node.address("eth0", ipnet::IpNet::new(other, 24).unwrap()).unwrap();
    assert_eq!(ask(other), Answer::Refused);
}
