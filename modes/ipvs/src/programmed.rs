//! What the kernel has, and what separates it from a plan. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use kubeweir_netlink::ipvs::Identity;
use kubeweir_nftables::handover::HandOver;
use kubeweir_plan::{Family, ObjectName, Plan, Protocol, ServicePlan};

use crate::compile::{self, Context, Server, Servers};
use crate::diff::Differ;
use crate::drain::{self, Draining};
use crate::kernel::{Observed, ObservedServer};
use crate::schedulers::Schedulers;
use crate::steps::{Change, Steps};

/// What a difference depends on besides the plan and the state.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How the table is laid out.
    pub tables: kubeweir_nftables::Options,
    /// Addresses whose virtual servers are not ours to delete, unless we know that we made them.
    pub excluded: Vec<IpNet>,
    /// How long connections to an endpoint that is gone may go on.
    pub patience: Duration,
}

/// What the kernel has after a clean pass: remembered as the plan it came from, not server by server.
#[derive(Clone, Debug, Default)]
pub struct Programmed {
    services: BTreeMap<ObjectName, Arc<ServicePlan>>,
    pub(crate) context: Context,
    /// Who has which NodePort.
    node_ports: BTreeMap<NodePort, ObjectName>,
    /// How many frontends want each address.
    bound: BTreeMap<IpAddr, i32>,
}

/// How many Services are looked through for a virtual server at most.
const FAR: usize = 64;

type NodePort = (Family, Protocol, u16);

/// What to do, and what will be known when it has succeeded.
#[derive(Debug, Default)]
#[must_use]
pub struct Difference {
    /// Virtual servers and addresses, in order.
    pub steps: Steps,
    /// What changes about draining.
    pub(crate) drains: Vec<(Identity, SocketAddr, drain::Change)>,
    next: Step,
}

/// Changes to a [`Programmed`].
#[derive(Debug, Default)]
struct Step {
    services: Vec<(ObjectName, Option<Arc<ServicePlan>>)>,
    context: Context,
    bound: BTreeMap<IpAddr, i32>,
}

/// What was read in the kernel, and what is ours of it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Virtual servers and addresses.
    pub kernel: &'a Observed,
    /// Virtual servers that our tables say are ours.
    pub recorded: &'a BTreeSet<Identity>,
}

/// From what was read in the kernel to a plan: looks at everything. Draining goes on where it was known before.
pub fn from_observed(
    seen: Seen<'_>,
    plan: &Plan,
    schedulers: &Schedulers,
    settings: &Settings,
    draining: &Draining,
    now: Instant,
) -> Difference {
    let nothing = Programmed::default();
    let mut step = Step { context: context(plan, schedulers, settings), ..Step::default() };
    step.context.taken = plan.services.values().flat_map(|service| compile::taken(service)).collect();
    let mut differ = Differ::new(draining, settings.patience, now);
    let mut rest: Servers = seen.kernel.servers.iter().map(|(id, server)| (*id, as_server(server))).collect();
    for (name, service) in &plan.services {
        let new = compile::of_service(service, &step.context);
        let old = new.keys().filter_map(|id| rest.remove_entry(id)).collect();
        differ.servers(Some(name), &old, &new);
        step.replace(name, None, Some(service), &nothing.context);
    }
    rest.retain(|identity, _| seen.is_ours(identity, &settings.excluded));
    differ.servers(None, &rest, &Servers::new());
    let wanted: BTreeSet<IpAddr> = step.bound.keys().copied().collect();
    for address in seen.kernel.bound.difference(&wanted) {
        differ.step(None, Change::Unbind(*address));
    }
    for address in wanted.difference(&seen.kernel.bound) {
        differ.step(None, Change::Bind(*address));
    }
    finish(differ, step)
}

impl Seen<'_> {
    /// Ours is what we recorded, and what serves an address on our device, which nobody else uses.
    pub(crate) fn is_ours(&self, identity: &Identity, excluded: &[IpNet]) -> bool {
        let Identity::Address { address, .. } = identity else { return false };
        let on_device =
            self.kernel.bound.contains(address) && !excluded.iter().any(|prefix| prefix.contains(address));
        on_device || self.recorded.contains(identity)
    }
}

impl Programmed {
    /// Whether there are addresses on the device.
    pub(crate) fn has_addresses(&self) -> bool {
        self.bound.values().any(|frontends| *frontends > 0)
    }

    /// The virtual server after this one, by Service, in a circle.
    pub(crate) fn server_after(
        &self,
        last: Option<&(ObjectName, Identity)>,
    ) -> Option<(ObjectName, Identity)> {
        let from = last.map_or(Bound::Unbounded, |(name, _)| Bound::Included(name));
        let further = self.services.range::<ObjectName, _>((from, Bound::Unbounded));
        let circle = further.map(|of| (of, last)).chain(self.services.iter().map(|of| (of, None)));
        circle.take(FAR).find_map(|((name, service), last)| {
            let asked = last.filter(|(of, _)| of == name).map(|(_, identity)| *identity);
            let mut servers = compile::of_service(service, &self.context).into_keys();
            servers.find(|identity| asked < Some(*identity)).map(|identity| (name.clone(), identity))
        })
    }

    /// From here to a plan: looks at these Services, at those whose NodePorts are affected by them, and at all with NodePorts
    /// if the node's addresses moved.
    pub fn difference(
        &self,
        plan: &Plan,
        changed: &BTreeSet<ObjectName>,
        settings: &Settings,
        draining: &Draining,
        now: Instant,
    ) -> Difference {
        let mut step = Step { context: context(plan, &self.context.schedulers, settings), ..Step::default() };
        step.context.taken = self.new_taken(plan, changed);
        let mut differ = Differ::new(draining, settings.patience, now);
        let further = self.with_moved_node_ports(&step.context);
        for name in changed.iter().chain(further.difference(changed)) {
            let (old, new) = (self.services.get(name), plan.services.get(name));
            let compiled = |service: Option<&Arc<ServicePlan>>, context: &Context| {
                service.map(|service| compile::of_service(service, context)).unwrap_or_default()
            };
            let (before, after) = (compiled(old, &self.context), compiled(new, &step.context));
            differ.servers(Some(name), &before, &after);
            step.replace(name, old, new, &self.context);
        }
        for (address, by) in &step.bound {
            let now = self.bound.get(address).copied().unwrap_or(0);
            match (now > 0, now + by > 0) {
                (true, false) => differ.step(None, Change::Unbind(*address)),
                (false, true) => differ.step(None, Change::Bind(*address)),
                _ => {}
            }
        }
        finish(differ, step)
    }

    fn new_taken(&self, plan: &Plan, changed: &BTreeSet<ObjectName>) -> BTreeSet<Identity> {
        let mut taken = self.context.taken.clone();
        for old in changed.iter().filter_map(|name| self.services.get(name)) {
            taken.retain(|identity| compile::taken(old).all(|gone| gone != *identity));
        }
        let new = changed.iter().filter_map(|name| plan.services.get(name));
        taken.extend(new.flat_map(|service| compile::taken(service)));
        taken
    }

    fn with_moved_node_ports(&self, new: &Context) -> BTreeSet<ObjectName> {
        if self.context.hand_over != new.hand_over {
            return self.node_ports.values().cloned().collect();
        }
        let moved = self.context.taken.symmetric_difference(&new.taken);
        let owner = |identity: &Identity| self.node_ports.get(&node_port(identity)?).cloned();
        moved.filter_map(owner).collect()
    }

    /// Takes a step that was carried out.
    fn take(&mut self, step: Step) {
        for (name, service) in step.services {
            let old = match service {
                Some(service) => self.services.insert(name.clone(), service),
                None => self.services.remove(&name),
            };
            for port in old.iter().flat_map(|old| compile::node_ports(old)) {
                if self.node_ports.get(&port) == Some(&name) {
                    self.node_ports.remove(&port);
                }
            }
            for port in self.services.get(&name).into_iter().flat_map(|new| compile::node_ports(new)) {
                self.node_ports.insert(port, name.clone());
            }
        }
        self.context = step.context;
        for (address, by) in step.bound {
            let count = self.bound.entry(address).or_default();
            *count += by;
            if *count <= 0 {
                self.bound.remove(&address);
            }
        }
    }
}

impl Difference {
    /// The Services that were looked at and are still there.
    pub(crate) fn services(&self) -> impl Iterator<Item = (&ObjectName, &ServicePlan)> {
        self.next.services.iter().filter_map(|(name, service)| Some((name, &**service.as_ref()?)))
    }

    /// What the kernel has once all was carried out; a difference to what was read starts from nothing.
    pub fn into_programmed(self, from: Option<Programmed>) -> Programmed {
        let mut programmed = from.unwrap_or_default();
        programmed.take(self.next);
        programmed
    }
}

impl Step {
    fn replace(
        &mut self,
        name: &ObjectName,
        old: Option<&Arc<ServicePlan>>,
        new: Option<&Arc<ServicePlan>>,
        before: &Context,
    ) {
        for address in old.into_iter().flat_map(|old| compile::bound(old, before)) {
            *self.bound.entry(address).or_default() -= 1;
        }
        for address in new.into_iter().flat_map(|new| compile::bound(new, &self.context)).collect::<Vec<_>>()
        {
            *self.bound.entry(address).or_default() += 1;
        }
        self.services.push((name.clone(), new.cloned()));
    }
}

fn context(plan: &Plan, schedulers: &Schedulers, settings: &Settings) -> Context {
    Context {
        hand_over: HandOver::new(&plan.node, settings.tables),
        taken: BTreeSet::new(),
        schedulers: schedulers.clone(),
    }
}

fn finish(differ: Differ<'_>, next: Step) -> Difference {
    Difference { steps: Steps::ordered(differ.steps), drains: differ.drains, next }
}

fn as_server(observed: &ObservedServer) -> Server {
    let (scheduling, real) = (observed.scheduling.clone(), observed.real.clone());
    Server { scheduling, real, lingering: Box::default() }
}

fn node_port(identity: &Identity) -> Option<NodePort> {
    let Identity::Address { protocol, address, port } = identity else { return None };
    let protocol = Protocol::ALL.into_iter().find(|known| known.number() == *protocol)?;
    Some((Family::of(*address), protocol, *port))
}
