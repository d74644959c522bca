//! The simulated kernel and the real one agree on random rulesets: what the real one does with a packet is always one of the
//! fates that the simulated one holds possible, and both remember the same clients.
//!
//! Each fate shows in an answer of its own. Whatever a packet that passes is addressed to, somebody answers there: all members
//! on all ports of endpoints, node-1 on the ports of NodePorts too, and a place called `nowhere`, where node-1 sends what is
//! still addressed to a Service, on every address of a Service. And answers of node-2 to the world outside go through node-1,
//! which alone can translate them back. So silence means dropped, and a refusal rejected.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use kubeweir_e2e::topology::{
    EXTERNAL_PREFIXES, Member, NODE_SERVER_PORT, Network, POD_PORTS, POD_PREFIXES, SERVICE_PREFIXES,
    Topology, gateways,
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
use kubeweir_playground::{Answer, Namespace, Probe, Server, Transport, Veth};

const ROUNDS: u64 = 24;
const PACKETS: usize = 16;
const SERVICES: u64 = 8;
/// How long silence is listened to, and how long an answer may take: a refusal of TCP over IPv6 takes a second.
const SILENCE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(3);
/// The place where node-1 sends what nobody translated, and its own addresses.
const NOWHERE: &str = "nowhere";
const NOWHERE_ADDRESSES: [&str; 2] = ["198.51.100.9", "2001:db8:51::9"];
const CLIENTS: [&str; 4] = ["n1-a", "n1-b", "node-1", "outside"];
const BACKENDS: [&str; 6] = ["n1-a", "n1-b", "n2-a", "n2-b", "node-1", "node-2"];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Numbers of Services of a family, and one more that none has.
fn numbers(family: Family) -> std::ops::RangeInclusive<u64> {
    let first = 1 + if family == Family::V4 { 0 } else { 50 };
    first..=first + SERVICES
}

fn node_port(number: u64) -> u16 {
    31_000 + u16::try_from(number).unwrap()
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
            node_port: node_port(number),
        }]
        .into(),
        external_policy: policy(dice),
        internal_policy: policy(dice),
        affinity: dice.one_in(3).then_some(600),
        health_check_node_port: 0,
        scheduler: None,
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
        weight: None,
    }
}

fn planner(topology: &Topology, dice: &mut Dice) -> Planner {
    let mut snapshot = Snapshot::default();
    for family in [Family::V4, Family::V6] {
        for number in numbers(family).take(usize::try_from(SERVICES).unwrap()) {
            let service = service(number, family, dice);
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
    node.addresses.into_iter().chain(gateways(1)).collect()
}

fn commit<K: Kernel>(mode: &mut Mode<K>, planner: &Planner) {
    mode.forget();
    mode.observe().unwrap();
    let difference = mode.difference(planner.plan(), &BTreeSet::new(), true);
    mode.apply(difference).unwrap();
}

fn drawn(topology: &Topology, dice: &mut Dice) -> (&'static str, Packet) {
    let client = dice.pick(&CLIENTS);
    let family = dice.pick(&[Family::V4, Family::V6]);
    let number = numbers(family).start() + dice.below(SERVICES + 1);
    let node = topology.member("node-1").addresses[family.index()];
    let (destination, destination_port) = match dice.below(5) {
        0 | 1 => (service_address(family, number), if dice.one_in(8) { 81 } else { 80 }),
        2 => (external_address(family, number), 80),
        3 => (external_address(family, 100 + number), 80),
        _ => (node, node_port(number)),
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

/// Answers wherever a packet can pass to, as long as this lives.
fn answer_everywhere(topology: &Topology) -> Vec<Server> {
    let node_ports = [Family::V4, Family::V6].into_iter().flat_map(numbers).map(node_port);
    let node_ports: Vec<u16> = POD_PORTS.into_iter().chain(node_ports).collect();
    let mut servers = Vec::new();
    for member in topology.members().iter().filter(|member| member.name != "outside") {
        let ports = if member.node.is_some() { &[NODE_SERVER_PORT][..] } else { &node_ports };
        servers.push(Server::start(&member.namespace, &member.name, &member.addresses, ports).unwrap());
    }
    servers.push(nowhere(topology.member("node-1")));
    let router = topology.member("node-1").addresses;
    for (address, via) in topology.member("outside").addresses.into_iter().zip(router) {
        topology.member("node-2").namespace.route(IpNet::from(address), via).unwrap();
    }
    servers
}

/// The place that has all addresses of Services. On its side too node-1 has its own addresses, so that it sends from these.
fn nowhere(node: &Member) -> Server {
    let place = Namespace::new(NOWHERE).unwrap();
    place.sysctl("ipv6/conf/default/accept_dad", "0").unwrap();
    Veth { here: &node.namespace, name: NOWHERE, there: &place, peer: "eth0" }.make().unwrap();
    for ((own, gateway), everything) in
        NOWHERE_ADDRESSES.map(ip).into_iter().zip(node.addresses).zip(["0.0.0.0/0", "::/0"])
    {
        node.namespace.address(NOWHERE, IpNet::from(gateway)).unwrap();
        node.namespace.route_to_link(IpNet::from(own), NOWHERE).unwrap();
        place.address("eth0", IpNet::from(own)).unwrap();
        place.route_to_link(IpNet::from(gateway), "eth0").unwrap();
        place.route(everything.parse().unwrap(), gateway).unwrap();
    }
    for (prefix, via) in [SERVICE_PREFIXES, EXTERNAL_PREFIXES]
        .into_iter()
        .flat_map(|both| both.into_iter().zip(NOWHERE_ADDRESSES))
    {
        node.namespace.route(prefix.parse().unwrap(), ip(via)).unwrap();
    }
    let addresses = addresses_of_services();
    for address in &addresses {
        place.address("lo", IpNet::from(*address)).unwrap();
    }
    Server::start(&place, NOWHERE, &addresses, &[80, 81]).unwrap().with_namespace(place)
}

fn addresses_of_services() -> Vec<IpAddr> {
    let of_one = |family, number| {
        [
            service_address(family, number),
            external_address(family, number),
            external_address(family, 100 + number),
        ]
    };
    let families = [Family::V4, Family::V6].into_iter();
    families.flat_map(|family| numbers(family).flat_map(move |number| of_one(family, number))).collect()
}

/// Whether the real answer is the only one that this fate leads to.
fn agrees(topology: &Topology, packet: &Packet, fate: &Fate, answer: &Answer) -> bool {
    match (fate, answer) {
        (Fate::Dropped, Answer::Silence) | (Fate::Rejected, Answer::Refused) => true,
        (
            Fate::Passed { destination: (address, _), masqueraded, .. },
            Answer::Reached { server, seen_as },
        ) => {
            let member = topology.members().iter().find(|member| member.addresses.contains(address));
            let wanted = member.map_or(NOWHERE, |member| member.name.as_str());
            let sources = if *masqueraded {
                masquerades(topology, wanted, address.is_ipv6())
            } else {
                vec![packet.source]
            };
            server == wanted && sources.contains(seen_as)
        }
        _ => false,
    }
}

/// What a client that node-1 masquerades can be seen as.
fn masquerades(topology: &Topology, server: &str, is_v6: bool) -> Vec<IpAddr> {
    let (node, position) = (topology.member("node-1"), usize::from(is_v6));
    match server {
        // From itself to itself a node may take any address that it has.
        "node-1" => own_addresses(node),
        "n1-a" | "n1-b" => vec![gateways(1)[position]],
        _ => vec![node.addresses[position]],
    }
}

#[test]
fn the_real_kernel_does_what_the_simulated_one_holds_possible() {
    let topology = Topology::build(Network::Routed);
    let _servers = answer_everywhere(&topology);
    let node = topology.member("node-1");
    let options = Options { masquerade_mark: 0x4000 };
    let mut real = Mode::new(node.namespace.run(|| Client::open().unwrap()).unwrap(), options);
    let (mut seen, mut translated, mut passed) = (HashSet::new(), 0, 0);
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
            let is_dropped = fates.iter().all(|fate| *fate == Fate::Dropped);
            let probe = Probe { transport, to, patience: if is_dropped { SILENCE } else { PATIENCE } };
            let answer = kubeweir_playground::probe(&topology.member(client).namespace, &probe).unwrap();
            let fate = fates.iter().find(|fate| agrees(&topology, &packet, fate, &answer));
            let fate = fate
                .unwrap_or_else(|| panic!("round {round}: {client} {packet:?}: {answer:?}, but {fates:#?}"));
            if let Fate::Passed { learnt, translated: to_endpoint, .. } = fate {
                simulated.kernel().learn(learnt);
                *(if *to_endpoint { &mut translated } else { &mut passed }) += 1;
            }
            seen.insert(std::mem::discriminant(&answer));
        }
    }
    assert_eq!(seen.len(), 3, "reached, refused, silence");
    assert!(
        translated > 80 && passed > 20,
        "only {translated} packets met an endpoint, and {passed} passed by"
    );
}
