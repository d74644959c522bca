//! Which tracked flows must not go on.
//!
//! A kernel that tracks flows sends every packet of a flow where its first one went. TCP ends such a flow by itself; a UDP or
//! SCTP client that keeps its port would talk to an endpoint that is gone for as long as it talks. A [`FlowCheck`] says which
//! flows to end so that the next packet is treated as a new flow's first one.
//!
//! A flow to an endpoint that still serves is never ended, even if policy would no longer choose that endpoint: the same would
//! happen to a TCP connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::address::FrontendAddress;
use crate::claims::Place;
use crate::names::{Family, Protocol};
use crate::plan::ServicePlan;

/// Beyond this many ports of one family and protocol, looking at all its flows once is cheaper than looking for each port. Where
/// half of all tracked flows have the protocol, the two cost the same at four.
const MOST_SCOPES: usize = 4;

/// What became of frontends, as far as flows through them are concerned. Its size follows the change it comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowCheck {
    rules: HashMap<Place, Rule>,
    /// Where NodePorts answer.
    answering: Arc<BTreeSet<IpAddr>>,
    /// Where NodePorts have answered before and do not any more.
    former: BTreeSet<IpAddr>,
}

/// What holds at one frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    stays: Stays,
    /// Whether flows can exist that were fine before and are not now. Other rules are there to replace older ones that still
    /// wait, and because they have a say about the same packets.
    look: bool,
}

/// Which flows through a frontend stay.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stays {
    /// Those to one of these.
    To(Arc<[SocketAddr]>),
    /// All: nothing serves the port now, and a client is better off with an endpoint that may come back than with an error.
    /// kube-proxy chose the same.
    All,
    /// The frontend is gone: those that were never translated, since they do not go through it.
    Untranslated,
}

/// A tracked flow, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Its protocol.
    pub protocol: Protocol,
    /// Where the client sends to.
    pub destination: SocketAddr,
    /// Who answers; the destination itself where nothing was translated.
    pub answered_by: SocketAddr,
    /// Whether it is tracked beside the usual flows, by somebody who keeps flows of their own. What is not translated
    /// there may be translated in the usual place.
    pub is_zoned: bool,
}

/// Flows worth looking at: an upper bound of those that a check may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope {
    /// Their address family.
    pub family: Family,
    /// Their protocol.
    pub protocol: Protocol,
    /// The destination port, unless all are meant.
    pub port: Option<u16>,
    /// The destination address, unless several are meant.
    pub address: Option<IpAddr>,
}

impl FlowCheck {
    /// Whether no flow can be affected.
    pub fn is_empty(&self) -> bool {
        !self.rules.iter().any(|(place, rule)| self.matters(place, rule))
    }

    /// Where nothing serves, flows are left alone, but not those to an address where the NodePort no longer answers.
    fn matters(&self, (address, ..): &Place, rule: &Rule) -> bool {
        let moved = |family| self.former.iter().any(|ip| Family::of(*ip) == family);
        let left = matches!(*address, FrontendAddress::Node(family) if moved(family));
        rule.look && (left || rule.stays != Stays::All)
    }

    /// Adds what became of frontends since. Of two statements about one frontend the newer holds.
    pub fn merge(&mut self, newer: FlowCheck) {
        let before = self.former.iter().chain(self.answering.iter()).chain(&newer.former);
        self.former = before.filter(|ip| !newer.answering.contains(ip)).copied().collect();
        self.answering = newer.answering;
        for (place, mut rule) in newer.rules {
            rule.look |= self.rules.get(&place).is_some_and(|older| older.look);
            self.rules.insert(place, rule);
        }
    }

    /// Whether the flow must not go on.
    pub fn ends(&self, flow: &Flow) -> bool {
        if flow.is_zoned && flow.answered_by == flow.destination {
            return false;
        }
        let address = flow.destination.ip();
        let at = |address| {
            let rule = self.rules.get(&(address, flow.protocol, flow.destination.port()));
            rule.map(|rule| &rule.stays)
        };
        let own = at(FrontendAddress::Ip(address));
        let by_node = || at(FrontendAddress::Node(Family::of(address)));
        let stays = match own {
            None | Some(Stays::Untranslated) if self.answering.contains(&address) => by_node().or(own),
            None if self.former.contains(&address) => by_node().map(|_| &Stays::Untranslated),
            _ => own,
        };
        stays.is_some_and(|stays| stays.ends(flow))
    }

    /// Where to look for flows to end, ordered. Few, whatever the size of the check.
    pub fn scopes(&self) -> Vec<Scope> {
        let mut ports: BTreeMap<(Family, Protocol), BTreeMap<u16, Option<IpAddr>>> = BTreeMap::new();
        let matter = self.rules.iter().filter(|(place, rule)| self.matters(place, rule));
        for ((address, protocol, port), _) in matter {
            let one = match *address {
                FrontendAddress::Ip(ip) => Some(ip),
                FrontendAddress::Node(family) => self.only_node_address(family),
            };
            let ports = ports.entry((address.family(), *protocol)).or_default();
            ports.entry(*port).and_modify(|same| *same = same.filter(|ip| Some(*ip) == one)).or_insert(one);
        }
        let mut scopes = Vec::new();
        for ((family, protocol), ports) in ports {
            let scope = |port, address| Scope { family, protocol, port, address };
            if ports.len() > MOST_SCOPES {
                scopes.push(scope(None, None));
            } else {
                scopes.extend(ports.into_iter().map(|(port, address)| scope(Some(port), address)));
            }
        }
        scopes
    }

    fn only_node_address(&self, family: Family) -> Option<IpAddr> {
        let all = self.answering.iter().chain(&self.former);
        let mut mine = all.filter(|ip| Family::of(**ip) == family);
        mine.next().filter(|_| mine.next().is_none()).copied()
    }
}

/// How the planner makes one.
impl FlowCheck {
    /// With nothing changed but perhaps where NodePorts answer.
    pub(crate) fn new(before: &BTreeSet<IpAddr>, answering: Arc<BTreeSet<IpAddr>>) -> FlowCheck {
        let former = before.difference(&answering).copied().collect();
        FlowCheck { rules: HashMap::new(), answering, former }
    }

    /// Adds what became of a Service's frontends. In the end each frontend stands under its new owner, in whatever order
    /// Services that pass one on are compared.
    pub(crate) fn compare(&mut self, before: Option<&ServicePlan>, after: Option<&ServicePlan>) {
        let (before, after) = (all_stays(before), all_stays(after));
        for place in before.keys().filter(|place| !after.contains_key(place)) {
            self.rules.entry(*place).or_insert(Rule { stays: Stays::Untranslated, look: true });
        }
        for (place, stays) in after {
            let old = before.get(&place);
            if old != Some(&stays) {
                let look = old.is_none_or(|old| stays.ends_more_than(old));
                self.rules.insert(place, Rule { stays, look });
            }
        }
    }

    /// Adds all NodePorts of a Service: they answer elsewhere now.
    pub(crate) fn add_node_ports(&mut self, service: &ServicePlan) {
        let all = all_stays(Some(service)).into_iter();
        let node_ports = all.filter(|((address, ..), _)| matches!(address, FrontendAddress::Node(_)));
        self.rules.extend(node_ports.map(|(place, stays)| (place, Rule { stays, look: true })));
    }

    /// Adds frontends that did not change but have a say about the same packets: addresses that go before a NodePort, and NodePorts
    /// that come to light when an address goes.
    pub(crate) fn add_overlapping<'a>(&mut self, owner: impl Fn(&Place) -> Option<&'a ServicePlan>) {
        let mut others: Vec<Place> = Vec::new();
        for ((address, protocol, port), rule) in &self.rules {
            let other = |address| (address, *protocol, *port);
            match *address {
                FrontendAddress::Node(family) => {
                    let all = self.answering.iter().chain(&self.former);
                    let here = all.filter(|ip| Family::of(**ip) == family);
                    others.extend(here.map(|ip| other(FrontendAddress::Ip(*ip))));
                }
                FrontendAddress::Ip(ip) if rule.stays == Stays::Untranslated => {
                    others.push(other(FrontendAddress::Node(Family::of(ip))));
                }
                FrontendAddress::Ip(_) => {}
            }
        }
        for place in others {
            let stays = owner(&place).and_then(|service| all_stays(Some(service)).remove(&place));
            if let Some(stays) = stays {
                self.rules.entry(place).or_insert(Rule { stays, look: false });
            }
        }
    }
}

fn all_stays(service: Option<&ServicePlan>) -> BTreeMap<Place, Stays> {
    let ports = service.into_iter().flat_map(|service| &service.ports);
    let kept = ports.filter_map(|port| port.keeps.as_ref().map(|keeps| (port, keeps)));
    let places = kept.flat_map(|(port, keeps)| {
        port.frontends.iter().map(move |frontend| {
            let stays = if keeps.is_empty() { Stays::All } else { Stays::To(Arc::clone(keeps)) };
            ((frontend.address, port.key.protocol, frontend.port), stays)
        })
    });
    places.collect()
}

impl Stays {
    fn ends(&self, flow: &Flow) -> bool {
        match self {
            Stays::To(keeps) => keeps.binary_search(&flow.answered_by).is_err(),
            Stays::All => false,
            Stays::Untranslated => flow.answered_by != flow.destination,
        }
    }

    /// Whether flows that stayed before must end now. An endpoint more ends nothing.
    fn ends_more_than(&self, before: &Stays) -> bool {
        match (before, self) {
            (Stays::To(before), Stays::To(after)) => before.iter().any(|to| after.binary_search(to).is_err()),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
