//! Since when what is in force is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use kubeweir_plan::{ObjectName, Plan, ServicePlan};

use crate::mode::{Applied, Failure};
use crate::publisher::Chain;

/// When which Service's part of the plan came into force. Costs what changed, in time and in memory.
#[derive(Debug, Default)]
pub struct Tracker {
    /// When the first pass ended, and with it the state of all Services that are not in `since`.
    first: Option<SystemTime>,
    since: BTreeMap<ObjectName, SystemTime>,
    /// Services whose part changed, and is not in force yet.
    waiting: BTreeSet<ObjectName>,
    /// Why the last pass failed, if it did.
    error: Option<String>,
    /// When a pass succeeded last.
    last: Option<SystemTime>,
}

/// What a pass that succeeded put in force.
#[derive(Debug, PartialEq, Eq)]
pub enum Settled {
    /// Everything: it was the first.
    All,
    /// These Services.
    Some(BTreeSet<ObjectName>),
}

impl Settled {
    /// The Services with their parts of the plan; `None` for those that are gone.
    pub(crate) fn services(self, plan: &Plan) -> Vec<(ObjectName, Option<Arc<ServicePlan>>)> {
        let all = match self {
            Settled::All => plan.services.keys().cloned().collect(),
            Settled::Some(names) => names,
        };
        let of = |name: &ObjectName| plan.services.get(name).cloned();
        all.into_iter().map(|name| (name.clone(), of(&name))).collect()
    }
}

impl Tracker {
    /// These Services' parts of the plan changed. Before the first success that need not be noted: it is about all of them.
    pub(crate) fn planned(&mut self, changed: &BTreeSet<ObjectName>) {
        if self.first.is_some() {
            self.waiting.extend(changed.iter().cloned());
        }
    }

    /// A pass ended. Returns what it put in force.
    pub(crate) fn ended(
        &mut self,
        outcome: &Result<Applied, Failure>,
        plan: &Plan,
        now: SystemTime,
    ) -> Option<Settled> {
        if let Err(failure) = outcome {
            self.error = Some(Chain(failure).to_string());
            return None;
        }
        let is_first = self.first.is_none();
        (self.error, self.last) = (None, Some(now));
        self.first.get_or_insert(now);
        let settled = std::mem::take(&mut self.waiting);
        for name in &settled {
            if plan.services.contains_key(name) {
                self.since.insert(name.clone(), now);
            } else {
                self.since.remove(name);
            }
        }
        Some(if is_first { Settled::All } else { Settled::Some(settled) })
    }

    /// Since when a Service is in force as it is; `None` before the first success.
    pub(crate) fn since(&self, service: &ObjectName) -> Option<SystemTime> {
        self.since.get(service).copied().or(self.first)
    }

    /// Why the last pass failed, if it did.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// When a pass succeeded last.
    pub(crate) fn last(&self) -> Option<SystemTime> {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_service_is_in_force_since_the_pass_that_changed_it_last() {
        let (name, other) = (ObjectName::new("shop", "web"), ObjectName::new("shop", "other"));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut plan = Plan::default();
        plan.services.insert(name.clone(), Arc::default());
        let mut tracker = Tracker::default();
        let changed = |name: &ObjectName| BTreeSet::from([name.clone()]);
        tracker.planned(&changed(&name));
        tracker.ended(&Err(Failure::Commit(kubeweir_netfilter::CommitError::Outdated)), &plan, at(1));
        assert_eq!(tracker.since(&name), None);
        assert_eq!(
            tracker.error(),
            Some("the change was not programmed: the ruleset changed since it was read")
        );
        tracker.ended(&Ok(Applied::default()), &plan, at(2));
        tracker.ended(&Ok(Applied::default()), &plan, at(3));
        assert_eq!((tracker.since(&name), tracker.error()), (Some(at(2)), None));
        assert!(tracker.since.is_empty(), "what the first pass did takes no memory");
        tracker.planned(&changed(&name));
        assert_eq!(tracker.since(&name), Some(at(2)), "not before it is in force");
        tracker.ended(&Ok(Applied::default()), &plan, at(4));
        assert_eq!((tracker.since(&name), tracker.since(&other)), (Some(at(4)), Some(at(2))));
        plan.services.remove(&name);
        tracker.planned(&changed(&name));
        tracker.ended(&Ok(Applied::default()), &plan, at(5));
        assert!(tracker.since.is_empty(), "what is gone takes no memory");
    }
}
