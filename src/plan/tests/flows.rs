//! The law of flow checks, on random clusters: checking what changed, with failures in between, ends the same flows as looking at
//! everything each time.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use kubeweir_plan::fixtures::{Event, NODE, World};
use kubeweir_plan::flows::Flow;
use kubeweir_plan::options::NodePortOption;
use kubeweir_plan::{
    Facts, Family, FlowCheck, FrontendAddress, NodePortAddresses, Options, Plan, Planner, PortPlan, Protocol,
};
use proptest::prelude::*;

/// What a frontend and NodePort mean for one destination, read off the plan.
fn owner<'a>(plan: &'a Plan, facts: &Facts, protocol: Protocol, to: SocketAddr) -> Option<&'a PortPlan> {
    let family = Family::of(to.ip());
    let at = |address: FrontendAddress| {
        let ports = plan.services.values().flat_map(|service| &service.ports);
        ports
            .filter(|port| port.key.protocol == protocol)
            .find(|port| port.frontends.iter().any(|f| f.address == address && f.port == to.port()))
    };
    let answers = match &plan.node.node_port_addresses[family.index()] {
        NodePortAddresses::AllLocal => facts.addresses.contains(&to.ip()),
        NodePortAddresses::Only(addresses) => addresses.contains(&to.ip()),
    };
    at(FrontendAddress::Ip(to.ip())).or_else(|| at(FrontendAddress::Node(family)).filter(|_| answers))
}

/// Frontends that exist or have existed. Which NodePort answered on which address is not told apart for changes that wait
/// together: an address that comes after a NodePort went counts as one of its own.
#[derive(Default)]
struct Seen {
    ever: BTreeSet<(Protocol, SocketAddr)>,
    node_ports: BTreeSet<(Family, Protocol, u16)>,
    addresses: BTreeSet<IpAddr>,
}

impl Seen {
    fn add(&mut self, plan: &Plan, facts: &Facts) {
        for port in plan.services.values().flat_map(|service| &service.ports) {
            for frontend in &port.frontends {
                match frontend.address {
                    FrontendAddress::Ip(ip) => {
                        self.ever.insert((port.key.protocol, SocketAddr::new(ip, frontend.port)));
                    }
                    FrontendAddress::Node(family) => {
                        self.node_ports.insert((family, port.key.protocol, frontend.port));
                    }
                }
            }
        }
        for family in Family::ALL {
            let addresses = match &plan.node.node_port_addresses[family.index()] {
                NodePortAddresses::AllLocal => &facts.addresses,
                NodePortAddresses::Only(addresses) => addresses,
            };
            self.addresses.extend(addresses.iter().filter(|ip| Family::of(**ip) == family));
        }
        for (family, protocol, port) in &self.node_ports {
            let mine = self.addresses.iter().filter(|ip| Family::of(**ip) == *family);
            self.ever.extend(mine.map(|ip| (*protocol, SocketAddr::new(*ip, *port))));
        }
    }

    fn checked(&mut self) {
        self.node_ports.clear();
        self.addresses.clear();
    }
}

/// All destinations that could ever be a frontend in the small world.
fn destinations() -> Vec<SocketAddr> {
    let own =
        |namespace: &str, name: &str| namespace.bytes().chain(name.bytes()).fold(0_u8, u8::wrapping_add);
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::new();
    let mut both = |third: u8, last: u8| {
        addresses.insert(IpAddr::from([10, 96, third, last]));
        addresses.insert(format!("fd00:96::{third:x}:{last:x}").parse().unwrap());
    };
    for (namespace, name) in ["default", "other"].into_iter().flat_map(|ns| ["a", "b", "c"].map(|n| (ns, n)))
    {
        both(0, own(namespace, name));
        both(1, own(namespace, name));
    }
    for last in 0..3 {
        both(9, last);
        both(250, last);
    }
    let with_ports = |ip| [53, 80, 443, 30053, 30080].map(|port| SocketAddr::new(ip, port));
    addresses.into_iter().flat_map(with_ports).collect()
}

/// Flows to every destination, each answered by the destination itself and by some endpoints.
fn flows() -> BTreeSet<Flow> {
    let mut flows = BTreeSet::new();
    for protocol in Protocol::ALL {
        for destination in destinations() {
            let pod = |last: u8, port| {
                let ip = if destination.is_ipv4() {
                    IpAddr::from([10, 96, 200, last])
                } else {
                    format!("fd00:96::c8:{last:x}").parse().unwrap()
                };
                SocketAddr::new(ip, port)
            };
            let pods = [3, 14, 33, 59].into_iter().flat_map(|last| [pod(last, 8080), pod(last, 8053)]);
            let answers = pods.chain([destination]);
            flows.extend(answers.map(|answered_by| Flow {
                protocol,
                destination,
                answered_by,
                is_zoned: false,
            }));
        }
    }
    flows
}

/// Whether a flow must end, by the letter of the rules.
fn is_stale(plan: &Plan, facts: &Facts, seen: &Seen, flow: &Flow) -> bool {
    match owner(plan, facts, flow.protocol, flow.destination) {
        _ if flow.protocol == Protocol::Tcp => false,
        Some(port) => {
            let keeps = port.keeps.as_deref().unwrap_or_default();
            !keeps.is_empty() && !keeps.contains(&flow.answered_by)
        }
        None => {
            seen.ever.contains(&(flow.protocol, flow.destination)) && flow.answered_by != flow.destination
        }
    }
}

fn options(kind: u8) -> Options {
    let node_port_addresses = match kind % 3 {
        0 => NodePortOption::Primary,
        1 => NodePortOption::All,
        _ => NodePortOption::Within(vec!["10.96.250.0/31".parse().unwrap()]),
    };
    Options { node_port_addresses, ..Options::for_node(NODE) }
}

fn in_scope(check: &FlowCheck, flow: &Flow) -> bool {
    check.scopes().iter().any(|scope| {
        scope.family == Family::of(flow.destination.ip())
            && scope.protocol == flow.protocol
            && scope.port.is_none_or(|port| port == flow.destination.port())
            && scope.address.is_none_or(|address| address == flow.destination.ip())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn checking_what_changed_ends_the_flows_that_looking_at_everything_would(
        steps in proptest::collection::vec((any::<u64>(), prop::bool::weighted(0.6)), 1..40),
        kind in any::<u8>(),
    ) {
        let mut world = World::default();
        let mut planner = Planner::new(options(kind));
        let mut pending: Option<FlowCheck> = None;
        let mut seen = Seen::default();
        let (mut kept, mut wanted) = (flows(), flows());
        let last = steps.len() - 1;
        for (position, (number, succeeds)) in steps.into_iter().enumerate() {
            let changed = world.happen(Event::drawn(number));
            let newer = planner.update(&world.snapshot, &world.facts, &changed).flows;
            match &mut pending {
                Some(older) => older.merge(newer),
                None => pending = Some(newer),
            }
            let plan = planner.plan();
            seen.add(plan, &world.facts);
            if !succeeds && position != last {
                continue;
            }
            let check = pending.take().unwrap_or_default();
            kept.retain(|flow| !(in_scope(&check, flow) && check.ends(flow)));
            wanted.retain(|flow| !is_stale(plan, &world.facts, &seen, flow));
            let difference: Vec<_> = kept.symmetric_difference(&wanted).collect();
            prop_assert!(difference.is_empty(), "{:?}", difference);
            seen.checked();
            seen.add(plan, &world.facts);
        }
    }
}
