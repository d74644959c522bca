//! Health checks of Services: where balancers ask whether this node serves one, and what they are to be told.

use std::collections::BTreeSet;

use crate::address::FrontendAddress;
use crate::claims::Place;
use crate::endpoints::{self, Here};
use crate::input::{EndpointSlice, Service, ServiceKind, TrafficPolicy};
use crate::names::{Family, Protocol};

/// Where balancers ask over HTTP whether this node has endpoints of a Service. The port is the Service's as a NodePort is: no
/// other Service has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The TCP port, at the addresses of NodePorts.
    pub port: u16,
    /// How many different addresses of ready endpoints are here, by family; `None` where nobody is to answer.
    pub ready: [Option<u32>; 2],
}

impl HealthCheck {
    /// The places that it takes, one for each family in which it is answered.
    pub(crate) fn places(self) -> impl Iterator<Item = Place> {
        let answered = Family::ALL.into_iter().filter(move |family| self.ready[family.index()].is_some());
        answered.map(move |family| (FrontendAddress::Node(family), Protocol::Tcp, self.port))
    }
}

/// The health check of a Service as if it were alone in the cluster. Only a balancer in front of local endpoints asks: without
/// them every node serves alike.
pub(crate) fn plan(service: &Service, slices: &[&EndpointSlice], here: &Here) -> Option<Box<HealthCheck>> {
    let port = service.health_check_node_port;
    let is_local = service.external_policy == TrafficPolicy::Local;
    let is_asked = service.kind == ServiceKind::LoadBalancer && is_local && port != 0;
    let has = |family| service.cluster_ips.iter().any(|ip| Family::of(*ip) == family);
    let ready = |family| has(family).then(|| ready(service, slices, family, here));
    is_asked.then(|| Box::new(HealthCheck { port, ready: Family::ALL.map(ready) }))
}

/// An address counts once, however many ports it serves. One that only ends its connections does not: it is no longer ready.
fn ready(service: &Service, slices: &[&EndpointSlice], family: Family, here: &Here) -> u32 {
    let mut addresses = BTreeSet::new();
    for port in &service.ports {
        let slices = slices.iter().copied();
        let candidates = endpoints::candidates(slices, family, &port.name, port.protocol, here);
        let ready = candidates.iter().filter(|candidate| candidate.local && candidate.endpoint.ready);
        addresses.extend(ready.map(|candidate| candidate.socket.ip()));
    }
    u32::try_from(addresses.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
