//! Frontends of a plan in the words of the table: where they are recognised, and which lists of endpoints they have.

use crate::handover::HandOver;
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

/// Calls `each` for every pool of a Service that rules pick from, with the bench its targets are seated on.
pub fn benches(service: &ServicePlan, hand_over: &HandOver, each: &mut impl FnMut(Bench, &Pool)) {
    for port in &service.ports {
        for frontend in &port.frontends {
            let (place, key) = place_and_key(port, frontend);
            for (list, verdict) in lists(frontend, hand_over) {
                if let Verdict::Forward(pool) = verdict {
                    each(Bench { family: family(port.family), place, list, key }, pool);
                }
            }
        }
    }
}

/// The verdicts of a frontend that the table carries out, by list. Outsiders have a list of their own where they may differ
/// from the rest.
pub(crate) fn lists<'a>(
    frontend: &'a Frontend,
    hand_over: &HandOver,
) -> impl Iterator<Item = (List, &'a Verdict)> {
    let outside = is_split(frontend).then_some((List::Local, &frontend.outside));
    let all = [(List::Main, &frontend.inside)].into_iter().chain(outside);
    let left = hand_over.is_handed_over(frontend);
    let refuses = hand_over.is_to_servers();
    all.filter(move |(list, verdict)| match (list, verdict) {
        (List::Main, Verdict::Forward(_)) => !left,
        // The chain for policy Local refuses outsiders itself, since packets of others pass the filter untranslated.
        (List::Local, Verdict::Reject | Verdict::Drop) => !refuses,
        _ => true,
    })
}

/// For how many seconds the table keeps clients of the frontend to their endpoint.
pub(crate) fn affinity(frontend: &Frontend, hand_over: &HandOver) -> Option<u32> {
    lists(frontend, hand_over).find_map(|(_, verdict)| match verdict {
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
