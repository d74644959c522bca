use std::net::IpAddr;

use super::*;
use crate::input::{Endpoint, Ingress, SlicePort};
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
        external_ips: true,
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

#[test]
fn a_scheduler_counts_if_the_mode_knows_it_and_is_told_otherwise() {
    let asked = |name: Option<&str>, schedulers| {
        let service = Service { scheduler: name.map(Arc::from), ..balanced(&[]) };
        let plan = planned(&service, &[], &Options { schedulers, ..Options::for_node("node") });
        let told = plan.findings.iter().map(ToString::to_string).collect::<Vec<_>>();
        (plan.scheduler.as_deref().map(str::to_owned), told)
    };
    assert_eq!(asked(None, &["rr", "lc"]), (None, vec![]));
    assert_eq!(asked(Some("lc"), &["rr", "lc"]), (Some("lc".to_owned()), vec![]));
    let unknown = "scheduler \"LC\" ignored: not one of rr, lc".to_owned();
    assert_eq!(asked(Some("LC"), &["rr", "lc"]), (None, vec![unknown]));
    let no_choice = "scheduler \"rr\" ignored: this mode has no choice of scheduler".to_owned();
    assert_eq!(asked(Some("rr"), &[]), (None, vec![no_choice]));
    assert_eq!(asked(None, &[]), (None, vec![]));
}

fn weighed(name: &str, weight: Option<&str>, lasts: &[u8]) -> EndpointSlice {
    let endpoint = |last: &u8| Endpoint {
        address: [10, 244, 0, *last].into(),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    };
    EndpointSlice {
        name: ObjectName::new("default", name),
        service: ObjectName::new("default", "balanced"),
        family: Some(Family::V4),
        ports: [SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }].into(),
        endpoints: lasts.iter().map(endpoint).collect(),
        weight: weight.map(Arc::from),
    }
}

#[test]
fn a_slice_weighs_its_endpoints_where_the_mode_can() {
    let weights = |weights: bool, slices: &[EndpointSlice]| {
        let options = Options { weights, ..Options::for_node("node") };
        let plan = planned(&balanced(&[]), &slices.iter().collect::<Vec<_>>(), &options);
        let pools = plan.ports[0].pools();
        let found: Vec<u8> = pools[0].targets.iter().map(|target| target.weight).collect();
        (found, plan.findings.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let two = |weight| [weighed("s", weight, &[1, 2])];
    for (text, expected) in [(None, 1), (Some("0"), 0), (Some("1"), 1), (Some("100"), 100), (Some("007"), 7)]
    {
        assert_eq!(weights(true, &two(text)), (vec![expected; 2], vec![]), "{text:?}");
        assert_eq!(weights(false, &two(text)), (vec![1; 2], vec![]), "{text:?}, no choice");
    }
    for text in ["101", "-1", "+1", "many", "1.5", "99999999999"] {
        let told = format!("weight {text:?} of EndpointSlice default/s ignored: not a number from 0 to 100");
        assert_eq!(weights(true, &two(Some(text))), (vec![1; 2], vec![told]));
        assert_eq!(weights(false, &two(Some(text))), (vec![1; 2], vec![]));
    }
    let overlapping = [weighed("s", Some("5"), &[1, 2]), weighed("t", Some("9"), &[2, 3])];
    assert_eq!(weights(true, &overlapping).0, [5, 5, 9], "of two slices the first counts");
}

/// An endpoint of the port, its last octet, where it runs, and whether it is ready, serves and ends.
type State = (u8, &'static str, [bool; 3]);

const READY: [bool; 3] = [true, true, false];
const UNREADY: [bool; 3] = [false, false, false];
const LEAVING: [bool; 3] = [false, true, true];
const DEAD: [bool; 3] = [false, false, true];

#[test]
fn others_are_all_endpoints_that_no_frontend_leads_to() {
    let others = |policy: TrafficPolicy, states: &[State]| {
        let mut service = Service { internal_policy: policy, external_policy: policy, ..balanced(&[]) };
        service.cluster_ips = service.cluster_ips[..1].into();
        let mut slice = weighed("s", None, &states.iter().map(|state| state.0).collect::<Vec<_>>());
        for (endpoint, (_, node, conditions)) in slice.endpoints.iter_mut().zip(states) {
            endpoint.node = Some((*node).into());
            [endpoint.ready, endpoint.serving, endpoint.terminating] = *conditions;
        }
        let plan = planned(&service, &[&slice], &Options::for_node("node"));
        plan.ports[0].others.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let (cluster, local) = (TrafficPolicy::Cluster, TrafficPolicy::Local);
    let cases: [(&str, TrafficPolicy, &[State], &[&str]); 8] = [
        ("none", cluster, &[], &[]),
        ("all are ready", cluster, &[(1, "node", READY), (2, "far", READY)], &[]),
        ("some are not", cluster, &[(1, "node", READY), (3, "far", DEAD), (2, "far", UNREADY)], &["2", "3"]),
        ("one leaves", cluster, &[(1, "node", READY), (2, "far", LEAVING)], &["2"]),
        ("all leave", cluster, &[(1, "node", LEAVING), (2, "far", LEAVING)], &[]),
        ("nothing serves", cluster, &[(1, "node", DEAD), (2, "far", UNREADY)], &["1", "2"]),
        ("near and far", local, &[(1, "node", READY), (2, "far", READY)], &[]),
        ("the local one leaves", local, &[(1, "node", LEAVING), (2, "far", READY)], &[]),
    ];
    for (what, policy, states, expected) in cases {
        let expected: Vec<String> = expected.iter().map(|last| format!("10.244.0.{last}:8080")).collect();
        assert_eq!(others(policy, states), expected, "{what}");
    }
}

#[test]
fn under_policy_local_alone_the_far_ones_are_others() {
    let mut service = Service { internal_policy: TrafficPolicy::Local, ..balanced(&[]) };
    service.ingress = [].into();
    let mut slice = weighed("s", None, &[1, 2]);
    slice.endpoints[0].node = Some("node".into());
    let plan = planned(&service, &[&slice], &Options::for_node("node"));
    assert_eq!(*plan.ports[0].others, ["10.244.0.2:8080".parse().unwrap()]);
    assert!(plan.ports[1].others.is_empty(), "the other family has no endpoints");
}

#[test]
fn external_addresses_can_be_ignored() {
    let service = Service { external_ips: ["203.0.113.9".parse().unwrap()].into(), ..balanced(&[]) };
    let addresses = |external_ips| {
        let plan = planned(&service, &[], &Options { external_ips, ..Options::for_node("node") });
        let at =
            |frontend: &Frontend| frontend.address == FrontendAddress::Ip("203.0.113.9".parse().unwrap());
        plan.ports.iter().flat_map(|port| port.frontends.iter()).filter(|frontend| at(frontend)).count()
    };
    assert_eq!((addresses(true), addresses(false)), (1, 0));
}
