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
    if options.detect_local == DetectLocal::NodeCidr && node.is_none_or(|node| node.pod_cidrs.is_empty()) {
        findings.push(Finding::PodPrefixesUnknown);
    }
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

/// The addresses by which the node is known, one of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// IPv4 first.
    pub addresses: [Option<IpAddr>; 2],
    /// The family that counts where only one does.
    pub primary: Family,
}

/// The addresses by which the node is known: the first of each family that the Node has, the given one before that. The
/// family of the given one is the primary one, or else that of the Node's first address.
///
/// As in kube-proxy (`detectNodeIPs` in `cmd/kube-proxy/app/server.go`), except that a family without an address has none,
/// instead of a loopback address.
pub fn known(node: Option<&Node>, given: Option<IpAddr>) -> Known {
    let own = own(node, given);
    let first = |family| own.iter().copied().find(|address| Family::of(*address) == family);
    let primary = given.or_else(|| own.first().copied()).map_or(Family::V4, Family::of);
    Known { addresses: Family::ALL.map(first), primary }
}

/// All addresses of the node. One that is given stands for all of its family. Loopback addresses are nobody's.
pub(crate) fn own(node: Option<&Node>, given: Option<IpAddr>) -> Vec<IpAddr> {
    let of_node = node.map_or(&[][..], |node| &node.addresses).iter().copied();
    let kept = of_node.filter(|address| given.is_none_or(|given| Family::of(given) != Family::of(*address)));
    given.into_iter().chain(kept).filter(|address| !address.is_loopback()).collect()
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
        NodePortOption::Primary => match known(node, options.node_address).addresses[family.index()] {
            Some(address) => NodePortAddresses::Only([address].into()),
            None if node.is_none_or(|node| node.addresses.is_empty()) => {
                findings.push(Finding::NodeAddressesUnknown);
                NodePortAddresses::AllLocal
            }
            None => {
                findings.push(Finding::NoNodePortAddress(family));
                NodePortAddresses::Only(BTreeSet::new())
            }
        },
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

#[cfg(test)]
mod tests;
