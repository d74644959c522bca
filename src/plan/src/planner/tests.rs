use std::net::SocketAddr;

use super::*;
use crate::input::{Endpoint, Node, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy};
use crate::names::{Family, Protocol};
use crate::plan::{Holder, PortPlan, Scope};
use crate::{FrontendAddress, Target};

const EXTERNAL: &str = "203.0.113.1";
const SHARED: &str = "203.0.113.9";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn service(name: &str, last: u8, external_ips: &[&str]) -> Service {
    Service {
        name: ObjectName::new("default", name),
        created: i64::from(last),
        kind: ServiceKind::NodePort,
        cluster_ips: [IpAddr::from([10, 96, 0, last])].into(),
        external_ips: external_ips.iter().map(|text| ip(text)).collect(),
        ingress: [].into(),
        source_ranges: [].into(),
        ports: [ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: 30_000 + u16::from(last),
        }]
        .into(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_check_node_port: 0,
        scheduler: None,
    }
}

fn here(last: u8, is_here: bool) -> Endpoint {
    let node = if is_here { "node-1" } else { "node-2" };
    Endpoint {
        address: [10, 244, 0, last].into(),
        node: Some(node.into()),
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    }
}

fn slice(service: &str, endpoints: impl IntoIterator<Item = Endpoint>) -> EndpointSlice {
    EndpointSlice {
        name: ObjectName::new("default", service),
        service: ObjectName::new("default", service),
        family: Some(Family::V4),
        ports: [SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }].into(),
        endpoints: endpoints.into_iter().collect(),
        weight: None,
    }
}

/// A cluster, planned step by step.
struct Bench {
    snapshot: Snapshot,
    facts: Facts,
    planner: Planner,
}

impl Bench {
    /// With these Services. The host has 192.0.2.1, and so has the Node.
    fn new(services: &[Service]) -> Bench {
        let mut snapshot = Snapshot::default();
        let node = Node { addresses: [ip("192.0.2.1")].into(), ..Node::default() };
        let _ = snapshot.set_node(Some(Arc::new(node)));
        for service in services {
            let _ = snapshot.put_service(Arc::new(service.clone()));
        }
        let facts = Facts { addresses: [ip("192.0.2.1")].into() };
        let mut bench = Bench { snapshot, facts, planner: Planner::new(Options::for_node("node-1")) };
        let _ = bench.update(&Changed::default());
        bench
    }

    /// Names of the Services whose plans are different.
    fn update(&mut self, changed: &Changed) -> Vec<String> {
        let update = self.planner.update(&self.snapshot, &self.facts, changed);
        update.services.iter().map(|name| name.name.to_string()).collect()
    }

    /// Gives another Node these addresses.
    fn other(&mut self, name: &str, addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|text| ip(text)).collect();
        let changed = self.snapshot.put_node_addresses(&name.into(), addresses);
        self.update(&changed)
    }

    /// Gives the host these addresses.
    fn host(&mut self, addresses: &[&str]) -> Vec<String> {
        self.facts.addresses = addresses.iter().map(|text| ip(text)).collect();
        self.update(&Changed { node: true, ..Changed::default() })
    }

    fn port(&self, name: &str) -> &PortPlan {
        &self.planner.plan().services[&ObjectName::new("default", name)].ports[0]
    }

    /// Who holds the address of a Service's frontend.
    fn holder(&self, name: &str, address: &str) -> Holder {
        let address = FrontendAddress::Ip(ip(address));
        self.port(name).frontends.iter().find(|frontend| frontend.address == address).unwrap().holder
    }
}

#[test]
fn an_address_is_this_nodes_before_it_is_another_ones() {
    let mut bench = Bench::new(&[service("a", 1, &[EXTERNAL, "192.0.2.1"])]);
    let holders = |bench: &Bench| [EXTERNAL, "192.0.2.1"].map(|address| bench.holder("a", address));
    assert_eq!(holders(&bench), [Holder::Nobody, Holder::ThisNode]);
    assert_eq!(bench.holder("a", "10.96.0.1"), Holder::Nobody);
    let node_port = bench.port("a").frontends.last().unwrap();
    assert_eq!((node_port.address, node_port.holder), (FrontendAddress::Node(Family::V4), Holder::ThisNode));
    assert_eq!(bench.other("node-2", &[EXTERNAL, "192.0.2.1"]), ["a"]);
    assert_eq!(holders(&bench), [Holder::AnotherNode, Holder::ThisNode]);
    assert_eq!(bench.other("node-3", &[EXTERNAL]), [""; 0], "two Nodes have it");
    assert_eq!(bench.other("node-2", &[]), [""; 0], "one still has it");
    assert_eq!(bench.host(&[EXTERNAL, "192.0.2.1"]), ["a"]);
    assert_eq!(holders(&bench), [Holder::ThisNode; 2]);
    assert_eq!(bench.host(&[]), ["a"]);
    assert_eq!(holders(&bench), [Holder::AnotherNode; 2], "behind a translation, the Node says so itself");
    assert!(bench.planner.plan().node.own_addresses.is_empty());
    let changed = bench.snapshot.remove_node_addresses("node-3");
    assert_eq!(bench.update(&changed), ["a"]);
    assert_eq!(holders(&bench), [Holder::Nobody, Holder::AnotherNode]);
}

#[test]
fn a_node_that_changes_its_addresses_costs_the_services_that_have_them() {
    let mut bench = Bench::new(&[service("a", 1, &[EXTERNAL]), service("b", 2, &[])]);
    // Had anybody a look at it, this would be seen.
    let _ = bench.snapshot.put_service(Arc::new(service("b", 2, &["203.0.113.2"])));
    assert_eq!(bench.other("node-2", &[EXTERNAL, "192.0.2.2"]), ["a"]);
    assert_eq!(bench.other("node-2", &["192.0.2.2"]), ["a"]);
    assert_eq!(bench.host(&["192.0.2.1", EXTERNAL]), ["a"]);
    assert_eq!(bench.host(&["192.0.2.1", "192.0.2.7"]), ["a"]);
    assert_eq!(bench.other("node-2", &["10.96.0.2"]), ["b"]);
}

#[test]
fn who_inherits_a_frontend_knows_whose_the_address_has_become_meanwhile() {
    let older = service("a", 1, &[SHARED]);
    let mut bench = Bench::new(&[older.clone(), service("b", 2, &[SHARED])]);
    assert_eq!(bench.other("node-2", &[SHARED]), ["a"]);
    let changed = bench.snapshot.remove_service(&older.name);
    assert_eq!(bench.update(&changed), ["a", "b"]);
    assert_eq!(bench.holder("b", SHARED), Holder::AnotherNode);
}

/// Last octets of the targets of a port's pools, and of its other endpoints.
fn reached(port: &PortPlan) -> (Vec<u8>, Vec<u8>) {
    let last = |socket: &SocketAddr| match socket.ip() {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(_) => panic!(),
    };
    let pooled = port.pools().into_iter().flat_map(|pool| pool.targets.iter().map(Target::socket));
    let pooled: BTreeSet<u8> = pooled.map(|socket| last(&socket)).collect();
    (pooled.into_iter().collect(), port.others.iter().map(last).collect())
}

#[test]
fn what_only_a_lost_frontend_led_to_is_another_endpoint() {
    let near_and_far =
        |name| Service { internal_policy: TrafficPolicy::Local, ..service(name, 2, &[SHARED]) };
    let loser = Service { ports: service("b", 2, &[]).ports, ..near_and_far("b") };
    let node_portless = |mut service: Service| {
        service.ports[0].node_port = 0;
        service
    };
    let mut bench = Bench::new(&[node_portless(loser)]);
    let changed = bench.snapshot.put_slice(Arc::new(slice("b", [here(1, true), here(2, false)])));
    let _ = bench.update(&changed);
    assert_eq!(reached(bench.port("b")), (vec![1, 2], vec![]), "the external address leads to both");
    let changed = bench.snapshot.put_service(Arc::new(service("a", 1, &[SHARED])));
    assert_eq!(bench.update(&changed), ["a", "b"]);
    assert_eq!(reached(bench.port("b")), (vec![1], vec![2]));
    let changed = bench.snapshot.remove_service(&ObjectName::new("default", "a"));
    let _ = bench.update(&changed);
    assert_eq!(reached(bench.port("b")), (vec![1, 2], vec![]));
}

#[test]
fn the_hosts_addresses_are_part_of_the_nodes_plan() {
    let mut bench = Bench::new(&[]);
    assert_eq!(*bench.planner.plan().node.own_addresses, bench.facts.addresses);
    bench.facts.addresses.insert(ip("192.0.2.7"));
    let changed = Changed { node: true, ..Changed::default() };
    assert!(bench.planner.update(&bench.snapshot, &bench.facts, &changed).node);
    assert_eq!(*bench.planner.plan().node.own_addresses, bench.facts.addresses);
    assert!(!bench.planner.update(&bench.snapshot, &bench.facts, &changed).node);
}

#[test]
fn what_is_served_elsewhere_only_is_counted_for_clients_that_are_bound_to_this_node() {
    let local = |mut service: Service| {
        (service.internal_policy, service.external_policy) = (TrafficPolicy::Local, TrafficPolicy::Local);
        service
    };
    let mut bench = Bench::new(&[local(service("a", 1, &[])), service("b", 2, &[])]);
    let counts = |bench: &Bench| {
        let unserved = bench.planner.unserved();
        [Scope::Internal, Scope::External].map(|scope| unserved.count(scope, Family::V4))
    };
    assert_eq!(counts(&bench), [0, 0], "nobody serves it anywhere");
    let put = |bench: &mut Bench, name, endpoint| {
        let changed = bench.snapshot.put_slice(Arc::new(slice(name, [endpoint])));
        let _ = bench.update(&changed);
    };
    put(&mut bench, "a", here(1, false));
    put(&mut bench, "b", here(2, false));
    assert_eq!(counts(&bench), [1, 1]);
    assert_eq!(bench.planner.unserved().count(Scope::External, Family::V6), 0);
    put(&mut bench, "a", here(1, true));
    assert_eq!(counts(&bench), [0, 0]);
    put(&mut bench, "a", here(1, false));
    let changed = bench.snapshot.remove_service(&ObjectName::new("default", "a"));
    let _ = bench.update(&changed);
    assert_eq!(counts(&bench), [0, 0]);
}
