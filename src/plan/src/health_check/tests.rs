use std::net::IpAddr;
use std::sync::Arc;

use super::*;
use crate::input::{Endpoint, Node, ServicePort, SlicePort};
use crate::names::ObjectName;
use crate::{Changed, Facts, Finding, Options, Planner, Snapshot};

const PORT: u16 = 30_100;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn port(name: &str, node_port: u16) -> ServicePort {
    ServicePort { name: name.into(), protocol: Protocol::Tcp, port: 80, node_port }
}

/// Created at this time, in both families, with two ports.
fn service(name: &str, created: u8) -> Service {
    let mut ports = [port("http", 0), port("https", 0)];
    ports[1].port = 443;
    Service {
        name: ObjectName::new("shop", name),
        created: i64::from(created),
        kind: ServiceKind::LoadBalancer,
        cluster_ips: [IpAddr::from([10, 96, 0, created]), ip(&format!("fd00:96::{created}"))].into(),
        external_ips: [].into(),
        ingress: [].into(),
        source_ranges: [].into(),
        ports: ports.into(),
        external_policy: TrafficPolicy::Local,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_check_node_port: PORT,
        scheduler: None,
    }
}

/// `ready`, `serving` and `terminating` by their first letters.
fn endpoint(address: &str, node: &str, conditions: &str) -> Endpoint {
    Endpoint {
        address: ip(address),
        node: Some(node.into()),
        ready: conditions.contains('r'),
        serving: conditions.contains('s'),
        terminating: conditions.contains('t'),
        hints: None,
    }
}

fn slice(name: &str, service: &str, ports: &[&str], endpoints: &[Endpoint]) -> EndpointSlice {
    let port = |name: &&str| SlicePort { name: (*name).into(), protocol: Protocol::Tcp, port: 8080 };
    EndpointSlice {
        name: ObjectName::new("shop", name),
        service: ObjectName::new("shop", service),
        family: Some(Family::of(endpoints[0].address)),
        ports: ports.iter().map(port).collect(),
        endpoints: endpoints.into(),
        weight: None,
    }
}

fn here() -> Here {
    Here { node: "node-1".into(), zone: None }
}

#[test]
fn only_ready_addresses_here_count_and_each_once() {
    let near = |last: u8, conditions| endpoint(&format!("10.244.0.{last}"), "node-1", conditions);
    let ready = |slices: &[EndpointSlice]| {
        plan(&service("web", 1), &slices.iter().collect::<Vec<_>>(), &here()).unwrap().ready
    };
    let one = |endpoints: &[Endpoint]| slice("one", "web", &["http", "https"], endpoints);
    assert_eq!(ready(&[]), [Some(0), Some(0)]);
    assert_eq!(ready(&[one(&[near(1, "rs"), near(2, "rs")])]), [Some(2), Some(0)], "two ports are no four");
    assert_eq!(ready(&[one(&[near(1, "rs"), endpoint("10.244.1.2", "node-2", "rs")])])[0], Some(1));
    assert_eq!(ready(&[one(&[near(1, "st")])])[0], Some(0), "it serves, but only those that it has");
    assert_eq!(ready(&[one(&[near(1, "s"), near(2, "")])])[0], Some(0));
    assert_eq!(ready(&[one(&[near(1, "r")])])[0], Some(1), "published without being ready");
    // The address of a pod that ends is another one's already.
    let again = slice("two", "web", &["http", "https"], &[near(1, "st")]);
    assert_eq!(ready(&[one(&[near(1, "rs")]), again])[0], Some(1));
    let more = slice("two", "web", &["https"], &[near(1, "rs"), near(3, "rs")]);
    assert_eq!(ready(&[one(&[near(1, "rs")]), more])[0], Some(2));
    let other = slice("two", "web", &["metrics"], &[near(4, "rs")]);
    assert_eq!(ready(&[one(&[near(1, "rs")]), other])[0], Some(1), "no port of the Service leads there");
    let v6 = slice("six", "web", &["http"], &[endpoint("fd00:244::1", "node-1", "rs")]);
    assert_eq!(ready(&[v6]), [Some(0), Some(1)]);
}

#[test]
fn only_balancers_of_local_endpoints_ask_and_only_where_the_service_is() {
    let planned = |service: &Service| plan(service, &[], &here());
    let asked = service("web", 1);
    assert!(planned(&asked).is_some());
    let v6_only = Service { cluster_ips: [ip("fd00:96::1")].into(), ..asked.clone() };
    assert_eq!(planned(&v6_only).unwrap().ready, [None, Some(0)]);
    for not_asked in [
        Service { kind: ServiceKind::NodePort, ..asked.clone() },
        Service { external_policy: TrafficPolicy::Cluster, ..asked.clone() },
        Service { health_check_node_port: 0, ..asked },
    ] {
        assert_eq!(planned(&not_asked), None);
    }
}

/// Where each Service's health check is answered, and what is found, after these Services have come in this order.
fn contest(services: &[Service]) -> Vec<([bool; 2], Vec<String>)> {
    let (mut snapshot, mut planner) = (Snapshot::default(), Planner::new(Options::for_node("node-1")));
    let node = Node { addresses: [ip("192.0.2.1"), ip("2001:db8::1")].into(), ..Node::default() };
    let _ = snapshot.set_node(Some(Arc::new(node)));
    let _ = planner.update(&snapshot, &Facts::default(), &Changed::default());
    for service in services {
        let changed = snapshot.put_service(Arc::new(service.clone()));
        let _ = planner.update(&snapshot, &Facts::default(), &changed);
        assert_eq!(crate::lint::lint(planner.plan()), [""; 0]);
    }
    let judged = services.iter().map(|service| {
        let plan = &planner.plan().services[&service.name];
        let ready = plan.health_check.as_ref().map_or([None; 2], |check| check.ready);
        (ready.map(|ready| ready.is_some()), plan.findings.iter().map(Finding::to_string).collect())
    });
    judged.collect()
}

#[test]
fn of_two_services_with_one_port_the_older_has_it_whichever_came_first() {
    let taken = |by: &str| format!("node:30100/TCP belongs to the older Service shop/{by}");
    let won = ([true, true], vec![]);
    let lost = |by: &str| ([false, false], vec![taken(by); 2]);
    assert_eq!(contest(&[service("a", 1), service("b", 2)]), [won.clone(), lost("a")]);
    assert_eq!(contest(&[service("b", 2), service("a", 1)]), [lost("a"), won.clone()]);
    // A NodePort is such a port too, where it is.
    let v4 = |name, created, ports: &[ServicePort]| Service {
        cluster_ips: [[10, 96, 0, created].into()].into(),
        ports: ports.into(),
        ..service(name, created)
    };
    let node_port = Service { health_check_node_port: 0, ..v4("a", 1, &[port("http", PORT)]) };
    assert_eq!(contest(&[service("b", 2), node_port.clone()])[0], ([false, true], vec![taken("a")]));
    let younger = Service { created: 9, ..node_port };
    assert_eq!(contest(&[service("b", 2), younger]), [won, ([false, false], vec![taken("b")])]);
    // Its own NodePort is where its traffic goes.
    assert_eq!(contest(&[v4("a", 1, &[port("http", PORT)])])[0].0, [false, false]);
}

#[test]
fn who_inherits_the_port_is_among_what_changed() {
    let (mut snapshot, mut planner) = (Snapshot::default(), Planner::new(Options::for_node("node-1")));
    for service in [service("a", 1), service("b", 2), service("c", 3)] {
        let _ = snapshot.put_service(Arc::new(service));
    }
    let _ = planner.update(&snapshot, &Facts::default(), &Changed::default());
    let changed = snapshot.remove_service(&ObjectName::new("shop", "a"));
    let update = planner.update(&snapshot, &Facts::default(), &changed);
    let b = ObjectName::new("shop", "b");
    assert!(update.services.contains(&b));
    assert_eq!(planner.plan().services[&b].health_check.as_ref().unwrap().port, PORT);
    // The endpoints of a Service are part of it.
    let near = endpoint("10.244.0.1", "node-1", "rs");
    let changed = snapshot.put_slice(Arc::new(slice("b", "b", &["http"], &[near])));
    let update = planner.update(&snapshot, &Facts::default(), &changed);
    assert!(update.services.into_iter().eq([b.clone()]));
    assert_eq!(planner.plan().services[&b].health_check.as_ref().unwrap().ready, [Some(1), Some(0)]);
}
