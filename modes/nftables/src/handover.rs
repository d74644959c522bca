//! What of a plan the table leaves to virtual servers.
//!
//! IPVS mode uses this table too. There a virtual server translates what is the same for all clients; the table still
//! marks, filters and refuses, and translates itself what a virtual server cannot:
//!
//! - packets of clients outside under policy Local: a virtual server has one list of endpoints for everybody;
//! - packets to an address that is another Node's: they never come to this host, and must not be made to, since the host
//!   could not reach that Node any more.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use kubeweir_netfilter::Table;
use kubeweir_plan::{Family, Frontend, FrontendAddress, Holder, NodePlan, NodePortAddresses};

use crate::frontends::is_split;
use crate::layout::{Options, Translation};
use crate::names::SetId;
use crate::programmed::Observed;

/// Which frontends are virtual servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandOver {
    to_servers: bool,
    /// Addresses on which NodePorts are virtual servers; none where rules translate them.
    node_ports: [Arc<[IpAddr]>; 2],
    /// Whether the table counts what it translates.
    counts: bool,
}

impl HandOver {
    /// For a node. NodePorts are virtual servers unless one of their addresses is on no interface, so that packets to it
    /// pass by.
    pub fn new(node: &NodePlan, options: Options) -> HandOver {
        if options.translation == Translation::Rules {
            return HandOver { counts: options.counters, ..HandOver::default() };
        }
        HandOver {
            to_servers: true,
            node_ports: Family::ALL.map(|family| node_port_addresses(node, family)),
            counts: options.counters,
        }
    }

    /// Whether there are virtual servers at all.
    pub fn is_to_servers(&self) -> bool {
        self.to_servers
    }

    /// Whether a virtual server translates what the frontend forwards for clients inside, and for all if these are not told
    /// apart.
    pub fn is_handed_over(&self, frontend: &Frontend) -> bool {
        self.to_servers
            && match frontend.address {
                FrontendAddress::Ip(address) => frontend.holder != Holder::AnotherNode && is_unicast(address),
                FrontendAddress::Node(family) => !self.node_ports[family.index()].is_empty(),
            }
    }

    /// Whether the table counts what it translates of the frontend. Virtual servers count for themselves.
    pub fn counts(&self, frontend: &Frontend) -> bool {
        self.counts && (!self.is_handed_over(frontend) || is_split(frontend))
    }

    /// The addresses of the frontend's virtual servers.
    pub fn addresses<'a>(&'a self, frontend: &'a Frontend) -> &'a [IpAddr] {
        match &frontend.address {
            _ if !self.is_handed_over(frontend) => &[],
            FrontendAddress::Ip(address) => std::slice::from_ref(address),
            FrontendAddress::Node(family) => &self.node_ports[family.index()],
        }
    }

    /// The address that this node takes on for the frontend.
    pub fn bound(&self, frontend: &Frontend) -> Option<IpAddr> {
        match frontend.address {
            FrontendAddress::Ip(address) if frontend.holder == Holder::Nobody => {
                (self.to_servers && is_unicast(address)).then_some(address)
            }
            _ => None,
        }
    }
}

/// Whether the address can be one host's.
pub fn is_unicast(address: IpAddr) -> bool {
    let nowhere = match address {
        IpAddr::V4(v4) => v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unspecified(),
    };
    !nowhere && !address.is_multicast()
}

/// The virtual servers that tables say are ours, by protocol number and place: whoever starts anew knows them by this.
pub fn recorded(tables: &Observed) -> impl Iterator<Item = (u8, SocketAddr)> + '_ {
    let sets = [SetId::VirtualServers, SetId::NodePortServers].map(|id| id.to_string());
    let found = move |table: &'_ Table| sets.clone().map(|name| table.sets.get(&name).cloned());
    let found = tables.iter().flatten().flat_map(move |table| found(table).into_iter().flatten());
    found.flat_map(|set| {
        set.elements.iter().filter_map(|element| place(element.key.as_slice())).collect::<Vec<_>>()
    })
}

/// An address, a protocol and a port, each in registers of four bytes.
pub(crate) fn place(key: &[u8]) -> Option<(u8, SocketAddr)> {
    let (address, rest) = key.split_at_checked(key.len().checked_sub(8)?)?;
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
    };
    Some((rest[0], SocketAddr::new(address, u16::from_be_bytes([rest[4], rest[5]]))))
}

fn node_port_addresses(node: &NodePlan, family: Family) -> Arc<[IpAddr]> {
    let mine = |address: &&IpAddr| Family::of(**address) == family;
    match &node.node_port_addresses[family.index()] {
        NodePortAddresses::AllLocal => node.own_addresses.iter().filter(mine).copied().collect(),
        NodePortAddresses::Only(addresses) if addresses.is_subset(&node.own_addresses) => {
            addresses.iter().copied().collect()
        }
        NodePortAddresses::Only(_) => Arc::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_one_host_can_have_is_taken_on() {
        let is = |text: &str| is_unicast(text.parse().unwrap());
        assert!(["10.96.0.1", "203.0.113.255", "fd00::1"].into_iter().all(is));
        let not = ["0.1.2.3", "255.255.255.255", "239.0.0.7", "::", "ff0e::1"];
        assert!(!not.into_iter().any(is));
    }
}
