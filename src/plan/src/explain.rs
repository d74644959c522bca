//! The oracle's answer in words: where a packet would go, and why.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::address::FrontendAddress;
use crate::names::{Family, PortKey};
use crate::oracle::{self, Found, Outcome, Packet, Why};
use crate::plan::{
    Client, Clients, Frontend, LocalSources, NodePortAddresses, Plan, PortPlan, Scope, ServicePlan, Verdict,
};

/// A packet's way, for people: some lines of text, the last of which say why.
///
/// Answers from the plan alone, so it holds for every mode, and for what the plan's commit was refused for too.
pub fn explain(plan: &Plan, packet: &Packet) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = tell(plan, packet, &mut text);
    text
}

fn tell(plan: &Plan, packet: &Packet, out: &mut String) -> fmt::Result {
    let Packet { source, destination, protocol, .. } = packet;
    let client = oracle::client(&plan.node, packet);
    writeln!(out, "packet:   {source} -> {destination}/{protocol}")?;
    writeln!(out, "client:   {}", who(plan, packet, client))?;
    let found = oracle::find(plan, packet);
    if let Some(Found { port, frontend }) = &found {
        writeln!(out, "frontend: {} ({})", port.key, place(frontend))?;
    }
    let outcome = oracle::outcome(plan, packet);
    writeln!(out, "outcome:  {}", headline(&outcome))?;
    if let Outcome::Forwarded { targets, .. } = &outcome {
        targets.iter().try_for_each(|target| writeln!(out, "          {target}"))?;
    }
    for reason in reasons(plan, packet, client, found.as_ref(), &outcome) {
        writeln!(out, "because:  {reason}")?;
    }
    Ok(())
}

fn who(plan: &Plan, packet: &Packet, client: Client) -> String {
    let sources = &plan.node.local_sources[Family::of(packet.source).index()];
    match (client, sources) {
        (Client::Pod, LocalSources::Prefix(prefix)) => format!("a pod: its address is in {prefix}"),
        (Client::Pod, LocalSources::Interface(name)) => format!("a pod: it came in through {name}"),
        (Client::Pod, LocalSources::InterfacePrefix(prefix)) => {
            format!("a pod: it came in through an interface named {prefix}…")
        }
        (Client::Node, _) => "this node itself: the address is one of its own".to_owned(),
        (_, LocalSources::Unknown) => "not known to be a pod: nothing says how pods are told".to_owned(),
        (_, LocalSources::Prefix(prefix)) => format!("not a pod: its address is not in {prefix}"),
        (_, LocalSources::Interface(name) | LocalSources::InterfacePrefix(name)) => {
            format!("not a pod: it did not come in through {name}")
        }
    }
}

fn place(frontend: &Frontend) -> String {
    match (frontend.address, frontend.scope) {
        (FrontendAddress::Ip(address), Scope::Internal) => {
            format!("its ClusterIP {address}, port {}", frontend.port)
        }
        (FrontendAddress::Ip(address), Scope::External) => {
            format!("its external address {address}, port {}", frontend.port)
        }
        (FrontendAddress::Node(_), _) => format!("its NodePort {}", frontend.port),
    }
}

fn headline(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Forwarded { targets, masqueraded, .. } => {
            let source = if *masqueraded {
                "which sees this node's address"
            } else {
                "which sees the client's address"
            };
            format!("forwarded to one of {} endpoints, {source}", targets.len())
        }
        Outcome::Rejected(_) => "rejected with an ICMP error".to_owned(),
        Outcome::Dropped(_) => "dropped".to_owned(),
        Outcome::Untouched => "not ours: the packet goes wherever routing takes it".to_owned(),
    }
}

fn reasons(
    plan: &Plan,
    packet: &Packet,
    client: Client,
    found: Option<&Found<'_>>,
    outcome: &Outcome,
) -> Vec<String> {
    match (outcome, found) {
        (Outcome::Forwarded { targets, .. }, Some(Found { frontend, .. })) => {
            let mut reasons = vec![choice(frontend, client), source(frontend, client)];
            if may_return_to_itself(frontend.verdict(client), packet) && targets.len() > 1 {
                reasons.push(format!(
                    "the endpoint at {} would see this node if it is the one picked",
                    packet.source
                ));
            }
            reasons.extend(affinity(frontend, client));
            reasons
        }
        (Outcome::Rejected(why) | Outcome::Dropped(why), found) => vec![refusal(plan, packet, found, *why)],
        _ => vec![untouched(plan, packet)],
    }
}

/// Whether the client is an endpoint on this node that its own connection may be sent back to.
fn may_return_to_itself(verdict: &Verdict, packet: &Packet) -> bool {
    let Verdict::Forward(pool) = verdict else { return false };
    pool.targets.iter().any(|target| target.local && target.address == packet.source)
}

/// Which endpoints there are to choose from.
fn choice(frontend: &Frontend, client: Client) -> String {
    match (frontend.inside == frontend.outside, client) {
        (true, _) if frontend.scope == Scope::External && frontend.masquerade == Clients::ALL => {
            "the external traffic policy is Cluster: each of these may be picked".to_owned()
        }
        (true, _) => "these are the endpoints that the Service offers to this node's clients".to_owned(),
        (false, Client::Outside) => {
            "the external traffic policy is Local: clients from outside get endpoints on this node only".to_owned()
        }
        (false, _) => {
            "the external traffic policy is Local, which binds clients from outside only: for this one the address stands \
             for the whole Service"
                .to_owned()
        }
    }
}

/// Why the client's address is kept or replaced.
fn source(frontend: &Frontend, client: Client) -> String {
    let clients = frontend.masquerade;
    let text = match (frontend.scope, clients.contains(client), client) {
        (Scope::Internal, true, _) if clients == Clients::ALL => {
            "masquerading is asked for all traffic to ClusterIPs"
        }
        (Scope::Internal, true, _) => {
            "clients of a ClusterIP that are not pods are masqueraded, so that answers come back this way"
        }
        (Scope::Internal, false, _) if clients == Clients::NONE => {
            "nobody is masqueraded on the way to a ClusterIP where pods cannot be told from others"
        }
        (Scope::Internal, false, _) => "pods keep their address on the way to a ClusterIP",
        (Scope::External, true, Client::Node) if clients == Clients::NODE => {
            "this node's own traffic is masqueraded: the address it was sent from may mean nothing elsewhere"
        }
        (Scope::External, true, _) => {
            "under external traffic policy Cluster every client is masqueraded, since the endpoint may be elsewhere"
        }
        (Scope::External, false, _) => "under external traffic policy Local clients keep their address",
    };
    text.to_owned()
}

fn affinity(frontend: &Frontend, client: Client) -> Option<String> {
    match frontend.verdict(client) {
        Verdict::Forward(pool) => {
            let seconds = pool.affinity?;
            Some(format!(
                "session affinity: a client keeps its endpoint until {seconds} s after its last connection"
            ))
        }
        _ => None,
    }
}

fn refusal(plan: &Plan, packet: &Packet, found: Option<&Found<'_>>, why: Why) -> String {
    let address = packet.destination.ip();
    match (why, found) {
        (Why::Source, Some(Found { frontend, .. })) => {
            let ranges: Vec<String> = frontend
                .allowed_sources
                .iter()
                .flat_map(|ranges| ranges.iter())
                .map(IpNet::to_string)
                .collect();
            match ranges.as_slice() {
                [] => format!("the Service's source ranges name nobody of {}", Family::of(address)),
                some => {
                    format!("{} is not in the Service's source ranges {}", packet.source, some.join(", "))
                }
            }
        }
        (Why::NoEndpoints, Some(Found { frontend, .. })) if frontend.inside != frontend.outside => {
            "the external traffic policy is Local, and no endpoint on this node is ready".to_owned()
        }
        (Why::NoEndpoints, Some(Found { frontend, .. })) if frontend.inside == Verdict::Drop => {
            "the traffic policy is Local, and no endpoint on this node is ready".to_owned()
        }
        (Why::UnusedPort, _) => {
            let owner = plan.services.iter().find(|(_, service)| service.cluster_ips.contains(&address));
            let owner = owner.map(|(name, service)| format!("{name}, which has {}", ports(service, address)));
            format!("{address} is the ClusterIP of {}", owner.unwrap_or_default())
        }
        (Why::Unallocated, _) => {
            let prefix = plan.node.service_prefixes.iter().find(|prefix| prefix.contains(&address));
            let prefix = prefix.map(IpNet::to_string).unwrap_or_default();
            format!("no Service has {address}, which is in the Service prefix {prefix}")
        }
        _ => "no endpoint of the port is ready, or still serves while it terminates".to_owned(),
    }
}

fn ports(service: &ServicePlan, address: IpAddr) -> String {
    let internal = |port: &PortPlan| {
        let mine = port.frontends.iter().find(|frontend| frontend.address == FrontendAddress::Ip(address))?;
        Some(format!("{}/{}", mine.port, port.key.protocol))
    };
    let ports: Vec<String> = service.ports.iter().filter_map(internal).collect();
    if ports.is_empty() { "no ports".to_owned() } else { format!("only {}", ports.join(", ")) }
}

/// What comes close to the packet, if anything does.
fn untouched(plan: &Plan, packet: &Packet) -> String {
    let family = Family::of(packet.destination.ip());
    let ports = plan.services.values().flat_map(|service| &service.ports);
    let has_node_port = |port: &&PortPlan| {
        let is_it =
            |f: &Frontend| f.address == FrontendAddress::Node(family) && f.port == packet.destination.port();
        port.key.protocol == packet.protocol && port.frontends.iter().any(is_it)
    };
    let node_port: Option<&PortKey> =
        ports.filter(|port| port.family == family).find(has_node_port).map(|p| &p.key);
    match (node_port, &plan.node.node_port_addresses[family.index()]) {
        (Some(key), NodePortAddresses::AllLocal) => {
            format!("{key} has this NodePort, but {} is not an address of this node", packet.destination.ip())
        }
        (Some(key), NodePortAddresses::Only(addresses)) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            format!("{key} has this NodePort, but NodePorts answer on {} only", listed(&addresses))
        }
        (None, _) => "no Service has this address and port".to_owned(),
    }
}

fn listed(items: &[String]) -> String {
    if items.is_empty() { "no address".to_owned() } else { items.join(", ") }
}

#[cfg(test)]
mod tests;
