//! What a Service contributes: virtual servers with their real servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use kubeweir_netlink::ipvs::{Identity, RealServer, Scheduling};
use kubeweir_nftables::handover::{self, HandOver};
use kubeweir_plan::{
    Family, Frontend, FrontendAddress, Holder, Pool, PortPlan, Protocol, ServicePlan, Verdict,
};

use crate::schedulers::Schedulers;

/// Virtual servers by what identifies them.
pub type Servers = BTreeMap<Identity, Server>;

/// A virtual server as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// How real servers are chosen.
    pub scheduling: Scheduling,
    /// Real servers by where they listen.
    pub real: BTreeMap<SocketAddr, RealServer>,
    /// Where connections may go on although no new ones are sent there, for as long as that is so.
    pub lingering: Box<[SocketAddr]>,
}

/// What all Services' virtual servers depend on besides the Services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Which frontends are virtual servers.
    pub hand_over: HandOver,
    /// Places at this node's own addresses that a Service has by an address of its own: no NodePort has them.
    pub taken: BTreeSet<Identity>,
    /// Who chooses real servers.
    pub schedulers: Schedulers,
}

/// The virtual servers of a Service.
pub fn of_service(service: &ServicePlan, context: &Context) -> Servers {
    let mut servers = Servers::new();
    for port in &service.ports {
        for frontend in &port.frontends {
            for identity in identities(port, frontend, context) {
                servers.insert(identity, server(service, port, frontend, &context.schedulers));
            }
        }
    }
    servers
}

/// The addresses that this node takes on for a Service; an address may occur more than once.
pub fn bound<'a>(service: &'a ServicePlan, context: &'a Context) -> impl Iterator<Item = IpAddr> + 'a {
    let frontends = service.ports.iter().flat_map(|port| port.frontends.iter());
    frontends.filter_map(|frontend| context.hand_over.bound(frontend))
}

/// The places at this node's own addresses that a Service has by an address of its own.
pub fn taken(service: &ServicePlan) -> impl Iterator<Item = Identity> + '_ {
    let all =
        service.ports.iter().flat_map(|port| port.frontends.iter().map(move |frontend| (port, frontend)));
    all.filter_map(|(port, frontend)| match frontend.address {
        FrontendAddress::Ip(address) if frontend.holder == Holder::ThisNode => {
            Some(identity(port.protocol(), address, frontend.port))
        }
        _ => None,
    })
}

/// The NodePorts of a Service.
pub fn node_ports(service: &ServicePlan) -> impl Iterator<Item = (Family, Protocol, u16)> + '_ {
    let all =
        service.ports.iter().flat_map(|port| port.frontends.iter().map(move |frontend| (port, frontend)));
    all.filter_map(|(port, frontend)| match frontend.address {
        FrontendAddress::Node(family) => Some((family, port.protocol(), frontend.port)),
        FrontendAddress::Ip(_) => None,
    })
}

fn identities<'a>(
    port: &'a PortPlan,
    frontend: &'a Frontend,
    context: &'a Context,
) -> impl Iterator<Item = Identity> + 'a {
    let by_node = matches!(frontend.address, FrontendAddress::Node(_));
    let addresses = context.hand_over.addresses(frontend).iter();
    let all = addresses.map(|address| identity(port.protocol(), *address, frontend.port));
    all.filter(move |identity| !(by_node && context.taken.contains(identity)))
}

fn identity(protocol: Protocol, address: IpAddr, port: u16) -> Identity {
    Identity::Address { protocol: protocol.number(), address, port }
}

fn server(service: &ServicePlan, port: &PortPlan, frontend: &Frontend, schedulers: &Schedulers) -> Server {
    let pool = match &frontend.inside {
        Verdict::Forward(pool) => Some(&**pool),
        Verdict::Reject | Verdict::Drop => None,
    };
    let affinity = pool.and_then(|pool| pool.affinity);
    Server {
        scheduling: schedulers.scheduling(service.scheduler.as_deref(), affinity, port.family),
        real: pool.map(reals).unwrap_or_default(),
        lingering: lingering(port, pool),
    }
}

fn reals(pool: &Pool) -> BTreeMap<SocketAddr, RealServer> {
    let real = |at: SocketAddr, weight: u8| (at, RealServer::masqueraded(at, u32::from(weight)));
    let usable = pool.targets.iter().filter(|target| is_usable(target.address));
    usable.map(|target| real(target.socket(), target.weight)).collect()
}

/// Whether the kernel takes it for a real server at all. What else it refuses depends on the host's networks.
fn is_usable(address: IpAddr) -> bool {
    let link_local = matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    handover::is_unicast(address) && !link_local
}

/// A TCP endpoint ends its connections itself, so these go on for as long as it exists; others only while it serves.
fn lingering(port: &PortPlan, pool: Option<&Pool>) -> Box<[SocketAddr]> {
    let chosen = |socket: &SocketAddr| pool.is_some_and(|pool| pool.contains(*socket));
    let elsewhere = port.pools();
    let elsewhere = elsewhere.iter().flat_map(|pool| pool.targets.iter().map(kubeweir_plan::Target::socket));
    let exists = port.others.iter().copied().chain(elsewhere).filter(|socket| !chosen(socket));
    let serves = |socket: &SocketAddr| port.keeps.as_ref().is_none_or(|keeps| keeps.contains(socket));
    exists.filter(serves).collect::<BTreeSet<_>>().into_iter().collect()
}
