//! Addresses of the host come and go: NodePorts follow at once, told by the kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_playground::{Answer, Namespace, Probe, Transport, probe};

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

/// The addresses on which NodePorts answer, as `nft` lists them.
fn answering(node: &Namespace, family: &str) -> BTreeSet<IpAddr> {
    let mut nft = Command::new("nft");
    nft.args(["list", "set", family, "kubeweir", "nodeport-ips"]).stdout(Stdio::piped());
    let output = node.start(&mut nft).unwrap().wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.split([' ', ',', '\t', '\n']).filter_map(|word| word.parse().ok()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

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
    let families = [("ip", "192.0.2.1", "192.0.2.51", 24), ("ip6", "2001:db8::1", "2001:db8::51", 64)];
    for (family, first, new, length) in families {
        let (first, new) = (ip(first), ip(new));
        proxy.wait("the first address", |_| answers(first).then_some(()));
        assert_eq!(answering(node, family), [first].into());
        node.address("eth0", ipnet::IpNet::new(new, length).unwrap()).unwrap();
        proxy.wait("the new address", |_| answers(new).then_some(()));
        assert_eq!(answering(node, family), [first, new].into());
        // Nobody answers on an address that is gone, so the rules are asked.
        node.delete_address("eth0", new).unwrap();
        proxy
            .wait("an end of the new address", |_| (answering(node, family) == [first].into()).then_some(()));
        let from = topology.member("outside").addresses[usize::from(new.is_ipv6())];
        let question = format!("/explain?from={from}&to={}", SocketAddr::new(new, 30_600));
        let explained = proxy.page(&question).unwrap().1;
        assert!(explained.contains("not ours"), "{explained}");
        assert!(answers(first));
    }
    // One that is outside the prefixes is none of ours, although it is the node's.
    let other = ip("192.0.2.151");
    node.address("eth0", ipnet::IpNet::new(other, 24).unwrap()).unwrap();
    assert_eq!(ask(other), Answer::Refused);
}
