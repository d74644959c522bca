use crate::names::Family;
use crate::plan::{PortPlan, Scope, ServicePlan, Verdict};

/// How many ports, of all Services, are served somewhere but not from this node for clients that are bound to it: their
/// policy is Local, and no endpoint is here. Kept up to date at the price of what changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unserved {
    /// By scope, then by family.
    counts: [[u64; 2]; 2],
}

impl Unserved {
    /// The number of ports of a family that lack endpoints for frontends of the scope.
    pub fn count(&self, scope: Scope, family: Family) -> u64 {
        self.counts[index(scope)][family.index()]
    }

    /// A Service's part of the plan was replaced.
    pub(crate) fn replace(&mut self, old: Option<&ServicePlan>, new: Option<&ServicePlan>) {
        for port in old.into_iter().flat_map(|plan| &plan.ports) {
            self.change(port, |count| count.saturating_sub(1));
        }
        for port in new.into_iter().flat_map(|plan| &plan.ports) {
            self.change(port, |count| count.saturating_add(1));
        }
    }

    fn change(&mut self, port: &PortPlan, change: fn(u64) -> u64) {
        for scope in [Scope::Internal, Scope::External].into_iter().filter(|scope| lacks(port, *scope)) {
            let count = &mut self.counts[index(scope)][port.family.index()];
            *count = change(*count);
        }
    }
}

/// Only a port that is served elsewhere is dropped; one that nobody serves is rejected.
fn lacks(port: &PortPlan, scope: Scope) -> bool {
    port.frontends.iter().any(|frontend| frontend.scope == scope && frontend.outside == Verdict::Drop)
}

const fn index(scope: Scope) -> usize {
    match scope {
        Scope::Internal => 0,
        Scope::External => 1,
    }
}
