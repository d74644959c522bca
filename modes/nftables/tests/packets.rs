//! The tables do what the plan says: on random clusters, the simulated kernel sends random packets where the plan's oracle does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::sim::packet::{self, Fate};
use kubeweir_nftables::{Mode, Options};
use kubeweir_plan::fixtures::{Dice, Event, NODE, World};
use kubeweir_plan::options::{DetectLocal, NodePortOption};
use kubeweir_plan::oracle::{self, Outcome};
use kubeweir_plan::{Changed, Frontend, FrontendAddress, Plan, Planner, Protocol, Verdict};
use proptest::prelude::*;

fn options(dice: &mut Dice) -> kubeweir_plan::Options {
    let mut options = kubeweir_plan::Options::for_node(NODE);
    let pods = ["10.244.0.0/16", "fd00:244::/48"].map(|text| text.parse().unwrap());
    options.detect_local = match dice.below(5) {
        0 | 1 => DetectLocal::ClusterCidr(pods.to_vec()),
        2 => DetectLocal::BridgeInterface("cni0".into()),
        3 => DetectLocal::InterfaceNamePrefix("veth".into()),
        _ => DetectLocal::ClusterCidr(Vec::new()),
    };
    options.node_port_addresses = match dice.below(3) {
        0 => NodePortOption::Primary,
        1 => NodePortOption::All,
        _ => NodePortOption::Within(vec!["10.96.250.0/31".parse().unwrap()]),
    };
    options.masquerade_all = dice.one_in(4);
    options
}

/// A packet to something of the plan, or close by.
fn drawn(dice: &mut Dice, plan: &Plan, world: &World) -> oracle::Packet {
    let ports: Vec<_> = plan.services.values().flat_map(|service| &service.ports).collect();
    let all = || ports.iter().flat_map(|port| port.frontends.iter().map(move |f| (*port, f)));
    // Most random frontends have no endpoints: those that do are asked more often.
    let is_served = |frontend: &Frontend| {
        [&frontend.inside, &frontend.outside].iter().any(|verdict| matches!(verdict, Verdict::Forward(_)))
    };
    let mut frontends: Vec<_> = all().filter(|(_, frontend)| is_served(frontend)).collect();
    if frontends.is_empty() || dice.one_in(3) {
        frontends = all().collect();
    }
    let node: IpAddr = "10.96.250.1".parse().unwrap();
    let (mut to, mut protocol) = (SocketAddr::new(node, 30_080), Protocol::Tcp);
    if !frontends.is_empty() {
        let (port, frontend) = frontends[usize::try_from(dice.below(frontends.len() as u64)).unwrap()];
        let address = match frontend.address {
            FrontendAddress::Ip(address) => address,
            FrontendAddress::Node(_) => format!("10.96.250.{}", dice.below(4)).parse().unwrap(),
        };
        (to, protocol) = (SocketAddr::new(address, frontend.port), port.key.protocol);
    }
    if dice.one_in(8) {
        protocol = dice.pick(&Protocol::ALL);
    }
    if dice.one_in(8) {
        to.set_port(81);
    }
    let v4 = ["10.244.1.9", "192.0.2.7", "198.51.100.7", "10.96.250.1", "10.96.200.1", "10.96.200.2"];
    let v6 =
        ["fd00:244::9", "2001:db8::7", "2001:db8:1::7", "fd00:96::fa:1", "fd00:96::c8:1", "fd00:96::c8:2"];
    let source: IpAddr = dice.pick(if to.is_ipv4() { &v4 } else { &v6 }).parse().unwrap();
    let is_local = |address: &IpAddr| world.facts.addresses.contains(address);
    let made_here = is_local(&source);
    let interface = dice.pick(&["eth0", "cni0", "veth1"]).to_owned();
    oracle::Packet {
        source,
        destination: to,
        protocol,
        interface: (!made_here).then_some(interface),
        from_node: made_here,
        to_node: is_local(&to.ip()),
    }
}

fn fates(kernel: &Simulated, world: &World, packet: &oracle::Packet) -> BTreeSet<Fate> {
    let sent = packet::Packet {
        source: packet.source,
        source_port: 40_000,
        destination: packet.destination.ip(),
        destination_port: packet.destination.port(),
        protocol: packet.protocol.number(),
        interface: packet.interface.clone(),
    };
    let forgotten = |fate| match fate {
        Fate::Passed { destination, translated, masqueraded, .. } => {
            Fate::Passed { destination, translated, masqueraded, learnt: Vec::new() }
        }
        other => other,
    };
    let is_local = |address| world.facts.addresses.contains(&address);
    kernel.send(&sent, &is_local).into_iter().map(forgotten).collect()
}

/// What the oracle's answer means for single packets.
fn expected(plan: &Plan, packet: &oracle::Packet) -> BTreeSet<Fate> {
    let passed = |to: SocketAddr, translated, masqueraded| Fate::Passed {
        destination: (to.ip(), to.port()),
        translated,
        masqueraded,
        learnt: Vec::new(),
    };
    match oracle::outcome(plan, packet) {
        Outcome::Forwarded { targets, masqueraded, .. } => {
            let to_itself =
                |to: &SocketAddr| to.ip() == packet.source && is_local_target(plan, packet.protocol, *to);
            targets.iter().map(|to| passed(*to, true, masqueraded || to_itself(to))).collect()
        }
        Outcome::Rejected(_) => BTreeSet::from([Fate::Rejected]),
        Outcome::Dropped(_) => BTreeSet::from([Fate::Dropped]),
        Outcome::Untouched => BTreeSet::from([passed(packet.destination, false, false)]),
    }
}

fn is_local_target(plan: &Plan, protocol: Protocol, to: SocketAddr) -> bool {
    let ports = plan.services.values().flat_map(|service| &service.ports);
    let pools = ports.filter(|port| port.key.protocol == protocol).flat_map(kubeweir_plan::PortPlan::pools);
    pools.flat_map(|pool| pool.targets.iter()).any(|target| target.local && target.socket() == to)
}

fn kernel(planner: &Planner) -> Simulated {
    let mut mode = Mode::new(Simulated::default(), Options::rules(0x4000));
    mode.observe().unwrap();
    let difference = mode.difference(planner.plan(), &BTreeSet::new(), true);
    mode.apply(difference).unwrap();
    mode.kernel().clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_tables_send_packets_where_the_plan_says(
        numbers in proptest::collection::vec(any::<u64>(), 1..40),
        seed in any::<u64>(),
    ) {
        let (mut world, mut dice) = (World::default(), Dice(seed));
        for number in numbers {
            world.happen(Event::drawn(number));
        }
        let mut planner = Planner::new(options(&mut dice));
        let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
        let kernel = kernel(&planner);
        for _ in 0..40 {
            let packet = drawn(&mut dice, planner.plan(), &world);
            prop_assert_eq!(
                fates(&kernel, &world, &packet),
                expected(planner.plan(), &packet),
                "{:?} is {:?}", packet, oracle::outcome(planner.plan(), &packet)
            );
        }
    }
}
