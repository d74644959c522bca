//! A small cluster in front of the simulated kernel.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use kubeweir_ipvs::schedulers::{KNOWN, Schedulers};
use kubeweir_ipvs::sim::Simulated;
use kubeweir_ipvs::{Applied, Error, Mode, Settings};
use kubeweir_netfilter::sim::Simulated as Tables;
use kubeweir_netlink::ipvs::{Identity, RealServer};
use kubeweir_nftables::Options;
use kubeweir_plan::input::{
    Endpoint, EndpointSlice, Service, ServiceKind, ServicePort, SlicePort, TrafficPolicy,
};
use kubeweir_plan::{Changed, Facts, Family, ObjectName, Planner, Protocol, Snapshot};

/// How long connections to an endpoint that is gone may go on.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn name(n: u32) -> ObjectName {
    ObjectName::new("default", &format!("service-{n}"))
}

pub(crate) fn service(n: u32) -> Service {
    Service {
        name: name(n),
        created: 0,
        kind: ServiceKind::NodePort,
        cluster_ips: [Ipv4Addr::from_bits(0x0a60_0000 + n).into()].into(),
        external_ips: [].into(),
        ingress: [].into(),
        source_ranges: [].into(),
        ports: [port(Protocol::Tcp)].into(),
        external_policy: TrafficPolicy::Cluster,
        internal_policy: TrafficPolicy::Cluster,
        affinity: None,
        health_check_node_port: 0,
        scheduler: None,
    }
}

pub(crate) fn port(protocol: Protocol) -> ServicePort {
    ServicePort { name: "http".into(), protocol, port: 80, node_port: 0 }
}

/// An endpoint of Service `n` with this last byte.
pub(crate) fn endpoint(n: u32, last: u8) -> Endpoint {
    let [_, _, high, low] = n.to_be_bytes();
    Endpoint {
        address: IpAddr::from([172, high, low, last]),
        node: None,
        ready: true,
        serving: true,
        terminating: false,
        hints: None,
    }
}

pub(crate) fn slice(n: u32, endpoints: Vec<Endpoint>) -> EndpointSlice {
    let slice_port = |protocol| SlicePort { name: "http".into(), protocol, port: 8080 };
    EndpointSlice {
        name: ObjectName::new("default", &format!("service-{n}-x")),
        service: name(n),
        family: Some(Family::V4),
        ports: Protocol::ALL.map(slice_port).into(),
        endpoints: endpoints.into(),
        weight: None,
    }
}

pub(crate) fn real(n: u32, last: u8) -> SocketAddr {
    SocketAddr::new(endpoint(n, last).address, 8080)
}

/// The virtual server of Service `n`'s ClusterIP.
pub(crate) fn server(n: u32, protocol: Protocol) -> Identity {
    Identity::at(protocol.number(), SocketAddr::new(service(n).cluster_ips[0], 80))
}

pub(crate) struct Cluster {
    pub(crate) snapshot: Snapshot,
    pub(crate) facts: Facts,
    pub(crate) planner: Planner,
    pub(crate) mode: Mode<Tables, Simulated>,
    pub(crate) now: Instant,
}

impl Cluster {
    /// Services of three endpoints each, all programmed.
    pub(crate) fn new(services: u32) -> Cluster {
        let mut cluster = Cluster::before_start(Simulated::default());
        for n in 0..services {
            cluster.snapshot.put_service(service(n).into());
            cluster.snapshot.put_slice(slice(n, [1, 2, 3].map(|last| endpoint(n, last)).into()).into());
        }
        cluster.sync(&Changed::default()).unwrap();
        cluster
    }

    /// Nothing is known and nothing is programmed.
    pub(crate) fn before_start(kernel: Simulated) -> Cluster {
        let options = kubeweir_plan::Options {
            schedulers: KNOWN,
            weights: true,
            ..kubeweir_plan::Options::for_node("node")
        };
        let facts = Facts { addresses: BTreeSet::from(["192.0.2.1".parse().unwrap()]) };
        let snapshot = Snapshot::default();
        let mode = mode(Tables::default(), kernel);
        Cluster { snapshot, facts, planner: Planner::new(options), mode, now: Instant::now() }
    }

    /// One pass.
    pub(crate) fn sync(&mut self, changed: &Changed) -> Result<Applied, Error> {
        if !self.mode.is_known() {
            self.mode.observe()?;
        }
        let update = self.planner.update(&self.snapshot, &self.facts, changed);
        let difference = self.mode.difference(self.planner.plan(), &update.services, update.node, self.now);
        self.mode.apply(difference)
    }

    /// A fresh process in front of the same kernel.
    pub(crate) fn restart(&mut self) {
        self.mode = mode(self.mode.tables().kernel().clone(), self.mode.kernel().clone());
        self.planner = Planner::new(kubeweir_plan::Options {
            schedulers: KNOWN,
            weights: true,
            ..kubeweir_plan::Options::for_node("node")
        });
    }

    pub(crate) fn put(&mut self, service: Service) -> Applied {
        let changed = self.snapshot.put_service(service.into());
        self.sync(&changed).unwrap()
    }

    pub(crate) fn endpoints(&mut self, n: u32, endpoints: Vec<Endpoint>) -> Applied {
        let changed = self.snapshot.put_slice(slice(n, endpoints).into());
        self.sync(&changed).unwrap()
    }

    /// Weights by last byte of the address.
    pub(crate) fn weights(&mut self, identity: Identity) -> Vec<(u8, u32)> {
        let last = |real: &RealServer| match real.address {
            IpAddr::V4(v4) => v4.octets()[3],
            IpAddr::V6(v6) => v6.octets()[15],
        };
        let server = &self.mode.kernel().state.servers[&identity];
        server.real.values().map(|real| (last(real), real.weight)).collect()
    }

    pub(crate) fn connect(&mut self, n: u32, protocol: Protocol, last: u8, connections: u32) {
        let key = (server(n, protocol), real(n, last));
        self.mode.kernel().connections.insert(key, connections);
    }
}

fn mode(tables: Tables, kernel: Simulated) -> Mode<Tables, Simulated> {
    let settings =
        Settings { tables: Options::beside_servers(0x4000), excluded: Vec::new(), patience: PATIENCE };
    Mode::new(tables, kernel, settings, Schedulers::default())
}
