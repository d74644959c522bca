//! The plan of one Service: its frontends and what each does.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::address::FrontendAddress;
use crate::endpoints::{self, Chosen, Here};
use crate::finding::Finding;
use crate::health_check;
use crate::input::{EndpointSlice, Service, ServiceKind, ServicePort, TrafficPolicy};
use crate::names::{Family, PortKey, Protocol};
use crate::options::Options;
use crate::plan::{
    Clients, Frontend, Holder, NodePlan, Pool, PortPlan, Scope, ServicePlan, Target, Verdict, others,
};
use crate::snapshot::Snapshot;

/// What all Services' plans depend on: when it changes, everything is planned anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Where this node is.
    pub here: Here,
    /// The node's addresses.
    pub node_addresses: Vec<IpAddr>,
    /// Whose traffic to ClusterIPs is masqueraded, by family.
    pub internal_masquerade: [Clients; 2],
    /// Names of schedulers that may be asked for.
    pub schedulers: &'static [&'static str],
    /// Whether slices may give their endpoints weights.
    pub weights: bool,
    /// Whether Services have their `externalIPs`.
    pub external_ips: bool,
}

impl Context {
    /// From the node's part of the plan.
    pub fn new(here: Here, node_addresses: Vec<IpAddr>, node: &NodePlan, options: &Options) -> Context {
        Context {
            here,
            node_addresses,
            internal_masquerade: node.internal_masquerade,
            schedulers: options.schedulers,
            weights: options.weights,
            external_ips: options.external_ips,
        }
    }
}

/// Whose addresses are. Only Services with a frontend at an address depend on what is said of it here.
#[derive(Clone, Copy, Debug)]
pub struct Holders<'a> {
    /// The addresses of this node's interfaces.
    pub own: &'a BTreeSet<IpAddr>,
    /// Knows the addresses of all Nodes.
    pub snapshot: &'a Snapshot,
}

impl Holders<'_> {
    /// Who has the address apart from a Service.
    pub fn of(&self, address: FrontendAddress) -> Holder {
        match address {
            FrontendAddress::Node(_) => Holder::ThisNode,
            FrontendAddress::Ip(ip) if self.own.contains(&ip) => Holder::ThisNode,
            FrontendAddress::Ip(ip) if self.snapshot.is_of_a_node(ip) => Holder::AnotherNode,
            FrontendAddress::Ip(_) => Holder::Nobody,
        }
    }
}

/// Plans one Service as if it were alone in the cluster.
pub fn plan(
    service: &Service,
    slices: &[&EndpointSlice],
    context: &Context,
    holders: &Holders<'_>,
) -> ServicePlan {
    if service.kind == ServiceKind::ExternalName {
        return ServicePlan::default();
    }
    if service.cluster_ips.is_empty() {
        return ServicePlan { findings: [Finding::NoClusterIp].into(), ..ServicePlan::default() };
    }
    let cluster_ips = || Family::ALL.into_iter().filter_map(|family| first_of(&service.cluster_ips, family));
    let in_family = |ip: IpAddr| {
        let ports = service.ports.iter();
        ports.map(move |port| port_plan(service, port, ip, slices, context, holders))
    };
    let unroutable = slices.iter().filter(|slice| slice.family.is_none());
    let unroutable = unroutable.map(|slice| Finding::FqdnSlice(slice.name.clone()));
    let closed = Family::ALL.into_iter().filter(|family| is_closed(service, *family, context));
    let (scheduler, unknown) = scheduler(service, context);
    let weights = slices.iter().filter_map(|slice| invalid_weight(slice, context));
    ServicePlan {
        cluster_ips: cluster_ips().collect(),
        ports: cluster_ips().flat_map(in_family).collect(),
        scheduler,
        health_check: health_check::plan(service, slices, &context.here),
        findings: unroutable
            .chain(closed.map(Finding::NobodyAllowed))
            .chain(unknown)
            .chain(weights)
            .collect(),
    }
}

/// The scheduler that the Service asks for, if it can be had.
fn scheduler(service: &Service, context: &Context) -> (Option<Arc<str>>, Option<Finding>) {
    let Some(name) = &service.scheduler else { return (None, None) };
    let known = context.schedulers;
    if known.contains(&&**name) {
        return (Some(Arc::clone(name)), None);
    }
    (None, Some(Finding::UnknownScheduler { name: Arc::clone(name), known }))
}

fn invalid_weight(slice: &EndpointSlice, context: &Context) -> Option<Finding> {
    let text = slice.weight.as_ref().filter(|_| context.weights)?;
    let is_valid = endpoints::weight(text).is_some();
    (!is_valid).then(|| Finding::InvalidWeight(slice.name.clone(), Arc::clone(text)))
}

fn port_plan(
    service: &Service,
    port: &ServicePort,
    cluster_ip: IpAddr,
    slices: &[&EndpointSlice],
    context: &Context,
    holders: &Holders<'_>,
) -> PortPlan {
    let family = Family::of(cluster_ip);
    let slices = slices.iter().copied();
    let mut candidates = endpoints::candidates(slices, family, &port.name, port.protocol, &context.here);
    for candidate in candidates.iter_mut().filter(|_| !context.weights) {
        candidate.weight = Target::DEFAULT_WEIGHT;
    }
    let chosen = endpoints::choose(&candidates, &context.here);
    let routes = Routes::new(service, &chosen, context, holders, family);
    let mut frontends = vec![routes.internal(cluster_ip, port.port)];
    let allowed = allowed_sources(service, family, context);
    // Of two frontends with one address the planner keeps the first: the one with a source filter.
    for ip in balancer_addresses(service, family) {
        let frontend = routes.external(FrontendAddress::Ip(ip), port.port);
        frontends.push(Frontend { allowed_sources: allowed.clone(), ..frontend });
    }
    for ip in each_of(&service.external_ips, family).filter(|_| context.external_ips) {
        frontends.push(routes.external(FrontendAddress::Ip(ip), port.port));
    }
    if port.node_port != 0 {
        frontends.push(routes.external(FrontendAddress::Node(family), port.node_port));
    }
    let key = PortKey { service: service.name.clone(), port: port.name.clone(), protocol: port.protocol };
    let keeps = (port.protocol != Protocol::Tcp).then(|| endpoints::keeps(&candidates));
    let others = others(candidates.iter().map(|candidate| candidate.socket), &frontends);
    PortPlan { key, family, frontends: frontends.into(), keeps, others }
}

/// The verdicts that a port's frontends share.
struct Routes<'a> {
    holders: &'a Holders<'a>,
    cluster: Verdict,
    internal_local: Verdict,
    internal_policy: TrafficPolicy,
    external_policy: TrafficPolicy,
    internal_masquerade: Clients,
}

impl<'a> Routes<'a> {
    fn new(
        service: &Service,
        chosen: &Chosen,
        context: &Context,
        holders: &'a Holders<'a>,
        family: Family,
    ) -> Routes<'a> {
        let pool =
            |targets: &[Target]| Arc::new(Pool { targets: targets.into(), affinity: service.affinity });
        let cluster =
            if chosen.cluster.is_empty() { Verdict::Reject } else { Verdict::Forward(pool(&chosen.cluster)) };
        let internal_local = match (chosen.local.is_empty(), chosen.any) {
            (false, _) => Verdict::Forward(pool(&chosen.local)),
            (true, true) => Verdict::Drop,
            (true, false) => Verdict::Reject,
        };
        Routes {
            holders,
            cluster,
            internal_local,
            internal_policy: service.internal_policy,
            external_policy: service.external_policy,
            internal_masquerade: context.internal_masquerade[family.index()],
        }
    }

    fn internal(&self, address: IpAddr, port: u16) -> Frontend {
        let verdict = match self.internal_policy {
            TrafficPolicy::Cluster => &self.cluster,
            TrafficPolicy::Local => &self.internal_local,
        };
        let address = FrontendAddress::Ip(address);
        Frontend {
            address,
            port,
            holder: self.holders.of(address),
            scope: Scope::Internal,
            inside: verdict.clone(),
            outside: verdict.clone(),
            masquerade: self.internal_masquerade,
            allowed_sources: None,
        }
    }

    /// Under policy Local only clients from outside are bound to local endpoints: for pods and the node itself the
    /// address stands for the whole Service, and no hop through another node would tell them anything.
    fn external(&self, address: FrontendAddress, port: u16) -> Frontend {
        let (outside, masquerade) = match self.external_policy {
            TrafficPolicy::Cluster => (&self.cluster, Clients::ALL),
            TrafficPolicy::Local => (&self.internal_local, Clients::NODE),
        };
        Frontend {
            address,
            port,
            holder: self.holders.of(address),
            scope: Scope::External,
            inside: self.cluster.clone(),
            outside: outside.clone(),
            masquerade,
            allowed_sources: None,
        }
    }
}

fn first_of(addresses: &[IpAddr], family: Family) -> Option<IpAddr> {
    addresses.iter().copied().find(|address| Family::of(*address) == family)
}

fn each_of(addresses: &[IpAddr], family: Family) -> impl Iterator<Item = IpAddr> + '_ {
    addresses.iter().copied().filter(move |address| Family::of(*address) == family)
}

/// Balancer addresses whose packets reach the nodes unchanged. A balancer in mode Proxy sends to NodePorts, and
/// clients in the cluster are meant to go through it.
fn balancer_addresses(service: &Service, family: Family) -> impl Iterator<Item = IpAddr> + '_ {
    let delivered = service.ingress.iter().filter(|ingress| ingress.delivers_address);
    delivered.map(|ingress| ingress.address).filter(move |address| Family::of(*address) == family)
}

/// Whether the source ranges leave nobody to use the balancer's addresses of a family.
fn is_closed(service: &Service, family: Family, context: &Context) -> bool {
    balancer_addresses(service, family).next().is_some()
        && allowed_sources(service, family, context).is_some_and(|sources| sources.is_empty())
}

/// Who may use the balancer's addresses; `None` for everybody. Where the node itself may, the balancer's own addresses may
/// too: a node can use such an address as source when it talks to it.
///
/// A list that speaks of one family only lets nobody in over the other: whoever restricts a Service does not mean it to be
/// open on a side that was not thought of. Only a list that says "everybody" in its own family means both.
fn allowed_sources(service: &Service, family: Family, context: &Context) -> Option<Arc<[IpNet]>> {
    let mine = service.source_ranges.iter().filter(|range| Family::of(range.addr()) == family);
    let mut ranges: Vec<IpNet> = mine.map(IpNet::trunc).collect();
    let judged = if ranges.is_empty() { &service.source_ranges[..] } else { &ranges };
    if judged.is_empty() || judged.iter().any(|range| range.prefix_len() == 0) {
        return None;
    }
    let node_is_inside =
        context.node_addresses.iter().any(|ip| ranges.iter().any(|range| range.contains(ip)));
    if node_is_inside {
        ranges.extend(balancer_addresses(service, family).map(IpNet::from));
    }
    Some(IpNet::aggregate(&ranges).into())
}

#[cfg(test)]
mod tests;
