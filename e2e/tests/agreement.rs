//! The simulated kernel and the real one agree on random rulesets: what the real one does with a packet is always one of the
//! fates that the simulated one holds possible, and both remember the same clients.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use kubeweir_e2e::topology::{
    Member, NODE_SERVER_PORT, Network, POD_PORTS, POD_PREFIXES, SERVICE_PREFIXES, Topology,
};
use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::sim::packet::{Fate, Packet};
use kubeweir_netfilter::{Client, Kernel};
use kubeweir_nftables::{Mode, Options};
use kubeweir_plan::fixtures::Dice;
use kubeweir_plan::input::{
    Endpoint, EndpointSlice, Ingress, Node, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use kubeweir_plan::options::{DetectLocal, NodePortOption};
use kubeweir_plan::{Changed, Facts, Family, ObjectName, Planner, Protocol, Snapshot};
use kubeweir_playground::{Answer, Probe, Transport};

const ROUNDS: u64 = 10;
const PACKETS: usize = 16;
const SERVICES: u64 = 8;
/// How long silence is listened to, and how long an answer may take: a refusal of TCP over IPv6 takes a second.
const SILENCE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(3);
const CLIENTS: [&str; 4] = ["n1-a", "n1-b", "node-1", "outside"];
const BACKENDS: [&str; 6] = ["n1-a", "n1-b", "n2-a", "n2-b", "node-1", "node-2"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn service_address(family: Family, number: u64) -> IpAddr {
    match family {
        Family::V4 => ip(&format!("10.96.7.{number}")),
        Family::V6 => ip(&format!("fd00:96::7:{number}")),
    }
}

fn external_address(family: Family, number: u64) -> IpAddr {
    match family {
        Family::V4 => ip(&format!("203.0.113.{number}")),
        Family::V6 => ip(&format!("2001:db8:113::{number}")),
    }
}

fn service(number: u64, family: Family, dice: &mut Dice) -> Service {
    let policy = |dice: &mut Dice| if dice.one_in(2) { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    let ranges = match family {
        Family::V4 => ["192.0.2.0/24", "10.244.1.2/32", "198.51.100.0/24"],
        Family::V6 => ["2001:db8::/64", "fd00:244:1::2/128", "2001:db8:1::/64"],
    };
    let node_port = 31_000 + u16::try_from(number).unwrap();
    Service {
        name: ObjectName::new("random", &format!("s{number}")),
        created: 0,
        kind: ServiceKind::LoadBalancer,
        cluster_ips: [service_address(family, number)].into(),
        external_ips: if dice.one_in(2) { [external_address(family, number)].into() } else { [].into() },
        ingress: [Ingress { address: external_address(family, 100 + number), delivers_address: true }].into(),
        source_ranges: if dice.one_in(3) { [dice.pick(&ranges).parse().unwrap()].into() } else { [].into() },
        ports: [ServicePort {
            name: "".into(),
            protocol: dice.pick(&[Protocol::Tcp, Protocol::Udp]),
            port: 80,
            node_port,
        }]
        .into(),
        external_policy: policy(dice),
        internal_policy: policy(dice),
        affinity: dice.one_in(3).then_some(600),
        health_check_node_port: 0,
    }
}

fn slice(topology: &Topology, service: &Service, family: Family, dice: &mut Dice) -> EndpointSlice {
    let port = dice.pick(&[8080, 8081, 8053, NODE_SERVER_PORT]);
    let mut backends = BACKENDS.to_vec();
    backends.retain(|_| dice.one_in(2));
    let endpoint = |name: &&str| {
        let member = topology.member(name);
        let node = member.node.map_or_else(|| (*name).to_owned(), |number| format!("node-{number}"));
        Endpoint {
            address: member.addresses[family.index()],
            node: Some(node.into()),
            ready: true,
            serving: true,
            terminating: false,
            hints: None,
        }
    };
    EndpointSlice {
        name: service.name.clone(),
        service: service.name.clone(),
        family: Some(family),
        ports: [SlicePort { name: "".into(), protocol: service.ports[0].protocol, port }].into(),
        endpoints: backends.iter().map(endpoint).collect(),
    }
}

fn planner(topology: &Topology, dice: &mut Dice) -> Planner {
    let mut snapshot = Snapshot::default();
    for number in 1..=SERVICES {
        for (offset, family) in [(0, Family::V4), (50, Family::V6)] {
            let service = service(number + offset, family, dice);
            snapshot.put_slice(Arc::new(slice(topology, &service, family, dice)));
            snapshot.put_service(Arc::new(service));
        }
    }
    let node = topology.member("node-1");
    snapshot.set_node(Some(Arc::new(Node { addresses: node.addresses.into(), ..Node::default() })));
    let prefixes: Vec<_> = SERVICE_PREFIXES.iter().map(|prefix| prefix.parse().unwrap()).collect();
    snapshot.put_service_cidr(&"kubernetes".into(), prefixes.into());
    let mut options = kubeweir_plan::Options::for_node("node-1");
    options.detect_local = match dice.below(3) {
        0 => DetectLocal::ClusterCidr(Vec::new()),
        1 => DetectLocal::InterfaceNamePrefix("veth-".into()),
        _ => DetectLocal::ClusterCidr(POD_PREFIXES.iter().map(|prefix| prefix.parse().unwrap()).collect()),
    };
    options.masquerade_all = dice.one_in(4);
    options.node_port_addresses = if dice.one_in(2) { NodePortOption::All } else { NodePortOption::Primary };
    let mut planner = Planner::new(options);
    let facts = Facts { addresses: own_addresses(node).into_iter().collect() };
    let _ = planner.update(&snapshot, &facts, &Changed::default());
    planner
}

/// Its own, and those of the gateways to its pods.
fn own_addresses(node: &Member) -> Vec<IpAddr> {
    let gateways = [ip("10.244.1.1"), ip("fd00:244:1::1")];
    node.addresses.into_iter().chain(gateways).collect()
}

fn commit<K: Kernel>(mode: &mut Mode<K>, planner: &Planner) {
    mode.forget();
    mode.observe().unwrap();
    let difference = mode.difference(planner.plan(), &BTreeSet::new(), true);
    mode.apply(difference).unwrap();
}

fn drawn(topology: &Topology, dice: &mut Dice) -> (&'static str, Packet) {
    let client = dice.pick(&CLIENTS);
    let (family, offset) = dice.pick(&[(Family::V4, 0), (Family::V6, 50)]);
    let number = 1 + dice.below(SERVICES + 1) + offset;
    let node = topology.member("node-1").addresses[family.index()];
    let (destination, destination_port) = match dice.below(5) {
        0 | 1 => (service_address(family, number), if dice.one_in(8) { 81 } else { 80 }),
        2 => (external_address(family, number), 80),
        3 => (external_address(family, 100 + number), 80),
        _ => (node, 31_000 + u16::try_from(number).unwrap()),
    };
    let interface = match client {
        "node-1" => None,
        "outside" => Some("eth0".to_owned()),
        pod => Some(format!("veth-{pod}")),
    };
    let protocol = dice.pick(&[Protocol::Tcp, Protocol::Udp]).number();
    let source = topology.member(client).addresses[family.index()];
    // A node talks to its own addresses from the same one, which the kernel picks as it does for others.
    (client, Packet { source, source_port: 40_000, destination, destination_port, protocol, interface })
}

/// The member that a passed packet goes to, if it listens there.
fn listener(topology: &Topology, address: IpAddr, port: u16) -> Option<&Member> {
    let member = topology.members().iter().find(|member| member.addresses.contains(&address))?;
    let listens = match member.node {
        Some(_) => POD_PORTS.contains(&port),
        None => port == NODE_SERVER_PORT,
    };
    listens.then_some(member)
}

/// Answers of other nodes to a client outside that was not masqueraded do not come back through node-1.
fn goes_astray(client: &str, masqueraded: bool, server: &Member) -> bool {
    client == "outside" && !masqueraded && !matches!(server.name.as_str(), "node-1" | "n1-a" | "n1-b")
}

fn may_answer(topology: &Topology, client: &str, fate: &Fate) -> bool {
    match fate {
        Fate::Passed { destination: (address, port), masqueraded, .. } => listener(topology, *address, *port)
            .is_some_and(|server| !goes_astray(client, *masqueraded, server)),
        Fate::Rejected => true,
        Fate::Dropped => false,
    }
}

/// Whether the real answer is what this fate would lead to.
fn agrees(topology: &Topology, client: &str, packet: &Packet, fate: &Fate, answer: &Answer) -> bool {
    let Fate::Passed { destination: (address, port), masqueraded, .. } = fate else {
        return *answer == if *fate == Fate::Dropped { Answer::Silence } else { Answer::Refused };
    };
    let server = listener(topology, *address, *port);
    let Answer::Reached { server: name, seen_as } = answer else {
        return server.is_none_or(|server| goes_astray(client, *masqueraded, server));
    };
    let node = own_addresses(topology.member("node-1"));
    let source = if *masqueraded { node.contains(seen_as) } else { packet.source == *seen_as };
    source && server.is_some_and(|server| server.name == *name)
}

#[test]
fn the_real_kernel_does_what_the_simulated_one_holds_possible() {
    let topology = Topology::build(Network::Routed);
    let node = topology.member("node-1");
    let options = Options { masquerade_mark: 0x4000 };
    let mut real = Mode::new(node.namespace.run(|| Client::open().unwrap()).unwrap(), options);
    let (mut seen, mut translated) = (HashSet::new(), 0);
    for round in 0..ROUNDS {
        let mut dice = Dice(round);
        let planner = planner(&topology, &mut dice);
        let mut simulated = Mode::new(Simulated::default(), options);
        commit(&mut real, &planner);
        commit(&mut simulated, &planner);
        for _ in 0..PACKETS {
            let (client, packet) = drawn(&topology, &mut dice);
            let own = own_addresses(node);
            let fates = simulated.kernel().send(&packet, &|address| own.contains(&address));
            let transport = if packet.protocol == 6 { Transport::Tcp } else { Transport::Udp };
            let to = SocketAddr::new(packet.destination, packet.destination_port);
            let may_answer = fates.iter().any(|fate| may_answer(&topology, client, fate));
            let probe = Probe { transport, to, patience: if may_answer { PATIENCE } else { SILENCE } };
            let answer = kubeweir_playground::probe(&topology.member(client).namespace, &probe).unwrap();
            let fate = fates.iter().find(|fate| agrees(&topology, client, &packet, fate, &answer));
            let fate = fate
                .unwrap_or_else(|| panic!("round {round}: {client} {packet:?}: {answer:?}, but {fates:#?}"));
            if let Fate::Passed { learnt, translated: to_endpoint, .. } = fate {
                simulated.kernel().learn(learnt);
                translated += usize::from(*to_endpoint);
            }
            seen.insert(std::mem::discriminant(&answer));
        }
    }
    assert!(seen.len() >= 3 && translated > 40, "only {translated} packets met an endpoint");
}
