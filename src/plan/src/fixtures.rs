//! A small world in which random clusters live (feature `fixtures`, for tests).
//!
//! Few names, few addresses, few ports: so that random events collide often. Every event is drawn from one number, which
//! property tests can shrink.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::Facts;
use crate::input::{
    Endpoint, EndpointSlice, Hints, Ingress, Node, Service, ServiceKind, ServicePort, SlicePort,
    TrafficPolicy,
};
use crate::names::{Family, ObjectName, Protocol};
use crate::snapshot::{Changed, Snapshot};

/// Name of the node that plans are made for.
pub const NODE: &str = "node-1";

/// Something that happens to the cluster or the host.
#[derive(Clone, Debug)]
pub enum Event {
    /// A Service appears or changes.
    PutService(Service),
    /// A Service goes.
    RemoveService(ObjectName),
    /// A slice appears or changes.
    PutSlice(EndpointSlice),
    /// A slice goes.
    RemoveSlice(ObjectName),
    /// The Node appears, changes or goes.
    SetNode(Option<Node>),
    /// Another Node appears, changes its addresses or goes.
    SetNodeAddresses(Arc<str>, Option<Arc<[IpAddr]>>),
    /// A ServiceCIDR appears, changes or goes.
    SetServiceCidr(Arc<str>, Option<&'static str>),
    /// The host's addresses change.
    SetFacts(Facts),
}

/// The state that events have led to.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// What the API says.
    pub snapshot: Snapshot,
    /// What the host says.
    pub facts: Facts,
}

impl World {
    /// Carries out an event.
    pub fn happen(&mut self, event: Event) -> Changed {
        match event {
            Event::PutService(service) => self.snapshot.put_service(Arc::new(service)),
            Event::RemoveService(name) => self.snapshot.remove_service(&name),
            Event::PutSlice(slice) => self.snapshot.put_slice(Arc::new(slice)),
            Event::RemoveSlice(name) => self.snapshot.remove_slice(&name),
            Event::SetNode(node) => self.snapshot.set_node(node.map(Arc::new)),
            Event::SetNodeAddresses(name, None) => self.snapshot.remove_node_addresses(&name),
            Event::SetNodeAddresses(name, Some(addresses)) => {
                self.snapshot.put_node_addresses(&name, addresses)
            }
            Event::SetServiceCidr(name, None) => self.snapshot.remove_service_cidr(&name),
            Event::SetServiceCidr(name, Some(prefix)) => {
                self.snapshot.put_service_cidr(&name, prefix.parse().into_iter().collect())
            }
            Event::SetFacts(facts) => {
                let node = self.facts != facts;
                self.facts = facts;
                Changed { node, ..Changed::default() }
            }
        }
    }
}

impl Event {
    /// The event that a number stands for.
    pub fn drawn(number: u64) -> Event {
        let mut dice = Dice(number);
        match dice.below(22) {
            0..=6 => Event::PutService(service(&mut dice)),
            7..=8 => Event::RemoveService(service_name(&mut dice)),
            9..=15 => Event::PutSlice(slice(&mut dice)),
            16..=17 => {
                let namespace = service_name(&mut dice).namespace;
                Event::RemoveSlice(ObjectName { namespace, name: slice_name(&mut dice) })
            }
            18 => Event::SetNode(node(&mut dice)),
            19 => {
                let name = dice.pick(&["node-2", "node-3"]).into();
                Event::SetNodeAddresses(name, (!dice.one_in(3)).then(|| node_addresses(&mut dice)))
            }
            20 => Event::SetFacts(facts(&mut dice)),
            _ if dice.one_in(2) => {
                let prefix =
                    if dice.one_in(3) { None } else { Some(dice.pick(&["10.96.0.0/24", "fd00:96::/112"])) };
                Event::SetServiceCidr(dice.pick(&["kubernetes", "more"]).into(), prefix)
            }
            _ => Event::SetFacts(facts(&mut dice)),
        }
    }
}

/// Draws many small numbers from one large one (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    /// A number below the limit.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }

    /// True once in so many draws.
    pub fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap_or(0)]
    }

    fn byte(&mut self, limit: u8) -> u8 {
        u8::try_from(self.below(u64::from(limit))).unwrap_or(0)
    }
}

fn v4(third: u8, last: u8) -> IpAddr {
    Ipv4Addr::new(10, 96, third, last).into()
}

fn v6(third: u8, last: u8) -> IpAddr {
    Ipv6Addr::new(0xfd00, 0x96, 0, 0, 0, 0, u16::from(third), u16::from(last)).into()
}

fn service_name(dice: &mut Dice) -> ObjectName {
    ObjectName::new(dice.pick(&["default", "other"]), dice.pick(&["a", "b", "c"]))
}

fn slice_name(dice: &mut Dice) -> Arc<str> {
    dice.pick(&["s1", "s2", "s3"]).into()
}

/// The last number of a Service's own addresses.
fn last_of(name: &ObjectName) -> u8 {
    name.namespace.bytes().chain(name.name.bytes()).fold(0_u8, u8::wrapping_add)
}

/// A Service whose ClusterIPs are its own most of the time.
fn service(dice: &mut Dice) -> Service {
    let name = service_name(dice);
    let own = last_of(&name);
    let third = u8::from(dice.one_in(10));
    let families = dice.below(4);
    let mut cluster_ips = Vec::new();
    if families != 0 {
        cluster_ips.push(v4(third, own));
    }
    if families >= 2 || (families == 0 && dice.one_in(2)) {
        cluster_ips.push(v6(third, own));
    }
    // Now and then the node's own address, or some Service's ClusterIP.
    let outer = |dice: &mut Dice| {
        let (third, last) = match dice.below(8) {
            0 | 1 => (250, 1),
            2 => (0, last_of(&service_name(dice))),
            _ => (9, dice.byte(3)),
        };
        if dice.one_in(3) { v6(third, last) } else { v4(third, last) }
    };
    let external_ips = (0..dice.below(3)).map(|_| outer(dice)).collect();
    let ingress = (0..dice.below(3))
        .map(|_| Ingress { address: outer(dice), delivers_address: !dice.one_in(4) })
        .collect();
    let ranges =
        ["192.0.2.0/24", "192.0.2.128/25", "198.51.100.0/24", "2001:db8::/64", "0.0.0.0/0", "10.0.0.0/8"];
    let range_count = if dice.one_in(3) { 3 } else { 0 };
    let source_ranges = (0..range_count).filter_map(|_| dice.pick(&ranges).parse().ok()).collect();
    let policy = |dice: &mut Dice| if dice.one_in(2) { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    let names = ["http", "dns", ""];
    let ports =
        (0..=dice.below(2)).map(|at| service_port(names[usize::try_from(at).unwrap_or(0)], dice)).collect();
    Service {
        name,
        created: i64::try_from(dice.below(3)).unwrap_or(0),
        kind: if dice.one_in(12) { ServiceKind::ExternalName } else { ServiceKind::LoadBalancer },
        cluster_ips: cluster_ips.into(),
        external_ips,
        ingress,
        source_ranges,
        ports,
        external_policy: policy(dice),
        internal_policy: policy(dice),
        affinity: dice.one_in(4).then_some(10_800),
        health_check_node_port: dice.pick(&[0, 30053, 30090, 30091]),
        scheduler: dice.pick(&[None, None, Some("rr"), Some("odd")]).map(Arc::from),
    }
}

fn service_port(name: &str, dice: &mut Dice) -> ServicePort {
    ServicePort {
        name: name.into(),
        protocol: dice.pick(&Protocol::ALL),
        port: dice.pick(&[53, 80, 443, 80, 443, 30053]),
        node_port: dice.pick(&[0, 0, 30053, 30080]),
    }
}

fn slice(dice: &mut Dice) -> EndpointSlice {
    let service = service_name(dice);
    let family = dice.pick(&[Some(Family::V4), Some(Family::V4), Some(Family::V6), None]);
    let count = if dice.one_in(8) { dice.below(40) } else { dice.below(5) };
    EndpointSlice {
        name: ObjectName { namespace: service.namespace.clone(), name: slice_name(dice) },
        family,
        ports: ["http", "dns", ""].map(|name| slice_port(name, dice)).into(),
        endpoints: (0..count).map(|_| endpoint(family, dice)).collect(),
        weight: dice.pick(&[None, None, Some("0"), Some("100"), Some("101")]).map(Arc::from),
        service,
    }
}

fn slice_port(name: &str, dice: &mut Dice) -> SlicePort {
    SlicePort { name: name.into(), protocol: dice.pick(&Protocol::ALL), port: dice.pick(&[0, 8080, 8053]) }
}

fn endpoint(family: Option<Family>, dice: &mut Dice) -> Endpoint {
    let last = dice.byte(60);
    let hints = Hints {
        nodes: if dice.one_in(2) { vec![] } else { vec![dice.pick(&[NODE, "node-2"]).into()] },
        zones: if dice.one_in(2) { vec![] } else { vec![dice.pick(&["zone-1", "zone-2"]).into()] },
    };
    Endpoint {
        // One in twenty is of the wrong family.
        address: if (family == Some(Family::V6)) == dice.one_in(20) { v4(200, last) } else { v6(200, last) },
        node: dice.pick(&[None, Some(NODE), Some("node-2")]).map(Arc::from),
        ready: !dice.one_in(4),
        serving: !dice.one_in(4),
        terminating: dice.one_in(4),
        hints: dice.one_in(2).then(|| Arc::new(hints)),
    }
}

fn node(dice: &mut Dice) -> Option<Node> {
    if dice.one_in(5) {
        return None;
    }
    let addresses = [v4(250, 1), v6(250, 1)];
    let from = usize::try_from(dice.below(2)).unwrap_or(0);
    let to = from + usize::try_from(dice.below(2)).unwrap_or(0) + usize::from(from == 0);
    Some(Node {
        addresses: addresses[from..to.min(2)].into(),
        zone: dice.pick(&[None, Some("zone-1"), Some("zone-3")]).map(Arc::from),
        pod_cidrs: ["10.244.1.0/24".parse().ok(), "fd00:244::/64".parse().ok()]
            .into_iter()
            .flatten()
            .collect(),
        leaving: dice.one_in(8),
    })
}

/// Addresses of another Node: some that this node has now and then, some that Services have.
fn node_addresses(dice: &mut Dice) -> Arc<[IpAddr]> {
    let one = |dice: &mut Dice| {
        let (third, last) = if dice.one_in(3) { (250, dice.byte(3)) } else { (9, dice.byte(3)) };
        if dice.one_in(3) { v6(third, last) } else { v4(third, last) }
    };
    (0..dice.below(4)).map(|_| one(dice)).collect()
}

fn facts(dice: &mut Dice) -> Facts {
    let mut addresses: BTreeSet<IpAddr> =
        (0..dice.below(4)).map(|n| v4(250, u8::try_from(n).unwrap_or(0))).collect();
    if dice.one_in(4) {
        addresses.insert(v4(9, dice.byte(3)));
    }
    Facts { addresses }
}
