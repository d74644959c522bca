//! A change costs what the change costs: operations counted, whatever the number of Services.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use kubeweir_netfilter::sim::Simulated;
use kubeweir_nftables::{Applied, Mode, Options};
use kubeweir_plan::input::{
    Endpoint, EndpointSlice, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use kubeweir_plan::{Changed, Facts, Family, ObjectName, Planner, Protocol, Snapshot};

const SERVICES: u32 = 500;

fn name(n: u32) -> ObjectName {
    ObjectName::new("default", &format!("service-{n}"))
}

fn service(n: u32, node_port: u16) -> Service {
    Service {
        name: name(n),
        created: 0,
        kind: ServiceKind::NodePort,
        cluster_ips: [Ipv4Addr::from_bits(0x0a60_0000 + n).into()].into(),
        external_ips: [].into(),
        ingress: [].into(),
        source_ranges: [].into(),
        ports: [ServicePort { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port }].into(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_check_node_port: 0,
        scheduler: None,
    }
}

fn slice(n: u32, members: &[u8]) -> EndpointSlice {
    let [_, _, high, low] = n.to_be_bytes();
    let endpoint = |last: &u8| Endpoint {
        address: IpAddr::from([172, high, low, *last]),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    };
    EndpointSlice {
        name: ObjectName::new("default", &format!("service-{n}-x")),
        service: name(n),
        family: Some(Family::V4),
        ports: [SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }].into(),
        endpoints: members.iter().map(endpoint).collect(),
        weight: None,
    }
}

struct Cluster {
    snapshot: Snapshot,
    planner: Planner,
    mode: Mode<Simulated>,
}

impl Cluster {
    fn new() -> Cluster {
        let planner = Planner::new(kubeweir_plan::Options::for_node("node"));
        let mode = Mode::new(Simulated::default(), Options { masquerade_mark: 0x4000 });
        let mut cluster = Cluster { snapshot: Snapshot::default(), planner, mode };
        for n in 0..SERVICES {
            cluster.snapshot.put_service(service(n, 0).into());
            cluster.snapshot.put_slice(slice(n, &[1, 2, 3]).into());
        }
        cluster.mode.observe().unwrap();
        cluster.sync(&Changed::default());
        cluster
    }

    fn sync(&mut self, changed: &Changed) -> Applied {
        let update = self.planner.update(&self.snapshot, &Facts::default(), changed);
        let difference = self.mode.difference(self.planner.plan(), &update.services, update.node);
        self.mode.apply(difference).unwrap()
    }

    fn change(&mut self, n: u32) -> usize {
        let applied = self.sync(&Changed { services: BTreeSet::from([name(n)]), ..Changed::default() });
        assert!(applied.batches <= 1);
        applied.operations
    }

    fn endpoints(&mut self, n: u32, members: &[u8]) -> usize {
        self.snapshot.put_slice(slice(n, members).into());
        self.change(n)
    }
}

#[test]
fn operations_follow_the_change() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.endpoints(7, &[1, 4, 3]), 2, "one endpoint replaced: delete and add");
    assert_eq!(cluster.endpoints(7, &[1, 4, 3]), 0, "the same again");
    assert_eq!(cluster.endpoints(7, &[4, 3, 5]), 2, "another one replaced");
    assert_eq!(cluster.endpoints(7, &[9, 8, 5]), 4, "two replaced");
    // The first Service with a new number of endpoints brings a set and a rule for that number; the chain that
    // looks for the number has two rules and a last resort, and is written anew.
    assert_eq!(cluster.endpoints(7, &[9, 8, 5, 1]), 1 + 2 + 1 + 4, "scaled up to a number not seen before");
    assert_eq!(cluster.endpoints(8, &[1, 2, 3, 4]), 3, "scaled up to a number seen before");
    assert_eq!(cluster.endpoints(8, &[2, 3, 4]), 5, "scaled down: the last takes the free slot");
    cluster.snapshot.put_service(service(9, 30_080).into());
    assert_eq!(
        cluster.change(9),
        3 + 1 + 1 + 1 + 3,
        "a NodePort: three endpoints, its mark, and a new set with its rule"
    );
    cluster.snapshot.remove_service(&name(10));
    assert_eq!(cluster.change(10), 5, "a Service gone: address, frontend and three endpoints");
    assert_eq!(cluster.endpoints(11, &[]), 5, "endpoints gone: rejected now");
}

#[test]
fn slots_survive_a_restart() {
    let mut cluster = Cluster::new();
    cluster.endpoints(7, &[3, 2, 9]);
    cluster.endpoints(8, &[2, 3]);
    cluster.mode.forget();
    cluster.mode.observe().unwrap();
    assert_eq!(cluster.sync(&Changed::default()).operations, 0);
    assert_eq!(cluster.endpoints(7, &[1, 2, 9]), 2);
}
