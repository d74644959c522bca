//! What must be open, and what a pass changes of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use kubeweir_plan::{Family, HealthCheck, NodePortAddresses, ObjectName, Plan, Update};

/// What must be open by the latest plan that is in force, and which Services' health checks a later plan may have changed.
#[derive(Debug, Default)]
pub struct Ledger {
    checks: BTreeMap<ObjectName, HealthCheck>,
    addresses: [NodePortAddresses; 2],
    changed: BTreeSet<ObjectName>,
}

/// What separates what is open from what must be. To be carried out in this order: a port may pass from one Service to another,
/// and from some addresses to all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Difference {
    /// Sockets that are no longer wanted.
    pub close: BTreeSet<SocketAddr>,
    /// Sockets that are missing.
    pub open: BTreeMap<SocketAddr, Check>,
    /// Sockets that must tell another number of ready endpoints.
    pub tell: BTreeMap<SocketAddr, u32>,
}

/// What a socket tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Of which Service.
    pub service: ObjectName,
    /// How many addresses of its ready endpoints are here.
    pub ready: u32,
}

type Sockets = BTreeMap<SocketAddr, Check>;

impl Ledger {
    /// Notes what differs in a plan that is not in force yet. It costs what changed.
    pub fn planned(&mut self, plan: &Plan, update: &Update) {
        let matters = |name: &&ObjectName| self.checks.contains_key(*name) || check(plan, name).is_some();
        let changed: Vec<ObjectName> = update.services.iter().filter(matters).cloned().collect();
        self.changed.extend(changed);
    }

    /// The plan is in force, and so is all that was noted before. It costs what changed; all health checks, where NodePorts
    /// answer at other addresses now.
    pub fn in_force(&mut self, plan: &Plan) -> Difference {
        let mut names = std::mem::take(&mut self.changed);
        let addresses = &plan.node.node_port_addresses;
        if self.addresses != *addresses {
            names.extend(self.checks.keys().cloned());
        }
        let (mut before, mut after) = (Sockets::new(), Sockets::new());
        for name in names {
            if let Some(old) = self.checks.remove(&name) {
                before.extend(sockets(&name, old, &self.addresses));
            }
            if let Some(new) = check(plan, &name) {
                after.extend(sockets(&name, new, addresses));
                self.checks.insert(name, new);
            }
        }
        if self.addresses != *addresses {
            self.addresses.clone_from(addresses);
        }
        difference(&before, after)
    }
}

fn check(plan: &Plan, name: &ObjectName) -> Option<HealthCheck> {
    plan.services.get(name)?.health_check.as_deref().copied()
}

fn sockets(name: &ObjectName, check: HealthCheck, addresses: &[NodePortAddresses; 2]) -> Sockets {
    let in_family = |family: Family| {
        let ready = check.ready[family.index()]?;
        let at = places(family, &addresses[family.index()]).into_iter();
        let told = Check { service: name.clone(), ready };
        Some(at.map(move |ip| (SocketAddr::new(ip, check.port), told.clone())))
    };
    Family::ALL.into_iter().filter_map(in_family).flatten().collect()
}

/// One socket for all addresses of the family, or one for each.
fn places(family: Family, addresses: &NodePortAddresses) -> Vec<IpAddr> {
    match (addresses, family) {
        (NodePortAddresses::AllLocal, Family::V4) => vec![Ipv4Addr::UNSPECIFIED.into()],
        (NodePortAddresses::AllLocal, Family::V6) => vec![Ipv6Addr::UNSPECIFIED.into()],
        (NodePortAddresses::Only(addresses), _) => addresses.iter().copied().collect(),
    }
}

fn difference(before: &Sockets, after: Sockets) -> Difference {
    let mut difference = Difference::default();
    let is_same = |socket: &SocketAddr, check: &Check| {
        after.get(socket).is_some_and(|after| after.service == check.service)
    };
    difference.close =
        before.iter().filter(|(socket, check)| !is_same(socket, check)).map(|(socket, _)| *socket).collect();
    for (socket, check) in after {
        match before.get(&socket).filter(|before| before.service == check.service) {
            None => drop(difference.open.insert(socket, check)),
            Some(before) if before.ready != check.ready => {
                difference.tell.insert(socket, check.ready);
            }
            Some(_) => {}
        }
    }
    difference
}

#[cfg(test)]
mod tests;
