//! Session affinity, packet by packet in the simulated kernel.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::sim::packet::{Fate, Packet};
use kubeweir_netfilter::{Commit, Element, Family, Kernel, Key, Operation};
use kubeweir_nftables::{Mode, Options, names::TABLE};
use kubeweir_plan::input::{
    Endpoint, EndpointSlice, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use kubeweir_plan::{Changed, Facts, ObjectName, Planner, Protocol, Snapshot};

const NODE: &str = "node";
const VIP: [u8; 4] = [10, 96, 0, 1];

struct Cluster {
    snapshot: Snapshot,
    planner: Planner,
    mode: Mode<Simulated>,
}

fn service(n: u8, seconds: u32) -> Service {
    Service {
        name: ObjectName::new("default", &format!("s{n}")),
        created: 0,
        kind: ServiceKind::NodePort,
        cluster_ips: [IpAddr::from([10, 96, 0, n])].into(),
        external_ips: [].into(),
        ingress: [].into(),
        source_ranges: [].into(),
        ports: [ServicePort {
            name: "".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: 30_000 + u16::from(n),
        }]
        .into(),
        external_policy: TrafficPolicy::Local,
        internal_policy: TrafficPolicy::Cluster,
        affinity: Some(seconds),
        health_check_node_port: 0,
        scheduler: None,
    }
}

fn slice(n: u8, members: impl IntoIterator<Item = u8>) -> EndpointSlice {
    let endpoint = |last| Endpoint {
        address: IpAddr::from([10, 244, n, last]),
        node: Some(NODE.into()),
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    };
    EndpointSlice {
        name: ObjectName::new("default", &format!("s{n}-x")),
        service: ObjectName::new("default", &format!("s{n}")),
        family: Some(kubeweir_plan::Family::V4),
        ports: [SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 8080 }].into(),
        endpoints: members.into_iter().map(endpoint).collect(),
        weight: None,
    }
}

impl Cluster {
    /// Services of endpoints 1 to `size` each.
    fn new(services: u8, size: u8) -> Cluster {
        Cluster::with_timeouts(services, size, &[10_800])
    }

    /// The same, with Services that take turns in how long their clients keep their endpoint.
    fn with_timeouts(services: u8, size: u8, seconds: &[u32]) -> Cluster {
        let mode = Mode::new(Simulated::default(), Options { masquerade_mark: 0x4000 });
        let planner = Planner::new(kubeweir_plan::Options::for_node(NODE));
        let mut cluster = Cluster { snapshot: Snapshot::default(), planner, mode };
        for (n, seconds) in (1..=services).zip(seconds.iter().cycle()) {
            cluster.snapshot.put_service(service(n, *seconds).into());
            cluster.snapshot.put_slice(slice(n, 1..=size).into());
        }
        cluster.mode.observe().unwrap();
        cluster.sync(&Changed::default());
        cluster
    }

    fn sync(&mut self, changed: &Changed) -> usize {
        let update = self.planner.update(&self.snapshot, &Facts::default(), changed);
        let difference = self.mode.difference(self.planner.plan(), &update.services, update.node);
        self.mode.apply(difference).unwrap().operations
    }

    fn members(&mut self, members: impl IntoIterator<Item = u8>) -> usize {
        let changed = self.snapshot.put_slice(slice(1, members).into());
        self.sync(&changed)
    }

    /// The endpoints that a client may reach now.
    fn possible(&mut self, client: u8, to: ([u8; 4], u16)) -> BTreeSet<u8> {
        self.fates(client, to).iter().map(reached).collect()
    }

    /// A client connects and reaches this endpoint.
    fn connect(&mut self, client: u8, to: ([u8; 4], u16), endpoint: u8) {
        let fate = self.fates(client, to).into_iter().find(|fate| reached(fate) == endpoint).unwrap();
        if let Fate::Passed { learnt, .. } = fate {
            self.mode.kernel().learn(&learnt);
        }
    }

    fn fates(&mut self, client: u8, (address, port): ([u8; 4], u16)) -> BTreeSet<Fate> {
        let packet = Packet {
            source: IpAddr::from([192, 0, 2, client]),
            source_port: 40_000,
            destination: address.into(),
            destination_port: port,
            protocol: 6,
            interface: Some("eth0".into()),
        };
        self.mode.kernel().send(&packet, &|address| address == IpAddr::from([192, 0, 2, 250]))
    }

    /// Every chain with the number of its rules, in both families.
    fn chains(&mut self) -> Vec<String> {
        let kernel = self.mode.kernel();
        let tables = Family::ALL.iter().map(|family| (family, kernel.table(*family, TABLE).unwrap()));
        let chains = tables.flat_map(|(family, table)| table.chains.iter().map(move |chain| (family, chain)));
        chains.map(|(family, (name, chain))| format!("{family} {name} {}", chain.rules.len())).collect()
    }

    fn rules(&mut self) -> usize {
        let tables = Family::ALL.map(|family| self.mode.kernel().table(family, TABLE).unwrap().clone());
        tables.iter().flat_map(|table| table.chains.values()).map(|chain| chain.rules.len()).sum()
    }
}

fn reached(fate: &Fate) -> u8 {
    match fate {
        Fate::Passed { destination: (IpAddr::V4(ip), 8080), translated: true, .. } => ip.octets()[3],
        other => panic!("{other:?}"),
    }
}

fn some(members: impl IntoIterator<Item = u8>) -> BTreeSet<u8> {
    members.into_iter().collect()
}

#[test]
fn a_client_keeps_its_endpoint_and_others_are_free() {
    for (size, to) in [(3, (VIP, 80)), (20, (VIP, 80)), (3, ([192, 0, 2, 250], 30_001))] {
        let mut cluster = Cluster::new(2, size);
        assert_eq!(cluster.possible(7, to), some(1..=size));
        cluster.connect(7, to, 2);
        assert_eq!(cluster.possible(7, to), some([2]));
        assert_eq!(cluster.possible(8, to), some(1..=size));
        assert_eq!(cluster.possible(7, ([10, 96, 0, 2], 80)), some(1..=size), "another Service");
        cluster.members((1..=size).chain([size + 1]));
        assert_eq!(cluster.possible(7, to), some([2]), "another endpoint");
        cluster.members(2..=size);
        assert_eq!(cluster.possible(7, to), some([2]), "one endpoint less");
    }
}

#[test]
fn a_client_whose_endpoint_is_gone_moves_at_once_and_for_good() {
    for size in [3, 20] {
        let mut cluster = Cluster::new(1, size);
        cluster.connect(7, (VIP, 80), 1);
        cluster.members(2..=size);
        assert_eq!(cluster.possible(7, (VIP, 80)), some(2..=size));
        cluster.connect(7, (VIP, 80), 3);
        assert_eq!(cluster.possible(7, (VIP, 80)), some([3]));
        // The one that was there before does not get its clients back from another.
        cluster.members(1..=size);
        assert_eq!(cluster.possible(7, (VIP, 80)), some([3]));
    }
}

#[test]
fn memory_survives_a_restart_and_a_change_of_the_timeout() {
    let mut cluster = Cluster::new(1, 3);
    cluster.connect(7, (VIP, 80), 2);
    cluster.mode.forget();
    cluster.mode.observe().unwrap();
    assert_eq!(cluster.sync(&Changed::default()), 0);
    assert_eq!(cluster.possible(7, (VIP, 80)), some([2]));
    let changed = cluster.snapshot.put_service(service(1, 60).into());
    assert!(cluster.sync(&changed) > 0);
    assert_eq!(cluster.possible(7, (VIP, 80)), some([2]));
    let changed = cluster.snapshot.put_service(Service { affinity: None, ..service(1, 60) }.into());
    cluster.sync(&changed);
    assert_eq!(cluster.possible(7, (VIP, 80)), some(1..=3));
}

#[test]
fn chains_and_rules_do_not_follow_the_number_of_services_with_affinity() {
    let few = [60, 600, 10_800];
    let mut most = Cluster::with_timeouts(200, 3, &few);
    assert_eq!(Cluster::with_timeouts(3, 3, &few).chains(), most.chains());
    // They follow how many timeouts there are, in whatever order and whatever these are, by as much for each.
    assert_eq!(Cluster::with_timeouts(5, 3, &[7200, 30, 86_400, 30]).chains(), most.chains());
    let [one, two] = [1, 2].map(|timeouts| Cluster::with_timeouts(200, 3, &few[..timeouts]).rules());
    assert!(one < two);
    assert_eq!(most.rules() - two, two - one);
}

#[test]
fn operations_follow_the_change() {
    let mut cluster = Cluster::new(20, 3);
    // The slot's identity is replaced, and an endpoint comes and one goes by identity: for everybody at the ClusterIP, and
    // for outsiders and others at the NodePort. Beside that, two elements for connections to itself.
    assert_eq!(cluster.members([1, 4, 3]), 3 * (2 + 2) + 2, "one endpoint replaced");
    assert_eq!(cluster.members([1, 4, 3]), 0);
}

/// A packet that passes while a frontend moves from one number of endpoints to another may find it under neither.
#[test]
fn a_frontend_of_no_class_at_all_still_leads_to_its_first_endpoint() {
    for affinity in [Some(10_800), None] {
        let mut cluster = Cluster::new(1, 3);
        let changed = cluster.snapshot.put_service(Service { affinity, ..service(1, 10_800) }.into());
        cluster.sync(&changed);
        let key = Key::EMPTY.address(VIP.into()).protocol(6).port(80);
        let mut gap = Commit::new(Family::Ip, TABLE);
        gap.push(Operation::DeleteElements("services-3".into(), vec![Element::of_set(key)]));
        cluster.mode.kernel().commit(&[gap], None).unwrap();
        assert_eq!(cluster.possible(7, (VIP, 80)), some([1]));
    }
}
