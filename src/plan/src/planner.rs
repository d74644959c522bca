//! The planner: keeps a plan up to date at the price of what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::claims::{self, Claim, Claims, Place};
use crate::endpoints::Here;
use crate::finding::Finding;
use crate::flows::FlowCheck;
use crate::health_check::HealthCheck;
use crate::input::EndpointSlice;
use crate::names::ObjectName;
use crate::node::{self, Facts};
use crate::options::Options;
use crate::plan::{Frontend, Plan, ServicePlan};
use crate::service::{self, Context, Holders};
use crate::snapshot::{Changed, Snapshot};
use crate::unserved::Unserved;

/// Holds the latest plan and who claimed what. The plan depends on the latest inputs only, not on the way there.
#[derive(Clone, Debug)]
pub struct Planner {
    options: Options,
    plan: Plan,
    context: Option<Context>,
    claims: Claims,
    /// Where NodePorts answer.
    answering: Arc<BTreeSet<IpAddr>>,
    unserved: Unserved,
}

/// What [`Planner::update`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Update {
    /// Services whose part of the plan is new, different or gone.
    pub services: BTreeSet<ObjectName>,
    /// Whether the node's part is different.
    pub node: bool,
    /// Which flows must not go on once the plan is in force.
    pub flows: FlowCheck,
}

impl Planner {
    /// A planner that has seen nothing yet.
    pub fn new(options: Options) -> Planner {
        Planner {
            options,
            plan: Plan::default(),
            context: None,
            claims: Claims::default(),
            answering: Arc::default(),
            unserved: Unserved::default(),
        }
    }

    /// Replaces the options. The next update looks at whatever depends on them.
    pub fn set_options(&mut self, options: Options) {
        self.options = options;
    }

    /// The latest plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many ports of the latest plan are not served from here although they are elsewhere.
    pub fn unserved(&self) -> Unserved {
        self.unserved
    }

    /// Brings the plan up to date. `changed` is an upper bound of what differs from the snapshot seen last; on the first
    /// call, and whenever something changed that all Services depend on, everything is looked at.
    pub fn update(&mut self, snapshot: &Snapshot, facts: &Facts, changed: &Changed) -> Update {
        let node = node::plan(snapshot, facts, &self.options);
        let context = self.context_of(snapshot, &node);
        let everything = self.context.as_ref() != Some(&context);
        let before = std::mem::replace(&mut self.answering, Arc::new(node::answering(&node, facts)));
        let flows = FlowCheck::new(&before, Arc::clone(&self.answering));
        let mut update = Update { node: *self.plan.node != node, flows, ..Update::default() };
        let own_before = Arc::clone(&self.plan.node.own_addresses);
        if update.node {
            self.plan.node = Arc::new(node);
        }
        let queue =
            if everything { self.all_services(snapshot) } else { self.concerned(changed, &own_before) };
        self.update_services(queue, snapshot, &context, &mut update);
        self.complete(&mut update.flows, self.answering != before);
        self.context = Some(context);
        update
    }

    /// Adds to a check what did not change but matters to it.
    fn complete(&self, flows: &mut FlowCheck, node_ports_moved: bool) {
        if node_ports_moved {
            self.plan.services.values().for_each(|service| flows.add_node_ports(service));
        }
        flows.add_overlapping(|place| {
            let owner = self.claims.owner(place)?;
            self.plan.services.get(owner).map(Arc::as_ref)
        });
    }

    fn context_of(&self, snapshot: &Snapshot, node: &crate::plan::NodePlan) -> Context {
        let zone = snapshot.node().and_then(|node| node.zone.clone());
        let here = Here { node: self.options.node_name.clone(), zone };
        let addresses = node::own(snapshot.node(), self.options.node_address);
        Context::new(here, addresses, node, &self.options)
    }

    fn all_services(&self, snapshot: &Snapshot) -> BTreeSet<ObjectName> {
        snapshot.service_names().chain(self.plan.services.keys()).cloned().collect()
    }

    /// Services that changed, and those with a frontend whose address may be somebody else's now.
    fn concerned(&self, changed: &Changed, own_before: &BTreeSet<IpAddr>) -> BTreeSet<ObjectName> {
        let moved = own_before.symmetric_difference(&self.plan.node.own_addresses);
        let at = moved.chain(&changed.addresses).flat_map(|ip| self.claims.of_address(*ip));
        changed.services.iter().chain(at).cloned().collect()
    }

    /// First all claims, then all verdicts: so the order of Services does not matter.
    fn update_services(
        &mut self,
        queue: BTreeSet<ObjectName>,
        snapshot: &Snapshot,
        context: &Context,
        update: &mut Update,
    ) {
        let mut drafts: BTreeMap<ObjectName, Option<ServicePlan>> = BTreeMap::new();
        let mut touched = BTreeSet::new();
        for name in queue {
            let draft = self.draft(snapshot, &name, context);
            self.reclaim(&name, draft.as_ref(), snapshot, &mut touched);
            drafts.insert(name, draft);
        }
        for name in touched {
            drafts.entry(name.clone()).or_insert_with(|| self.draft(snapshot, &name, context));
        }
        for (name, draft) in drafts {
            self.settle(name, draft, update);
        }
    }

    /// The plan of a Service as if it were alone in the cluster.
    fn draft(&self, snapshot: &Snapshot, name: &ObjectName, context: &Context) -> Option<ServicePlan> {
        let service = snapshot.service(name)?;
        let slices: Vec<&EndpointSlice> = snapshot.slices_of(name).collect();
        let holders = Holders { own: &self.plan.node.own_addresses, snapshot };
        Some(service::plan(service, &slices, context, &holders))
    }

    /// Replaces a Service's claims; notes the Services that won or lost a place by it.
    fn reclaim(
        &mut self,
        name: &ObjectName,
        draft: Option<&ServicePlan>,
        snapshot: &Snapshot,
        touched: &mut BTreeSet<ObjectName>,
    ) {
        let created = snapshot.service(name).map(|service| service.created).unwrap_or_default();
        let wanted = draft.map(claims::places).unwrap_or_default();
        let before = self.plan.services.get(name).map(|plan| claims::places(plan)).unwrap_or_default();
        for place in before.difference(&wanted) {
            self.claims.remove(*place, name, touched);
        }
        for place in wanted {
            self.claims.add(place, Claim { created, service: name.clone() }, touched);
        }
    }

    /// Takes out what rivals have and stores the rest, keeping the old `Arc` where nothing changed.
    fn settle(&mut self, name: ObjectName, draft: Option<ServicePlan>, update: &mut Update) {
        let new = draft.map(|draft| self.without_rivals(&name, draft));
        let old = self.plan.services.get(&name);
        if old.map(Arc::as_ref) == new.as_ref() {
            return;
        }
        update.flows.compare(old.map(Arc::as_ref), new.as_ref());
        self.unserved.replace(old.map(Arc::as_ref), new.as_ref());
        match new {
            Some(plan) => self.plan.services.insert(name.clone(), Arc::new(plan)),
            None => self.plan.services.remove(&name),
        };
        update.services.insert(name);
    }

    fn without_rivals(&self, name: &ObjectName, mut plan: ServicePlan) -> ServicePlan {
        let mut findings = std::mem::take(&mut plan.findings).into_vec();
        let mut seen = BTreeSet::new();
        for port in &mut plan.ports {
            let protocol = port.key.protocol;
            let frontends = std::mem::take(&mut port.frontends).into_vec();
            let (kept, lost): (Vec<Frontend>, Vec<Frontend>) = frontends.into_iter().partition(|frontend| {
                let place = (frontend.address, protocol, frontend.port);
                let owner = self.claims.owner(&place);
                let first = seen.insert(place);
                if owner == Some(name) || !first {
                    return first;
                }
                findings.extend(owner.map(|owner| Finding::FrontendTaken {
                    address: frontend.address,
                    protocol,
                    port: frontend.port,
                    owner: owner.clone(),
                }));
                false
            });
            port.frontends = kept.into();
            port.lose(&lost);
        }
        let check = plan.health_check.take();
        plan.health_check =
            check.and_then(|check| self.check_without_rivals(name, *check, &seen, &mut findings));
        plan.findings = findings.into();
        plan
    }

    /// What is left of a health check where others have its port, or where the Service itself has it for its frontends.
    fn check_without_rivals(
        &self,
        name: &ObjectName,
        mut check: HealthCheck,
        frontends: &BTreeSet<Place>,
        findings: &mut Vec<Finding>,
    ) -> Option<Box<HealthCheck>> {
        for place in check.places() {
            let owner = self.claims.owner(&place);
            if owner == Some(name) && !frontends.contains(&place) {
                continue;
            }
            let (address, protocol, port) = place;
            check.ready[address.family().index()] = None;
            let owner = owner.cloned();
            findings.extend(owner.map(|owner| Finding::FrontendTaken { address, protocol, port, owner }));
        }
        check.ready.iter().any(Option::is_some).then(|| Box::new(check))
    }
}

#[cfg(test)]
mod tests;
