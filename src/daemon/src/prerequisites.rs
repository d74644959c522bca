//! What the host must bring so that packets find their way, and what is missing of it. Pure: [`host::wiring`] reads.
//!
//! Each finding was seen to keep packets from their Service; the scenarios named after it in `e2e/scenarios` show which.
//!
//! [`host::wiring`]: crate::host::wiring

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use kubeweir_plan::{Family, LocalSources};

use crate::sysctl::conntrack::MAX;
use crate::sysctl::{Unset, name};

/// The host as it is, as far as the ways of packets depend on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Whether it forwards, IPv4 first: `net.ipv4.ip_forward`, `net.ipv6.conf.all.forwarding`.
    pub forwards: [bool; 2],
    /// `net.bridge.bridge-nf-call-iptables` and `-ip6tables`; `None` without `br_netfilter`.
    pub bridge_filter: [Option<bool>; 2],
    /// Its interfaces by index.
    pub links: BTreeMap<u32, Link>,
    /// Parameters that could not be set, and what they are now; `None` if there is none.
    pub unset: Vec<(Unset, Option<i64>)>,
}

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its addresses, loopback and link-local ones excepted, with their prefixes.
    pub addresses: Vec<IpNet>,
    /// What it is.
    pub kind: Kind,
    /// The bridge that it is a port of.
    pub port_of: Option<Port>,
    /// Whether packets whose answers would leave elsewhere are discarded (`rp_filter` = 1, its own or that of all). Known
    /// of tunnels and of what they go through.
    pub strict_return_path: bool,
}

/// What an interface is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Nothing that matters here.
    #[default]
    Other,
    /// One end of a pair; a pod has the other.
    Veth,
    /// A bridge, and whether it is filtered by an option of its own (`nf_call_iptables`), IPv4 first.
    Bridge([bool; 2]),
    /// The end of VXLAN tunnels, and the index of the interface that they go through, if there is only one.
    Tunnel(Option<u32>),
}

/// A place on a bridge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// Index of the bridge.
    pub bridge: u32,
    /// Whether it sends back out what came in through it.
    pub hairpin: bool,
}

/// How pods are known to be pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// By the planner's means, IPv4 first.
    pub sources: [LocalSources; 2],
    /// By the Node's own prefixes.
    pub prefixes: Vec<IpNet>,
}

/// Something of the host that keeps packets from their Service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub enum Finding {
    /// The host has addresses of the family but does not forward.
    NotForwarding(Family),
    /// A bridge with pods passes packets by our rules, so that an answer from one of its pods to another keeps the
    /// endpoint's address.
    BridgeNotFiltered {
        /// Name of the bridge.
        bridge: Arc<str>,
        /// What passes.
        family: Family,
        /// Whether there is a sysctl to set.
        loaded: bool,
    },
    /// Ports of a filtered bridge do not send back out what came in through them. A bridge that is not filtered needs no
    /// hairpin mode: there a packet to a Service is sent by the host, not by a port.
    NoHairpin {
        /// Name of the bridge.
        bridge: Arc<str>,
    },
    /// A strict filter beside a tunnel: what a pod sends to another node's own address comes outside of the tunnel, and the
    /// answer inside.
    StrictReturnPath {
        /// Name of the tunnel device.
        tunnel: Arc<str>,
        /// Name of the interface that is strict.
        interface: Arc<str>,
    },
    /// A parameter that the configuration asks for has another value, and could not be set.
    NotSet {
        /// What it was to be, and why it is not.
        unset: Unset,
        /// What it is; `None` if there is none.
        is: Option<i64>,
    },
}

/// What is found, and for each the interfaces that it is about, if these are many.
pub type Findings = BTreeMap<Finding, BTreeSet<String>>;

/// What differs between two judgements, as far as it is worth telling: each finding once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct News {
    /// Findings that were not there before.
    pub found: Findings,
    /// Findings that are no longer there.
    pub mended: Vec<Finding>,
    /// How many there are now.
    pub open: usize,
}

/// Keeps what is known of the host, and what was told.
#[derive(Debug, Default)]
pub struct Prerequisites {
    host: Option<Host>,
    pods: Option<Pods>,
    judged: bool,
    told: Findings,
}

impl Prerequisites {
    /// The host is like this now.
    pub fn host_is(&mut self, host: Host) {
        self.judged &= self.host.as_ref() == Some(&host);
        self.host = Some(host);
    }

    /// Pods are known like this now.
    pub fn pods_are(&mut self, pods: Pods) {
        self.judged &= self.pods.as_ref() == Some(&pods);
        self.pods = Some(pods);
    }

    /// Judges again if anything is different; not before all is known.
    pub fn news(&mut self) -> Option<News> {
        let (false, Some(host), Some(pods)) = (self.judged, &self.host, &self.pods) else { return None };
        let now = judge(host, pods);
        let before = std::mem::replace(&mut self.told, now.clone());
        self.judged = true;
        let open = now.len();
        let found = now.into_iter().filter(|(finding, _)| !before.contains_key(finding)).collect();
        let mended = before.into_keys().filter(|finding| !self.told.contains_key(finding)).collect();
        Some(News { found, mended, open })
    }
}

/// What is missing.
pub fn judge(host: &Host, pods: &Pods) -> Findings {
    let mut found = Findings::new();
    found.extend(not_forwarding(host).map(|finding| (finding, BTreeSet::new())));
    for (index, bridge) in &host.links {
        if let Kind::Bridge(own) = bridge.kind
            && has_pods(host, *index, bridge, pods)
        {
            found.extend(on_bridge(host, *index, bridge, own));
        }
    }
    found.extend(strict_return_paths(host).map(|finding| (finding, BTreeSet::new())));
    found.extend(not_set(host).map(|finding| (finding, BTreeSet::new())));
    found
}

/// A limit that somebody else has raised further does no harm.
fn not_set(host: &Host) -> impl Iterator<Item = Finding> {
    let serves = |unset: &Unset, is: i64| {
        is == unset.write.value || (unset.write.path == MAX && is > unset.write.value)
    };
    let differs = move |(unset, is): &&(Unset, Option<i64>)| is.is_none_or(|is| !serves(unset, is));
    host.unset.iter().filter(differs).map(|(unset, is)| Finding::NotSet { unset: unset.clone(), is: *is })
}

fn not_forwarding(host: &Host) -> impl Iterator<Item = Finding> {
    let in_use = |family: &Family| host.links.values().any(|link| has_address(link, *family));
    let silent = |family: &Family| !host.forwards[family.index()];
    Family::ALL.into_iter().filter(silent).filter(in_use).map(Finding::NotForwarding)
}

/// A bridge that pods are known to be behind: by its address, or by its name if it has veth ports.
fn has_pods(host: &Host, index: u32, bridge: &Link, pods: &Pods) -> bool {
    let by_source = |sources: &LocalSources| match sources {
        LocalSources::Unknown => false,
        LocalSources::Prefix(prefix) => lies_in(bridge, prefix),
        LocalSources::Interface(name) => **name == *bridge.name && ports(host, index).next().is_some(),
        LocalSources::InterfacePrefix(start) => {
            bridge.name.starts_with(&**start) && ports(host, index).next().is_some()
        }
    };
    pods.sources.iter().any(by_source) || pods.prefixes.iter().any(|prefix| lies_in(bridge, prefix))
}

fn lies_in(link: &Link, prefix: &IpNet) -> bool {
    link.addresses.iter().any(|address| prefix.contains(&address.addr()) || prefix.contains(address))
}

/// The veth ports of a bridge.
fn ports(host: &Host, bridge: u32) -> impl Iterator<Item = (&Link, Port)> {
    let port = move |link: &'_ Link| link.port_of.filter(|port| port.bridge == bridge);
    let veths = host.links.values().filter(|link| link.kind == Kind::Veth);
    veths.filter_map(move |link| Some((link, port(link)?)))
}

fn on_bridge(host: &Host, index: u32, bridge: &Link, own: [bool; 2]) -> Findings {
    let name: Arc<str> = bridge.name.as_str().into();
    let used = |family: &Family| has_address(bridge, *family);
    let (filtered, not): (Vec<Family>, Vec<Family>) =
        Family::ALL.into_iter().filter(used).partition(|family| {
            let loaded = host.bridge_filter[family.index()];
            loaded.is_some_and(|all| all || own[family.index()])
        });
    let not_filtered = |family: Family| {
        let loaded = host.bridge_filter[family.index()].is_some();
        (Finding::BridgeNotFiltered { bridge: name.clone(), family, loaded }, BTreeSet::new())
    };
    let mut found: Findings = not.into_iter().map(not_filtered).collect();
    let one_way = ports(host, index).filter(|(_, port)| !port.hairpin);
    let one_way: BTreeSet<String> = one_way.map(|(link, _)| link.name.clone()).collect();
    if !filtered.is_empty() && !one_way.is_empty() {
        found.insert(Finding::NoHairpin { bridge: name }, one_way);
    }
    found
}

/// IPv6 has no such filter, so only tunnels with IPv4 inside matter.
fn strict_return_paths(host: &Host) -> impl Iterator<Item = Finding> {
    host.links.iter().filter(|(_, link)| has_address(link, Family::V4)).flat_map(|(index, tunnel)| {
        let both = match tunnel.kind {
            Kind::Tunnel(over) => [Some(*index), over],
            _ => [None, None],
        };
        let strict = both.into_iter().flatten().filter_map(|index| host.links.get(&index));
        strict.filter(|link| link.strict_return_path).map(|link| Finding::StrictReturnPath {
            tunnel: tunnel.name.as_str().into(),
            interface: link.name.as_str().into(),
        })
    })
}

fn has_address(link: &Link, family: Family) -> bool {
    link.addresses.iter().any(|address| Family::of(address.addr()) == family)
}

impl Finding {
    /// A short name, the same for all findings of the kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Finding::NotForwarding(_) => "not-forwarding",
            Finding::BridgeNotFiltered { .. } => "bridge-not-filtered",
            Finding::NoHairpin { .. } => "no-hairpin",
            Finding::StrictReturnPath { .. } => "strict-return-path",
            Finding::NotSet { .. } => "not-set",
        }
    }

    /// Whether next to nothing works until it is mended.
    pub const fn is_grave(&self) -> bool {
        matches!(self, Finding::NotForwarding(_))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::NotForwarding(family) => {
                let sysctl = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"][family.index()];
                write!(f, "{sysctl} is 0: pods and clients outside do not reach Services through this node")
            }
            Finding::BridgeNotFiltered { bridge, family, loaded } => {
                let sysctl = ["bridge-nf-call-iptables", "bridge-nf-call-ip6tables"][family.index()];
                write!(
                    f,
                    "pods on {bridge} that talk to a Service with an endpoint on the same bridge will not get "
                )?;
                match loaded {
                    true => write!(f, "answers over {family}: net.bridge.{sysctl} is 0"),
                    false => write!(f, "answers over {family}: br_netfilter is not loaded"),
                }
            }
            Finding::NoHairpin { bridge } => {
                let what = "that is picked as endpoint of its own connection will not get an answer";
                write!(f, "a pod on {bridge} {what}: its port has no hairpin mode")
            }
            Finding::NotSet { unset, is } => {
                write!(f, "{} is not set", unset.write)?;
                if let Some(is) = is {
                    write!(f, ", {} is {is}", name(unset.write.path))?;
                }
                write!(f, " ({}): run `kubeweir --init-only` with the same configuration in a ", unset.why)?;
                write!(f, "privileged init container of a new pod, or set it on the host")
            }
            Finding::StrictReturnPath { tunnel, interface } => {
                write!(
                    f,
                    "net.ipv4.conf.{interface}.rp_filter is 1 beside the tunnel {tunnel}: unless the pods' network "
                )?;
                write!(
                    f,
                    "masquerades what they send to nodes, endpoints in other nodes' own network do not answer pods"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests;
