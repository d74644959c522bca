use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::input::{
    Endpoint, EndpointSlice, Node, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use crate::options::NodePortOption;
use crate::{Changed, Facts, ObjectName, Options, Planner, Snapshot};

const VIP: &str = "10.96.0.10:53";
const NODE_PORT: &str = "192.0.2.1:30053";
const A: &str = "10.244.1.2:8053";
const B: &str = "10.244.1.3:8053";

fn service(name: &str, protocol: Protocol) -> Service {
    Service {
        name: ObjectName::new("default", name),
        created: 0,
        kind: ServiceKind::NodePort,
        cluster_ips: ["10.96.0.10".parse().unwrap()].into(),
        external_ips: [].into(),
        ingress: [].into(),
        source_ranges: [].into(),
        ports: [ServicePort { name: "dns".into(), protocol, port: 53, node_port: 30053 }].into(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_check_node_port: 0,
        scheduler: None,
    }
}

fn dns() -> Service {
    service("dns", Protocol::Udp)
}

fn endpoint(socket: &str) -> Endpoint {
    let address = socket.parse::<SocketAddr>().unwrap().ip();
    Endpoint { address, node: None, ready: true, serving: true, terminating: false, hints: None }
}

fn slice(service: &Service, port: u16, endpoints: Vec<Endpoint>) -> EndpointSlice {
    EndpointSlice {
        name: service.name.clone(),
        service: service.name.clone(),
        family: Some(Family::V4),
        ports: service
            .ports
            .iter()
            .map(|p| SlicePort { name: p.name.clone(), protocol: p.protocol, port })
            .collect(),
        endpoints: endpoints.into(),
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
    fn new() -> Bench {
        Bench::with(NodePortOption::Primary, &["192.0.2.1"])
    }

    fn with(node_port_addresses: NodePortOption, host: &[&str]) -> Bench {
        let options = Options { node_port_addresses, ..Options::for_node("node-1") };
        let addresses = host.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut bench = Bench {
            snapshot: Snapshot::default(),
            facts: Facts { addresses },
            planner: Planner::new(options),
        };
        bench.node("192.0.2.1");
        bench
    }

    /// A bench with `dns` on these endpoints, already checked.
    fn serving(sockets: &[&str]) -> Bench {
        let mut bench = Bench::new();
        bench.put(dns());
        bench.endpoints(sockets);
        bench
    }

    fn update(&mut self, changed: &Changed) -> FlowCheck {
        self.planner.update(&self.snapshot, &self.facts, changed).flows
    }

    fn put(&mut self, service: Service) -> FlowCheck {
        let changed = self.snapshot.put_service(Arc::new(service));
        self.update(&changed)
    }

    fn remove(&mut self, service: &Service) -> FlowCheck {
        let changed = self.snapshot.remove_service(&service.name);
        self.update(&changed)
    }

    fn slice(&mut self, slice: EndpointSlice) -> FlowCheck {
        let changed = self.snapshot.put_slice(Arc::new(slice));
        self.update(&changed)
    }

    fn endpoints(&mut self, sockets: &[&str]) -> FlowCheck {
        self.slice(slice(&dns(), 8053, sockets.iter().map(|socket| endpoint(socket)).collect()))
    }

    fn node(&mut self, address: &str) -> FlowCheck {
        let addresses = [address.parse().unwrap()].into();
        let changed = self.snapshot.set_node(Some(Arc::new(Node { addresses, ..Node::default() })));
        self.update(&changed)
    }
}

fn flow(protocol: Protocol, destination: &str, answered_by: &str) -> Flow {
    Flow {
        protocol,
        destination: destination.parse().unwrap(),
        answered_by: answered_by.parse().unwrap(),
        is_zoned: false,
    }
}

fn ends(check: &FlowCheck, destination: &str, answered_by: &str) -> bool {
    check.ends(&flow(Protocol::Udp, destination, answered_by))
}

#[test]
fn at_the_start_everything_is_checked() {
    let mut bench = Bench::serving(&[A]);
    bench.planner = Planner::new(Options::for_node("node-1"));
    let check = bench.update(&Changed::default());
    for frontend in [VIP, NODE_PORT] {
        assert!(!ends(&check, frontend, A));
        assert!(ends(&check, frontend, B));
        assert!(ends(&check, frontend, "10.244.1.2:9999"), "another port of the same pod");
        assert!(ends(&check, frontend, frontend), "sent before the Service was known");
    }
    for elsewhere in ["10.96.0.10:54", "10.96.0.11:53", "192.0.2.1:53", "192.0.2.100:30053"] {
        assert!(!ends(&check, elsewhere, B), "{elsewhere} is no frontend");
        assert!(!ends(&check, elsewhere, elsewhere));
    }
    assert!(!check.ends(&flow(Protocol::Tcp, VIP, B)));
    assert!(!check.ends(&flow(Protocol::Sctp, VIP, B)));
}

#[test]
fn sctp_is_checked_and_tcp_never() {
    for (protocol, expected) in [(Protocol::Sctp, true), (Protocol::Tcp, false)] {
        let mut bench = Bench::new();
        let service = service("dns", protocol);
        bench.put(service.clone());
        bench.slice(slice(&service, 8053, vec![endpoint(A)]));
        let check = bench.slice(slice(&service, 8053, vec![endpoint(B)]));
        assert_eq!(check.ends(&flow(protocol, VIP, A)), expected);
        assert_eq!(check.is_empty(), !expected);
        let check = bench.remove(&service);
        assert_eq!(check.ends(&flow(protocol, VIP, B)), expected);
    }
}

#[test]
fn an_endpoint_that_went_loses_its_flows() {
    let mut bench = Bench::serving(&[A, B]);
    let check = bench.endpoints(&[B]);
    assert!(ends(&check, VIP, A) && ends(&check, NODE_PORT, A));
    assert!(!ends(&check, VIP, B) && !ends(&check, NODE_PORT, B));
}

#[test]
fn an_endpoint_more_is_no_reason_to_look_but_overrules_what_waits() {
    let mut bench = Bench::serving(&[A, B]);
    let mut failed = bench.endpoints(&[B]);
    let newer = bench.endpoints(&[A, B]);
    assert!(newer.is_empty() && newer.scopes().is_empty());
    failed.merge(newer);
    assert!(!failed.is_empty());
    assert!(!ends(&failed, VIP, A), "it is back");
    assert!(ends(&failed, VIP, VIP));
}

#[test]
fn nothing_serving_leaves_flows_alone_until_something_serves() {
    let mut bench = Bench::serving(&[A]);
    let none = bench.endpoints(&[]);
    assert!(none.is_empty() && !ends(&none, VIP, A) && !ends(&none, VIP, VIP));
    let check = bench.endpoints(&[B]);
    assert!(ends(&check, VIP, A) && ends(&check, VIP, VIP) && !ends(&check, VIP, B));
}

#[test]
fn what_serves_though_it_terminates_or_is_published_unready_keeps_its_flows() {
    let mut bench = Bench::serving(&[A, B]);
    let leaving = Endpoint { ready: false, terminating: true, ..endpoint(A) };
    let unready = Endpoint { serving: false, ..endpoint(B) };
    let check = bench.slice(slice(&dns(), 8053, vec![leaving, unready.clone()]));
    assert!(check.is_empty() && !ends(&check, VIP, A) && !ends(&check, VIP, B));
    let dead = Endpoint { ready: false, serving: false, terminating: true, ..endpoint(A) };
    let check = bench.slice(slice(&dns(), 8053, vec![dead, unready]));
    assert!(ends(&check, VIP, A) && !ends(&check, VIP, B));
}

#[test]
fn policy_does_not_end_flows_to_serving_endpoints() {
    let mut bench = Bench::serving(&[A, B]);
    let local =
        Service { internal_policy: TrafficPolicy::Local, external_policy: TrafficPolicy::Local, ..dns() };
    assert!(bench.put(local).is_empty());
}

#[test]
fn another_target_port_on_the_same_pod_ends_flows() {
    let mut bench = Bench::serving(&[A]);
    let check = bench.slice(slice(&dns(), 9053, vec![endpoint(A)]));
    assert!(ends(&check, VIP, A) && !ends(&check, VIP, "10.244.1.2:9053"));
}

#[test]
fn a_service_change_alone_is_checked_and_only_what_changed() {
    let mut bench = Bench::serving(&[A]);
    let external = Service { external_ips: ["203.0.113.1".parse().unwrap()].into(), ..dns() };
    let check = bench.put(external);
    assert!(ends(&check, "203.0.113.1:53", "203.0.113.1:53"));
    assert!(!ends(&check, "203.0.113.1:53", A));
    assert!(!ends(&check, VIP, B), "that frontend was checked before");
    let address = Some("203.0.113.1".parse().unwrap());
    let scope = Scope { family: Family::V4, protocol: Protocol::Udp, port: Some(53), address };
    assert_eq!(check.scopes(), [scope]);
}

#[test]
fn a_frontend_that_is_gone_ends_the_flows_it_translated() {
    let mut bench = Bench::serving(&[A]);
    let mut closed = dns();
    closed.ports[0].node_port = 0;
    let check = bench.put(closed.clone());
    assert!(ends(&check, NODE_PORT, A) && !ends(&check, NODE_PORT, NODE_PORT));
    assert!(!ends(&check, VIP, A));
    let check = bench.remove(&closed);
    assert!(ends(&check, VIP, A) && !ends(&check, VIP, VIP));
}

#[test]
fn a_frontend_that_moved_is_judged_by_its_new_owner() {
    // Both orders of names: neither may depend on who is compared first.
    for (old, new) in [("a", "b"), ("b", "a")] {
        let mut bench = Bench::new();
        let named = |name: &str, created| Service { created, ..service(name, Protocol::Udp) };
        bench.put(named(old, 0));
        bench.slice(slice(&named(old, 0), 8053, vec![endpoint(A)]));
        bench.put(named(new, 1));
        bench.slice(slice(&named(new, 1), 8053, vec![endpoint(B)]));
        let check = bench.remove(&named(old, 0));
        assert!(ends(&check, VIP, A) && ends(&check, VIP, VIP) && !ends(&check, VIP, B));
        assert!(ends(&check, NODE_PORT, A) && !ends(&check, NODE_PORT, B));
    }
}

#[test]
fn node_ports_are_checked_where_they_answer_only() {
    let mut bench = Bench::with(NodePortOption::All, &["192.0.2.1", "198.51.100.1"]);
    bench.put(dns());
    let check = bench.endpoints(&[A]);
    for (address, expected) in [("192.0.2.1", true), ("198.51.100.1", true), ("198.51.100.2", false)] {
        assert_eq!(ends(&check, &format!("{address}:30053"), B), expected, "{address}");
    }
    // An address more: who sent there before was not translated. An address less: who was translated there is cut off.
    bench.facts.addresses = ["192.0.2.1", "198.51.100.2"].map(|ip| ip.parse().unwrap()).into();
    let check = bench.update(&Changed::default());
    assert!(ends(&check, "198.51.100.2:30053", "198.51.100.2:30053"));
    assert!(ends(&check, "198.51.100.1:30053", A));
    assert!(!ends(&check, "198.51.100.1:30053", "198.51.100.1:30053"));
    assert!(!ends(&check, "192.0.2.1:30053", A) && !ends(&check, VIP, B));
}

#[test]
fn the_nodes_new_address_is_checked() {
    let mut bench = Bench::serving(&[A]);
    let check = bench.node("192.0.2.7");
    assert!(ends(&check, "192.0.2.7:30053", B) && !ends(&check, "192.0.2.7:30053", A));
    assert!(ends(&check, NODE_PORT, A));
    assert!(!ends(&check, VIP, B));
}

#[test]
fn an_address_of_its_own_goes_before_a_node_port() {
    let mut bench = Bench::serving(&[A]);
    let mut other = service("other", Protocol::Udp);
    other.cluster_ips = ["10.96.0.11".parse().unwrap()].into();
    other.external_ips = ["192.0.2.1".parse().unwrap()].into();
    other.ports[0].port = 30053;
    other.ports[0].node_port = 0;
    bench.put(other.clone());
    bench.slice(slice(&other, 8053, vec![endpoint(B)]));
    // The NodePort changes, the address before it does not.
    let check = bench.endpoints(&["10.244.1.9:8053"]);
    assert!(!ends(&check, NODE_PORT, B) && ends(&check, NODE_PORT, A));
    // The address goes, and the NodePort is next.
    let check = bench.remove(&other);
    assert!(ends(&check, NODE_PORT, B) && !ends(&check, NODE_PORT, "10.244.1.9:8053"));
}

#[test]
fn of_two_statements_about_a_frontend_the_newer_holds() {
    let mut bench = Bench::serving(&[A]);
    let mut check = bench.remove(&dns());
    check.merge(bench.put(dns()));
    assert!(!ends(&check, VIP, A) && ends(&check, VIP, VIP));
    check.merge(bench.endpoints(&[B]));
    assert!(ends(&check, VIP, A) && !ends(&check, VIP, B));
    check.merge(bench.endpoints(&[]));
    assert!(check.is_empty() && !ends(&check, VIP, B));
    check.merge(bench.remove(&dns()));
    assert!(ends(&check, VIP, B) && !ends(&check, VIP, VIP));
}

#[test]
fn scopes_stay_few() {
    let mut bench = Bench::new();
    let with_ports = |count: u16| {
        let port = |number: u16| ServicePort {
            name: format!("p{number}").as_str().into(),
            port: number,
            ..dns().ports[0].clone()
        };
        let mut service = dns();
        service.ports = (1..=count).map(port).map(|p| ServicePort { node_port: 0, ..p }).collect();
        service
    };
    let most = u16::try_from(MOST_SCOPES).unwrap();
    let few = with_ports(most);
    bench.put(few.clone());
    let scopes = bench.slice(slice(&few, 8053, vec![endpoint(A)])).scopes();
    let ports: Vec<_> = scopes.iter().map(|scope| scope.port).collect();
    assert_eq!(ports, (1..=most).map(Some).collect::<Vec<_>>());
    assert!(scopes.iter().all(|scope| scope.address == Some("10.96.0.10".parse().unwrap())));
    let many = with_ports(most + 1);
    bench.put(many.clone());
    let check = bench.slice(slice(&many, 9053, vec![endpoint(A)]));
    let all = Scope { family: Family::V4, protocol: Protocol::Udp, port: None, address: None };
    assert_eq!(check.scopes(), [all]);
}

#[test]
fn one_port_on_several_addresses_is_one_scope() {
    let mut bench = Bench::new();
    bench.put(Service { external_ips: ["203.0.113.1".parse().unwrap()].into(), ..dns() });
    let scopes = bench.endpoints(&[A]).scopes();
    let found: BTreeSet<_> = scopes.iter().map(|scope| (scope.port, scope.address)).collect();
    let node: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(found, [(Some(53), None), (Some(30053), Some(node))].into());
}

#[test]
fn what_is_not_translated_in_a_zone_of_somebody_elses_stays() {
    let mut bench = Bench::serving(&[A, B]);
    let check = bench.endpoints(&[B]);
    let in_zone = |answered_by| Flow { is_zoned: true, ..flow(Protocol::Udp, VIP, answered_by) };
    assert!(ends(&check, VIP, VIP) && !check.ends(&in_zone(VIP)));
    assert!(ends(&check, VIP, A) && check.ends(&in_zone(A)));
}
