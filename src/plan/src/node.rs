//! The node's own part of the plan.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::finding::Finding;
use crate::input::Node;
use crate::names::Family;
use crate::options::{DetectLocal, NodePortOption, Options};
use crate::plan::{Clients, LocalSources, NodePlan, NodePortAddresses};
use crate::snapshot::Snapshot;

/// What the host says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Addresses of this node's interfaces, except loopback and link-local IPv6 ones and those that we gave it.
    pub addresses: BTreeSet<IpAddr>,
}

/// Plans what does not belong to any one Service.
pub fn plan(snapshot: &Snapshot, facts: &Facts, options: &Options) -> NodePlan {
    let node = snapshot.node();
    let mut findings = Vec::new();
    let mut node_ports = |family| node_port_addresses(family, node, facts, options, &mut findings);
    let node_port_addresses = Family::ALL.map(&mut node_ports);
    findings.dedup();
    let local_sources = Family::ALL.map(|family| local_sources(family, node, options));
    NodePlan {
        internal_masquerade: [0, 1].map(|family| internal_masquerade(&local_sources[family], options)),
        local_sources,
        node_port_addresses,
        service_prefixes: snapshot.service_cidrs(),
        own_addresses: Arc::new(facts.addresses.clone()),
        findings,
    }
}

/// The addresses that NodePorts answer on.
pub(crate) fn answering(node: &NodePlan, facts: &Facts) -> BTreeSet<IpAddr> {
    let of = |family: Family| match &node.node_port_addresses[family.index()] {
        NodePortAddresses::AllLocal => &facts.addresses,
        NodePortAddresses::Only(addresses) => addresses,
    };
    let mine = |family| of(family).iter().copied().filter(move |ip| Family::of(*ip) == family);
    Family::ALL.into_iter().flat_map(mine).collect()
}

/// The Node's first address of a family.
pub fn primary_address(node: Option<&Node>, family: Family) -> Option<IpAddr> {
    node?.addresses.iter().copied().find(|address| Family::of(*address) == family)
}

/// Clients whose source address is replaced on the way to a ClusterIP: those that are known not to be pods, since
/// their answers might otherwise take another way back. Who cannot tell pods from others masquerades nobody.
fn internal_masquerade(sources: &LocalSources, options: &Options) -> Clients {
    match sources {
        _ if options.masquerade_all => Clients::ALL,
        LocalSources::Unknown => Clients::NONE,
        _ => Clients::NOT_PODS,
    }
}

fn local_sources(family: Family, node: Option<&Node>, options: &Options) -> LocalSources {
    let first = |prefixes: &[IpNet]| {
        let found = prefixes.iter().find(|prefix| Family::of(prefix.addr()) == family);
        found.map_or(LocalSources::Unknown, |prefix| LocalSources::Prefix(prefix.trunc()))
    };
    match &options.detect_local {
        DetectLocal::ClusterCidr(prefixes) => first(prefixes),
        DetectLocal::NodeCidr => first(node.map_or(&[], |node| &node.pod_cidrs)),
        DetectLocal::BridgeInterface(name) => LocalSources::Interface(name.clone()),
        DetectLocal::InterfaceNamePrefix(prefix) => LocalSources::InterfacePrefix(prefix.clone()),
    }
}

fn node_port_addresses(
    family: Family,
    node: Option<&Node>,
    facts: &Facts,
    options: &Options,
    findings: &mut Vec<Finding>,
) -> NodePortAddresses {
    match &options.node_port_addresses {
        NodePortOption::All => NodePortAddresses::AllLocal,
        NodePortOption::Within(prefixes) => within(family, prefixes, facts),
        NodePortOption::Primary if node.is_none_or(|node| node.addresses.is_empty()) => {
            findings.push(Finding::NodeAddressesUnknown);
            NodePortAddresses::AllLocal
        }
        NodePortOption::Primary => {
            let primary = primary_address(node, family);
            if primary.is_none() {
                findings.push(Finding::NoNodePortAddress(family));
            }
            NodePortAddresses::Only(primary.into_iter().collect())
        }
    }
}

/// A family that no prefix speaks of is not restricted, and neither is one with a prefix of length zero.
fn within(family: Family, prefixes: &[IpNet], facts: &Facts) -> NodePortAddresses {
    let mine: Vec<&IpNet> = prefixes.iter().filter(|prefix| Family::of(prefix.addr()) == family).collect();
    if mine.is_empty() || mine.iter().any(|prefix| prefix.prefix_len() == 0) {
        return NodePortAddresses::AllLocal;
    }
    let inside = |address: &&IpAddr| mine.iter().any(|prefix| prefix.contains(*address));
    NodePortAddresses::Only(facts.addresses.iter().filter(inside).copied().collect())
}
