//! Who has which frontend. Two Services can ask for the same external address and port; the older one has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::address::FrontendAddress;
use crate::finding::Finding;
use crate::names::{ObjectName, Protocol};
use crate::plan::ServicePlan;

/// What two frontends must not share.
pub(crate) type Place = (FrontendAddress, Protocol, u16);

/// Smaller has the place: the older Service, then the one whose name comes first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claim {
    pub(crate) created: i64,
    pub(crate) service: ObjectName,
}

/// All claims. Nearly every place is claimed once, so rivals are kept apart.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims {
    /// Ordered, for [`Claims::of_address`].
    owners: BTreeMap<Place, Claim>,
    rivals: HashMap<Place, BTreeSet<Claim>>,
}

/// The places a Service claims, ordered: those of its frontends and its health check, and those that its findings say
/// others have.
pub(crate) fn places(plan: &ServicePlan) -> BTreeSet<Place> {
    let had = plan.ports.iter().flat_map(|port| {
        port.frontends.iter().map(|frontend| (frontend.address, port.key.protocol, frontend.port))
    });
    let lost = plan.findings.iter().filter_map(|finding| match finding {
        Finding::FrontendTaken { address, protocol, port, .. } => Some((*address, *protocol, *port)),
        _ => None,
    });
    let checked = plan.health_check.iter().flat_map(|check| check.places());
    had.chain(checked).chain(lost).collect()
}

impl Claims {
    /// Who has the place.
    pub(crate) fn owner(&self, place: &Place) -> Option<&ObjectName> {
        self.owners.get(place).map(|claim| &claim.service)
    }

    /// The Services that have places at the address.
    pub(crate) fn of_address(&self, address: IpAddr) -> impl Iterator<Item = &ObjectName> {
        let place = |protocol, port| (FrontendAddress::Ip(address), protocol, port);
        let [first, .., last] = Protocol::ALL;
        self.owners.range(place(first, 0)..=place(last, u16::MAX)).map(|(_, claim)| &claim.service)
    }

    /// Enters a claim. Adds to `touched` every Service that the place's owner, if it changes, matters to.
    pub(crate) fn add(&mut self, place: Place, claim: Claim, touched: &mut BTreeSet<ObjectName>) {
        if self.owners.get(&place) == Some(&claim) {
            return;
        }
        self.remove(place, &claim.service, touched);
        let Some(owner) = self.owners.get_mut(&place) else {
            self.owners.insert(place, claim);
            return;
        };
        let wins = claim < *owner;
        let loser = if wins { std::mem::replace(owner, claim) } else { claim };
        self.rivals.entry(place).or_default().insert(loser);
        if wins {
            self.touch_rivals(&place, touched);
        }
    }

    /// Withdraws a Service's claim, if it has one. `touched` as for [`Claims::add`].
    pub(crate) fn remove(&mut self, place: Place, service: &ObjectName, touched: &mut BTreeSet<ObjectName>) {
        if self.owner(&place) != Some(service) {
            if let Some(rivals) = self.rivals.get_mut(&place) {
                rivals.retain(|claim| claim.service != *service);
            }
        } else if let Some(heir) = self.rivals.get_mut(&place).and_then(BTreeSet::pop_first) {
            touched.insert(heir.service.clone());
            self.owners.insert(place, heir);
            self.touch_rivals(&place, touched);
        } else {
            self.owners.remove(&place);
        }
        if self.rivals.get(&place).is_some_and(BTreeSet::is_empty) {
            self.rivals.remove(&place);
        }
    }

    fn touch_rivals(&self, place: &Place, touched: &mut BTreeSet<ObjectName>) {
        let rivals = self.rivals.get(place).into_iter().flatten();
        touched.extend(rivals.map(|claim| claim.service.clone()));
    }
}
