//! Both modes do what the plan says: on random clusters, the simulated kernel sends random packets where the plan's oracle does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kubeweir_ipvs::kernel::Observed;
use kubeweir_ipvs::schedulers::{KNOWN, Schedulers};
use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::sim::packet::{self, Fate};
use kubeweir_netlink::ipvs::Identity;
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
    options.schedulers = KNOWN;
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

/// What a mode has programmed.
struct Kernel {
    tables: Simulated,
    servers: Observed,
}

impl Kernel {
    fn of_nftables(plan: &Plan) -> Kernel {
        let mut mode = Mode::new(Simulated::default(), Options::rules(0x4000));
        mode.observe().unwrap();
        let difference = mode.difference(plan, &BTreeSet::new(), true);
        mode.apply(difference).unwrap();
        Kernel { tables: mode.kernel().clone(), servers: Observed::default() }
    }

    fn of_ipvs(plan: &Plan) -> Kernel {
        let settings = kubeweir_ipvs::Settings {
            tables: Options::beside_servers(0x4000),
            excluded: Vec::new(),
            patience: Duration::ZERO,
        };
        let kernel = kubeweir_ipvs::sim::Simulated::default();
        let mut mode =
            kubeweir_ipvs::Mode::new(Simulated::default(), kernel, settings, Schedulers::default());
        mode.observe().unwrap();
        let difference = mode.difference(plan, &BTreeSet::new(), true, Instant::now());
        mode.apply(difference).unwrap();
        Kernel { tables: mode.tables().kernel().clone(), servers: mode.kernel().state.clone() }
    }

    /// The host talks to an address that it has taken on from that address. Nothing comes in from such an address.
    fn sent(&self, mut packet: oracle::Packet) -> oracle::Packet {
        let is_bound = |address| self.servers.bound.contains(&address);
        if packet.from_node && is_bound(packet.destination.ip()) {
            packet.source = packet.destination.ip();
        } else if packet.interface.is_some() && is_bound(packet.source) {
            let stranger = if packet.source.is_ipv4() { "198.51.100.7" } else { "2001:db8:1::7" };
            packet.source = stranger.parse().unwrap();
        }
        packet
    }

    fn fates(&self, world: &World, packet: &oracle::Packet) -> BTreeSet<Fate> {
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
        let servers = |protocol, address, port| {
            let server = self.servers.servers.get(&Identity::Address { protocol, address, port })?;
            Some(server.real.keys().map(|real| (real.ip(), real.port())).collect())
        };
        let is_local =
            |address| world.facts.addresses.contains(&address) || self.servers.bound.contains(&address);
        let fates = if self.servers.servers.is_empty() {
            self.tables.send(&sent, &is_local)
        } else {
            self.tables.send_to_servers(&sent, &is_local, &servers)
        };
        fates.into_iter().map(forgotten).collect()
    }

    /// What the oracle's answer means for single packets.
    fn expected(&self, plan: &Plan, packet: &oracle::Packet) -> BTreeSet<Fate> {
        let is_bound = |address| self.servers.bound.contains(&address);
        let expected = expected(plan, packet, is_bound(packet.source));
        // What would pass by goes nowhere where the address is the host's own.
        let passes = expected.iter().all(|fate| matches!(fate, Fate::Passed { translated: false, .. }));
        if passes && is_bound(packet.destination.ip()) { BTreeSet::from([Fate::Dropped]) } else { expected }
    }
}

fn expected(plan: &Plan, packet: &oracle::Packet, no_source_elsewhere: bool) -> BTreeSet<Fate> {
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
            targets
                .iter()
                .map(|to| passed(*to, true, masqueraded || no_source_elsewhere || to_itself(to)))
                .collect()
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

fn check(kernel_of: fn(&Plan) -> Kernel, numbers: &[u64], seed: u64) -> Result<(), TestCaseError> {
    let (mut world, mut dice) = (World::default(), Dice(seed));
    for number in numbers {
        world.happen(Event::drawn(*number));
    }
    let mut planner = Planner::new(options(&mut dice));
    let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
    let (plan, kernel) = (planner.plan(), kernel_of(planner.plan()));
    for _ in 0..40 {
        let packet = kernel.sent(drawn(&mut dice, plan, &world));
        let (fates, expected) = (kernel.fates(&world, &packet), kernel.expected(plan, &packet));
        prop_assert_eq!(fates, expected, "{:?} is {:?}", packet, oracle::outcome(plan, &packet));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_tables_send_packets_where_the_plan_says(
        numbers in proptest::collection::vec(any::<u64>(), 1..40),
        seed in any::<u64>(),
    ) {
        check(Kernel::of_nftables, &numbers, seed)?;
    }

    #[test]
    fn virtual_servers_send_packets_where_the_plan_says(
        numbers in proptest::collection::vec(any::<u64>(), 1..40),
        seed in any::<u64>(),
    ) {
        check(Kernel::of_ipvs, &numbers, seed)?;
    }
}
