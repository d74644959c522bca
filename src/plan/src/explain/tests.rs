use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::input::{
    Endpoint, EndpointSlice, Ingress, Node, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use crate::names::{ObjectName, Protocol};
use crate::options::DetectLocal;
use crate::{Changed, Facts, Options, Planner, Snapshot};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn service(name: &str, last: u8, external_policy: TrafficPolicy) -> Service {
    let balancer = Ingress { address: IpAddr::from([203, 0, 113, last]), delivers_address: true };
    Service {
        name: ObjectName::new("default", name),
        created: 0,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: [IpAddr::from([10, 96, 0, last])].into(),
        external_ips: [].into(),
        ingress: [balancer].into(),
        source_ranges: ["198.51.100.0/24".parse().unwrap()].into(),
        ports: [ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: 30_080 + u16::from(last),
        }]
        .into(),
        external_policy,
        internal_policy: TrafficPolicy::Cluster,
        affinity: (last == 1).then_some(600),
        health_check_node_port: 0,
        scheduler: None,
    }
}

fn slice(name: &str, endpoints: &[(&str, &str)]) -> EndpointSlice {
    let endpoint = |(address, node): &(&str, &str)| Endpoint {
        address: ip(address),
        node: Some((*node).into()),
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    };
    EndpointSlice {
        name: ObjectName::new("default", &format!("{name}-x")),
        service: ObjectName::new("default", name),
        family: Some(Family::V4),
        ports: [SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }].into(),
        endpoints: endpoints.iter().map(endpoint).collect(),
        weight: None,
    }
}

/// `web` has endpoints here and elsewhere, `far` has policy Local and endpoints elsewhere, `empty` has none.
fn planner() -> Planner {
    let mut snapshot = Snapshot::default();
    snapshot.put_service(Arc::new(service("web", 1, TrafficPolicy::Cluster)));
    snapshot.put_slice(Arc::new(slice("web", &[("10.244.1.2", "here"), ("10.244.2.2", "there")])));
    snapshot.put_service(Arc::new(service("far", 2, TrafficPolicy::Local)));
    snapshot.put_slice(Arc::new(slice("far", &[("10.244.2.2", "there")])));
    snapshot.put_service(Arc::new(service("empty", 3, TrafficPolicy::Cluster)));
    snapshot.set_node(Some(Arc::new(Node { addresses: [ip("192.0.2.1")].into(), ..Node::default() })));
    snapshot.put_service_cidr(&"kubernetes".into(), ["10.96.0.0/16".parse().unwrap()].into());
    let mut options = Options::for_node("here");
    options.detect_local = DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().unwrap()]);
    let mut planner = Planner::new(options);
    let _ = planner.update(&snapshot, &Facts::default(), &Changed::default());
    planner
}

/// The answer to a question, without the line that repeats it.
fn ask(source: &str, destination: &str) -> String {
    let planner = planner();
    let here = [ip("192.0.2.1")];
    let destination: std::net::SocketAddr = destination.parse().unwrap();
    let packet = Packet {
        source: ip(source),
        destination,
        protocol: Protocol::Tcp,
        interface: None,
        from_node: here.contains(&ip(source)),
        to_node: here.contains(&destination.ip()),
    };
    let text = explain(planner.plan(), &packet);
    text.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn a_forwarded_packet() {
    assert_eq!(
        ask("10.244.1.2", "10.96.0.1:80"),
        "client:   a pod: its address is in 10.244.0.0/16\n\
         frontend: default/web:http (its ClusterIP 10.96.0.1, port 80)\n\
         outcome:  forwarded to one of 2 endpoints, which sees the client's address\n\
         \x20         10.244.1.2:8080\n\
         \x20         10.244.2.2:8080\n\
         because:  these are the endpoints that the Service offers to this node's clients\n\
         because:  pods keep their address on the way to a ClusterIP\n\
         because:  the endpoint at 10.244.1.2 would see this node if it is the one picked\n\
         because:  session affinity: a client keeps its endpoint until 600 s after its last connection\n"
    );
}

#[test]
fn every_outcome_has_its_reason() {
    let check = |source: &str, destination: &str, parts: &[&str]| {
        let text = ask(source, destination);
        for part in parts {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
    };
    check(
        "192.0.2.9",
        "10.96.0.1:80",
        &["not a pod", "sees this node's address", "so that answers come back"],
    );
    check(
        "192.0.2.9",
        "192.0.2.1:30081",
        &["its NodePort 30081", "policy is Cluster", "every client is masqueraded"],
    );
    check(
        "192.0.2.9",
        "203.0.113.1:80",
        &["dropped", "192.0.2.9 is not in the Service's source ranges 198.51.100.0/24"],
    );
    check("198.51.100.9", "203.0.113.1:80", &["its external address 203.0.113.1", "forwarded"]);
    check("192.0.2.9", "192.0.2.1:30082", &["dropped", "policy is Local, and no endpoint on this node"]);
    check(
        "10.244.1.5",
        "192.0.2.1:30082",
        &["forwarded", "binds clients from outside only", "keep their address"],
    );
    check("192.0.2.1", "192.0.2.1:30082", &["this node itself", "this node's own traffic is masqueraded"]);
    check("10.244.1.5", "10.96.0.3:80", &["rejected", "no endpoint of the port is ready"]);
    check("10.244.1.5", "10.96.0.1:81", &["rejected", "ClusterIP of default/web, which has only 80/TCP"]);
    check(
        "10.244.1.5",
        "10.96.9.9:80",
        &["dropped", "no Service has 10.96.9.9, which is in the Service prefix 10.96.0.0/16"],
    );
    check(
        "10.244.1.5",
        "192.0.2.2:30081",
        &["not ours", "default/web:http has this NodePort", "answer on 192.0.2.1 only"],
    );
    check("10.244.1.5", "8.8.8.8:53", &["not ours", "no Service has this address and port"]);
}
