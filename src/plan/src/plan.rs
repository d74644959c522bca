//! The plan's own types: neither Kubernetes nor kernel words.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use crate::address::FrontendAddress;
use crate::finding::Finding;
use crate::health_check::HealthCheck;
use crate::names::{Family, ObjectName, PortKey, Protocol};

/// Everything this node must do. Parts that did not change are shared with the plan before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What does not belong to any one Service.
    pub node: Arc<NodePlan>,
    /// By Service.
    pub services: BTreeMap<ObjectName, Arc<ServicePlan>>,
}

/// The part of a plan that belongs to the node. Arrays hold one entry for each [`Family`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodePlan {
    /// How packets of pods are told from others.
    pub local_sources: [LocalSources; 2],
    /// Where NodePorts answer.
    pub node_port_addresses: [NodePortAddresses; 2],
    /// Whether traffic to ClusterIPs is masqueraded for which clients, unless a frontend says otherwise.
    pub internal_masquerade: [Clients; 2],
    /// Prefixes that ClusterIPs are taken from: other addresses in them lead nowhere.
    pub service_prefixes: BTreeSet<IpNet>,
    /// The addresses of this node's interfaces; loopback and link-local IPv6 ones are left out.
    pub own_addresses: Arc<BTreeSet<IpAddr>>,
    /// What an operator should know.
    pub findings: Vec<Finding>,
}

/// How to tell that a packet was sent by a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LocalSources {
    /// Not known: no packet counts as a pod's.
    #[default]
    Unknown,
    /// By its source address.
    Prefix(IpNet),
    /// By the interface it came through.
    Interface(Arc<str>),
    /// By the beginning of that interface's name.
    InterfacePrefix(Arc<str>),
}

/// Addresses on which NodePorts answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// Every address of this node but loopback.
    AllLocal,
    /// These addresses.
    Only(BTreeSet<IpAddr>),
}

impl Default for NodePortAddresses {
    fn default() -> Self {
        NodePortAddresses::Only(BTreeSet::new())
    }
}

/// All ports of one Service in both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its ClusterIPs: traffic to another port or protocol of them is rejected.
    pub cluster_ips: Box<[IpAddr]>,
    /// One for each port and family.
    pub ports: Box<[PortPlan]>,
    /// How targets are to be chosen, if the operator says so: one of the names that the mode in force knows.
    pub scheduler: Option<Arc<str>>,
    /// What its balancers ask for, if they do. Few Services have one.
    pub health_check: Option<Box<HealthCheck>>,
    /// What an operator should know.
    pub findings: Box<[Finding]>,
}

/// One port of a Service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortPlan {
    /// Identity, for names and messages.
    pub key: PortKey,
    /// Address family of all its frontends and endpoints.
    pub family: Family,
    /// The ways in.
    pub frontends: Box<[Frontend]>,
    /// Where flows of this port may keep going, ordered: every endpoint, here or elsewhere, that serves it, whatever policy
    /// would choose today. `None` for TCP, whose endpoints tell their clients themselves that a connection is over.
    pub keeps: Option<Arc<[SocketAddr]>>,
    /// Endpoints that no frontend sends anything new to, ordered: not ready, terminating, or not chosen from here. As long as they
    /// are, connections they have may go on.
    pub others: Box<[SocketAddr]>,
}

/// One way in: packets to this address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontend {
    /// The address.
    pub address: FrontendAddress,
    /// The port there.
    pub port: u16,
    /// Who has the address apart from the Service.
    pub holder: Holder,
    /// Whom it is meant for.
    pub scope: Scope,
    /// What happens to packets of pods and of the node itself.
    pub inside: Verdict,
    /// What happens to all other packets.
    pub outside: Verdict,
    /// Whose packets get the node's own source address.
    pub masquerade: Clients,
    /// The only sources allowed; `None` allows all. Prefixes do not overlap.
    pub allowed_sources: Option<Arc<[IpNet]>>,
}

impl Frontend {
    /// What happens to a client's packets, its source being allowed.
    pub fn verdict(&self, client: Client) -> &Verdict {
        if client == Client::Outside { &self.outside } else { &self.inside }
    }
}

/// Who has the address of a frontend apart from the Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: a mode may give this node the address.
    Nobody,
    /// This node, on one of its interfaces. NodePorts always are.
    ThisNode,
    /// A Node, as its object says, and no interface of this node: packets to the address may be on their way to another machine.
    /// It can be this node's own object, if the address is translated on the way here.
    AnotherNode,
}

/// Whom a frontend is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A ClusterIP.
    Internal,
    /// An external address, a load balancer's address or a NodePort.
    External,
}

/// What happens to a packet that a frontend matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To one of the pool's targets; the pool is not empty.
    Forward(Arc<Pool>),
    /// Refused with an ICMP error: nothing serves it anywhere.
    Reject,
    /// Discarded: served elsewhere, but not from here.
    Drop,
}

/// Targets to choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Ordered, each once, never empty.
    pub targets: Box<[Target]>,
    /// Seconds for which a client keeps its target.
    pub affinity: Option<u32>,
}

impl Pool {
    /// Whether the endpoint is one of the targets.
    pub fn contains(&self, socket: SocketAddr) -> bool {
        self.targets.binary_search_by_key(&socket, Target::socket).is_ok()
    }
}

/// One endpoint of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The address it listens on.
    pub address: IpAddr,
    /// The port it listens on.
    pub port: u16,
    /// Whether it runs on this node.
    pub local: bool,
    /// Its share of new connections, in proportion to the other targets' weights, 0 to 100; 0 gets none.
    pub weight: u8,
}

impl Target {
    /// The weight of targets of which nothing else is said.
    pub const DEFAULT_WEIGHT: u8 = 1;
    /// The greatest weight.
    pub const GREATEST_WEIGHT: u8 = 100;

    /// Where it listens.
    pub const fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Who sends a packet, as far as it matters. A pod is told by [`LocalSources`] first, the node by its addresses then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Client {
    /// A pod.
    Pod,
    /// A process in this node's own network namespace.
    Node,
    /// Anybody else.
    Outside,
}

/// A set of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clients(u8);

impl Clients {
    /// No client.
    pub const NONE: Clients = Clients(0);
    /// Every client.
    pub const ALL: Clients = Clients::NONE.and(Client::Pod).and(Client::Node).and(Client::Outside);
    /// Everybody but pods.
    pub const NOT_PODS: Clients = Clients::NONE.and(Client::Node).and(Client::Outside);
    /// The node only.
    pub const NODE: Clients = Clients::NONE.and(Client::Node);

    const fn and(self, client: Client) -> Clients {
        Clients(self.0 | 1 << client as u8)
    }

    /// Whether the client is in the set.
    pub const fn contains(self, client: Client) -> bool {
        self.0 & 1 << client as u8 != 0
    }
}

impl PortPlan {
    /// The protocol of the port.
    pub fn protocol(&self) -> Protocol {
        self.key.protocol
    }

    /// Every pool that some frontend forwards to, each once.
    pub fn pools(&self) -> Vec<&Arc<Pool>> {
        pools(&self.frontends)
    }

    /// After these frontends were taken away: what only their pools had is among the others now.
    pub(crate) fn lose(&mut self, frontends: &[Frontend]) {
        if !frontends.is_empty() {
            let had = pools(frontends).into_iter().flat_map(|pool| pool.targets.iter().map(Target::socket));
            let all: BTreeSet<SocketAddr> = self.others.iter().copied().chain(had).collect();
            self.others = others(all.into_iter(), &self.frontends);
        }
    }
}

/// Those of a port's endpoints that are in none of the pools.
pub(crate) fn others(all: impl Iterator<Item = SocketAddr>, frontends: &[Frontend]) -> Box<[SocketAddr]> {
    let pools = pools(frontends);
    all.filter(|socket| !pools.iter().any(|pool| pool.contains(*socket))).collect()
}

fn pools(frontends: &[Frontend]) -> Vec<&Arc<Pool>> {
    let mut pools: Vec<&Arc<Pool>> = Vec::new();
    for verdict in frontends.iter().flat_map(|frontend| [&frontend.inside, &frontend.outside]) {
        if let Verdict::Forward(pool) = verdict
            && !pools.contains(&pool)
        {
            pools.push(pool);
        }
    }
    pools
}
