use std::net::IpAddr;

use super::*;
use crate::input::Ingress;
use crate::names::{ObjectName, Protocol};

fn balanced(ranges: &[&str]) -> Service {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let balancer = |text| Ingress { address: ip(text), delivers_address: true };
    Service {
        name: ObjectName::new("default", "balanced"),
        created: 0,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: [ip("10.96.0.1"), ip("fd00:96::1")].into(),
        external_ips: [].into(),
        ingress: [balancer("203.0.113.1"), balancer("2001:db8:113::1")].into(),
        source_ranges: ranges.iter().map(|range| range.parse().unwrap()).collect(),
        ports: [ServicePort { name: "".into(), protocol: Protocol::Tcp, port: 80, node_port: 0 }].into(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_check_node_port: 0,
        scheduler: None,
    }
}

/// The sources allowed over IPv4 and IPv6.
fn allowed(ranges: &[&str]) -> [String; 2] {
    let context = Context {
        here: Here { node: "node".into(), zone: None },
        node_addresses: vec!["192.0.2.1".parse().unwrap()],
        internal_masquerade: [Clients::NONE; 2],
        schedulers: &[],
        weights: false,
    };
    Family::ALL.map(|family| match allowed_sources(&balanced(ranges), family, &context) {
        None => "everybody".to_owned(),
        Some(sources) => sources.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    })
}

/// A Service's plan on a node with one address, in a cluster where another Node has one.
fn planned(service: &Service, slices: &[&EndpointSlice], options: &Options) -> ServicePlan {
    let context =
        Context::new(Here { node: "node".into(), zone: None }, vec![], &NodePlan::default(), options);
    let mut snapshot = Snapshot::default();
    let _ = snapshot.put_node_addresses(&"other".into(), ["192.0.2.2".parse().unwrap()].into());
    let own = BTreeSet::from(["192.0.2.1".parse().unwrap()]);
    plan(service, slices, &context, &Holders { own: &own, snapshot: &snapshot })
}

#[test]
fn source_ranges() {
    assert_eq!(allowed(&[]), ["everybody", "everybody"]);
    assert_eq!(allowed(&["10.0.0.0/8"]), ["10.0.0.0/8", ""], "the other family is closed");
    assert_eq!(allowed(&["2001:db8::/32"]), ["", "2001:db8::/32"]);
    assert_eq!(allowed(&["0.0.0.0/0"]), ["everybody", "everybody"]);
    assert_eq!(allowed(&["10.0.0.0/8", "0.0.0.0/0"]), ["everybody", "everybody"]);
    assert_eq!(allowed(&["0.0.0.0/0", "2001:db8::/32"]), ["everybody", "2001:db8::/32"]);
    assert_eq!(allowed(&["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16"])[0], "10.0.0.0/8", "merged");
    assert_eq!(allowed(&["0.0.0.0/1", "128.0.0.0/1"])[0], "0.0.0.0/0", "merged to all there is");
    assert_eq!(allowed(&["192.0.2.0/24"])[0], "192.0.2.0/24 203.0.113.1/32", "the node, as the balancer too");
    assert_eq!(allowed(&["10.1.2.3/8"])[0], "10.0.0.0/8", "host bits");
}

#[test]
fn a_family_that_ranges_close_is_told() {
    let findings =
        |ranges: &[&str]| planned(&balanced(ranges), &[], &Options::for_node("node")).findings.to_vec();
    assert_eq!(findings(&["10.0.0.0/8"]), [Finding::NobodyAllowed(Family::V6)]);
    assert_eq!(findings(&["10.0.0.0/8", "2001:db8::/32"]), []);
    assert_eq!(findings(&[]), []);
}
