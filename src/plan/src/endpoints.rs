//! Which endpoints of a port are used: readiness, termination, topology hints and locality.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::input::{Endpoint, EndpointSlice, Hints};
use crate::names::{Family, Protocol};
use crate::plan::Target;

/// Where this node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Here {
    /// Name of the node.
    pub node: Arc<str>,
    /// Its zone, if it has one.
    pub zone: Option<Arc<str>>,
}

/// An endpoint of one port.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Where it listens.
    pub socket: SocketAddr,
    /// The endpoint.
    pub endpoint: &'a Endpoint,
    /// Whether it runs on this node.
    pub local: bool,
    /// What its slice gives it.
    pub weight: u8,
}

/// The chosen endpoints, each list ordered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chosen {
    /// For policy Cluster.
    pub cluster: Vec<Target>,
    /// For policy Local.
    pub local: Vec<Target>,
    /// Whether anything, anywhere, serves the port.
    pub any: bool,
}

/// The endpoints of a port over all slices of a family. An address of another family in such a slice is none. Of several with one address and port, one that is not
/// terminating wins, then one that is ready, then one that serves: an address may already belong to a new pod while the old
/// one ends, and slices come in no particular order.
pub fn candidates<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    family: Family,
    port: &str,
    protocol: Protocol,
    here: &Here,
) -> Vec<Candidate<'a>> {
    let mut found: BTreeMap<SocketAddr, Candidate<'a>> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.family == Some(family)) {
        let weight = slice.weight.as_deref().and_then(weight).unwrap_or(Target::DEFAULT_WEIGHT);
        let ports = slice.ports.iter().filter(|p| &*p.name == port && p.protocol == protocol && p.port != 0);
        let endpoints = || slice.endpoints.iter().filter(|endpoint| Family::of(endpoint.address) == family);
        for (slice_port, endpoint) in ports.flat_map(|p| endpoints().map(move |e| (p, e))) {
            let socket = SocketAddr::new(endpoint.address, slice_port.port);
            let local = endpoint.node.as_deref() == Some(&*here.node);
            let candidate = Candidate { socket, endpoint, local, weight };
            let entry = found.entry(socket).or_insert_with(|| candidate.clone());
            if rank(endpoint) < rank(entry.endpoint) {
                *entry = candidate;
            }
        }
    }
    found.into_values().collect()
}

const fn rank(endpoint: &Endpoint) -> (bool, bool, bool) {
    (endpoint.terminating, !endpoint.ready, !endpoint.serving)
}

/// Chooses for both policies. Each list prefers ready endpoints and falls back, independently of the other, to
/// those that still serve while they terminate. Topology hints narrow the cluster list only.
pub fn choose(candidates: &[Candidate<'_>], here: &Here) -> Chosen {
    let narrowing = Narrowing::of(candidates, here);
    let ready = |c: &&Candidate<'_>| c.endpoint.ready;
    let leaving = |c: &&Candidate<'_>| c.endpoint.serving && c.endpoint.terminating;
    let preferred = targets(candidates.iter().filter(ready).filter(|c| narrowing.admits(c, here)));
    let fallback = || targets(candidates.iter().filter(leaving));
    let locals = || candidates.iter().filter(|c| c.local);
    let local = targets(locals().filter(ready));
    Chosen {
        any: candidates.iter().any(|c| ready(&c) || leaving(&c)),
        cluster: if preferred.is_empty() { fallback() } else { preferred },
        local: if local.is_empty() { targets(locals().filter(leaving)) } else { local },
    }
}

/// A weight from the text of a slice's annotation.
pub fn weight(text: &str) -> Option<u8> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|weight| is_decimal && *weight <= Target::GREATEST_WEIGHT)
}

/// Where flows that exist may keep going, in order. Being ready includes being published without being ready; an endpoint that
/// serves while it terminates still answers the clients it has.
pub fn keeps(candidates: &[Candidate<'_>]) -> Arc<[SocketAddr]> {
    let serves = |c: &&Candidate<'_>| c.endpoint.ready || c.endpoint.serving;
    candidates.iter().filter(serves).map(|candidate| candidate.socket).collect()
}

fn targets<'a>(candidates: impl Iterator<Item = &'a Candidate<'a>>) -> Vec<Target> {
    candidates
        .map(|candidate| Target {
            address: candidate.socket.ip(),
            port: candidate.socket.port(),
            local: candidate.local,
            weight: candidate.weight,
        })
        .collect()
}

/// Which hints are followed. A kind of hint counts only if every ready endpoint has it and one of them names
/// this node or zone; otherwise following it could leave clients here without endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrowing {
    None,
    SameNode,
    SameZone,
}

impl Narrowing {
    fn of(candidates: &[Candidate<'_>], here: &Here) -> Narrowing {
        let mut ready = candidates.iter().filter(|c| c.endpoint.ready).peekable();
        if ready.peek().is_none() {
            return Narrowing::None;
        }
        let hints: Vec<&Hints> = ready.filter_map(|c| c.endpoint.hints.as_deref()).collect();
        let total = candidates.iter().filter(|c| c.endpoint.ready).count();
        let complete = |list: fn(&Hints) -> &Vec<Arc<str>>, mine: &Arc<str>| {
            hints.len() == total
                && hints.iter().all(|hints| !list(hints).is_empty())
                && hints.iter().any(|hints| list(hints).contains(mine))
        };
        if complete(|hints| &hints.nodes, &here.node) {
            return Narrowing::SameNode;
        }
        match &here.zone {
            Some(zone) if complete(|hints| &hints.zones, zone) => Narrowing::SameZone,
            _ => Narrowing::None,
        }
    }

    fn admits(self, candidate: &Candidate<'_>, here: &Here) -> bool {
        let hints = candidate.endpoint.hints.as_deref();
        match self {
            Narrowing::None => true,
            Narrowing::SameNode => hints.is_some_and(|hints| hints.nodes.contains(&here.node)),
            Narrowing::SameZone => {
                let zone = here.zone.as_ref();
                zone.is_some_and(|zone| hints.is_some_and(|hints| hints.zones.contains(zone)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
