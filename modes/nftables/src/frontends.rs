//! Frontends of a plan in the words of the table: where they are recognised, and which lists of endpoints they have.

use kubeweir_netfilter::{Family, Key};
use kubeweir_plan::{Clients, Frontend, FrontendAddress, Pool, PortPlan, Scope, ServicePlan, Verdict};

use crate::names::{List, Place};

/// The slots of one frontend's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bench {
    /// The table.
    pub family: Family,
    /// How the frontend is recognised.
    pub place: Place,
    /// Which of its lists.
    pub list: List,
    /// The frontend.
    pub key: Key,
}

/// Calls `each` for every pool of a Service, with the bench its targets are seated on.
pub fn benches(service: &ServicePlan, each: &mut impl FnMut(Bench, &Pool)) {
    for port in &service.ports {
        for frontend in &port.frontends {
            let (place, key) = place_and_key(port, frontend);
            for (list, verdict) in lists(frontend) {
                if let Verdict::Forward(pool) = verdict {
                    each(Bench { family: family(port.family), place, list, key }, pool);
                }
            }
        }
    }
}

/// The verdicts of a frontend by list. Outsiders have a list of their own where they may differ from the rest.
pub(crate) fn lists(frontend: &Frontend) -> impl Iterator<Item = (List, &Verdict)> {
    let outside = is_split(frontend).then_some((List::Local, &frontend.outside));
    [(List::Main, &frontend.inside)].into_iter().chain(outside)
}

/// For how many seconds clients of the frontend keep their endpoint.
pub(crate) fn affinity(frontend: &Frontend) -> Option<u32> {
    lists(frontend).find_map(|(_, verdict)| match verdict {
        Verdict::Forward(pool) => pool.affinity,
        _ => None,
    })
}

/// Whether the frontend tells clients apart.
pub(crate) fn is_split(frontend: &Frontend) -> bool {
    let marks_all = frontend.masquerade == Clients::ALL;
    frontend.scope == Scope::External && (!marks_all || frontend.outside != frontend.inside)
}

/// How a frontend is recognised, and its key in sets.
pub(crate) fn place_and_key(port: &PortPlan, frontend: &Frontend) -> (Place, Key) {
    let (place, key) = match frontend.address {
        FrontendAddress::Ip(address) => (Place::Service, Key::EMPTY.address(address)),
        FrontendAddress::Node(_) => (Place::NodePort, Key::EMPTY),
    };
    (place, key.protocol(port.key.protocol.number()).port(frontend.port))
}

/// The plan's family in the kernel's words.
pub(crate) const fn family(family: kubeweir_plan::Family) -> Family {
    match family {
        kubeweir_plan::Family::V4 => Family::Ip,
        kubeweir_plan::Family::V6 => Family::Ip6,
    }
}
