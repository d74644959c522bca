//! What a Service contributes to the sets of a table.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;
use kubeweir_netfilter::{Data, Element, Family, Key};
use kubeweir_plan::{Client, Frontend, FrontendAddress, Pool, PortPlan, Scope, ServicePlan, Verdict};

use crate::affinity::identities;
use crate::frontends::{Bench, affinity, family, is_split, lists, place_and_key};
use crate::handover::HandOver;
use crate::names::{Counted, List, Place, SetId, class};
use crate::seating::Seating;

/// Elements by the table and the set they belong to.
pub type Placed = BTreeMap<(Family, SetId), Vec<Element>>;

/// Adds all elements of a Service.
pub fn of_service(service: &ServicePlan, seating: &Seating, hand_over: &HandOver, out: &mut Placed) {
    for address in &service.cluster_ips {
        let place = (Family::of(*address), SetId::ClusterIps);
        out.entry(place).or_default().push(Element::of_set(Key::EMPTY.address(*address)));
    }
    for port in &service.ports {
        let name: Arc<str> = port.key.to_string().into();
        let mut sink = Sink { family: family(port.family), name, seating, hand_over, out: &mut *out };
        for frontend in &port.frontends {
            sink.frontend(port, frontend);
        }
        sink.hairpins(port);
    }
}

struct Sink<'a> {
    family: Family,
    /// What `nft list` shows beside the frontend.
    name: Arc<str>,
    seating: &'a Seating,
    hand_over: &'a HandOver,
    out: &'a mut Placed,
}

impl Sink<'_> {
    fn put(&mut self, set: SetId, element: Element) {
        self.out.entry((self.family, set)).or_default().push(element);
    }

    fn named(&mut self, set: SetId, key: Key) {
        let element = Element::of_set(key).comment(&self.name);
        self.put(set, element);
    }

    fn frontend(&mut self, port: &PortPlan, frontend: &Frontend) {
        let (place, key) = place_and_key(port, frontend);
        if let (FrontendAddress::Ip(address), Scope::External) = (frontend.address, frontend.scope) {
            self.put(SetId::ExternalIps, Element::of_set(Key::EMPTY.address(address)));
        }
        // Traffic to ClusterIPs is marked by address, in the layout.
        if frontend.scope == Scope::External && frontend.masquerade.contains(Client::Outside) {
            self.named(SetId::Masqueraded(place), key);
        }
        if let Some(seconds) = affinity(frontend, self.hand_over) {
            self.named(SetId::Sticky(place, seconds), key);
        }
        if is_split(frontend) {
            self.named(SetId::PolicyLocal(place), key);
        }
        for (list, verdict) in lists(frontend, self.hand_over) {
            self.verdict(place, list, key, verdict);
        }
        for range in frontend.allowed_sources.iter().flat_map(|ranges| ranges.iter()) {
            self.allow(key, range);
        }
        if frontend.allowed_sources.is_some() {
            self.named(SetId::Filtered, key);
        }
        if self.hand_over.counts(frontend) {
            // Whether it has endpoints or not: what was counted stays when the last goes and another comes.
            for what in Counted::ALL {
                self.named(SetId::Counted(place, what), key);
            }
        }
        self.handed_over(port, frontend);
    }

    /// What the filter and a restart must know of virtual servers.
    fn handed_over(&mut self, port: &PortPlan, frontend: &Frontend) {
        let protocol = port.key.protocol.number();
        let set = match frontend.address {
            FrontendAddress::Ip(_) => SetId::VirtualServers,
            FrontendAddress::Node(_) => SetId::NodePortServers,
        };
        for address in self.hand_over.addresses(frontend) {
            let key = Key::EMPTY.address(*address).protocol(protocol).port(frontend.port);
            self.named(set, key);
        }
        if let Some(address) = self.hand_over.bound(frontend) {
            self.put(SetId::BoundIps, Element::of_set(Key::EMPTY.address(address)));
        }
    }

    fn verdict(&mut self, place: Place, list: List, key: Key, verdict: &Verdict) {
        match verdict {
            Verdict::Forward(pool) => self.pool(place, list, key, pool),
            // What is left of the Service for clients of the other list is translated before this is asked.
            Verdict::Reject => self.named(SetId::Rejected(place), key),
            Verdict::Drop => self.named(SetId::Dropped(place), key),
        }
    }

    fn pool(&mut self, place: Place, list: List, key: Key, pool: &Pool) {
        let bench = Bench { family: self.family, place, list, key };
        let seats = self.seating.order(&bench, pool);
        self.named(SetId::Slots(place, list, class(seats.len())), key);
        if pool.affinity.is_some() {
            return self.sticky(&bench, &seats);
        }
        for (slot, target) in (0..).zip(seats.iter()) {
            self.put(SetId::Endpoints(place, list), Element::of_map(key.number(slot), data(*target)));
        }
    }

    fn sticky(&mut self, Bench { place, list, key, .. }: &Bench, seats: &[SocketAddr]) {
        for ((slot, target), id) in (0..).zip(seats).zip(identities(seats)) {
            let by_slot = Element::of_map(key.number(slot), Data::EMPTY.number(id));
            self.put(SetId::StickySlots(*place, *list), by_slot);
            self.put(SetId::StickyEndpoints(*place, *list), Element::of_map(key.number(id), data(*target)));
        }
    }

    fn allow(&mut self, key: Key, range: &IpNet) {
        let element = Element::of_range(key.address(range.network()), key.address(range.broadcast()));
        self.put(SetId::Allowed, element);
    }

    fn hairpins(&mut self, port: &PortPlan) {
        let pools = port.pools();
        for target in pools.iter().flat_map(|pool| pool.targets.iter()).filter(|target| target.local) {
            let ip = target.address;
            let key = Key::EMPTY.address(ip).address(ip).protocol(port.key.protocol.number());
            self.put(SetId::Hairpin, Element::of_set(key.port(target.port)));
        }
    }
}

fn data(target: SocketAddr) -> Data {
    Data::EMPTY.address(target.ip()).port(target.port())
}
