//! Rules that count what the table has translated, each connection and each packet once.
//!
//! A packet belongs to the frontend that its connection's first packet was sent to, which connection tracking keeps. What the
//! table has translated passes, in either direction, the postrouting hook once when it leaves this node, or the input hook once
//! when it ends here; what never leaves the node passes both, and comes in through `lo` then. Chains of NAT see one packet of each
//! connection, and run before those of others, which could end it.

use std::collections::BTreeMap;

use kubeweir_netfilter::expr::Verdict;
use kubeweir_netfilter::{Chain, Element, Elements, Field, HookPoint, Key, Match, Rule, Statement};
use kubeweir_plan::{NodePortAddresses, Protocol};

use super::{Build, base, goto, in_set, jump, plain, verdict};
use crate::names::{Counted, Place, SetId};

/// Before NAT of anybody: the first chain of NAT that translates is the last that sees the packet.
const BEFORE_ALL_NAT: i32 = -150;
/// Behind all filters: what is dropped was not served.
const BEHIND_FILTERS: i32 = 250;

const CONNECTION: &str = "count-connection";
const IN: &str = "count-traffic-in";
const OUT: &str = "count-traffic-out";
/// What never leaves the node comes in through it.
const LOOPBACK: &str = "lo";

impl Build<'_> {
    pub(super) fn counting_chains(&self) -> BTreeMap<String, Chain> {
        let translated = || Statement::Match(Match::DestinationTranslated);
        let connection = || vec![self.rule([translated(), jump(CONNECTION)])];
        let elsewhere = Statement::Match(Match::NotInputInterface(LOOPBACK.to_owned()));
        let left = vec![self.rule([translated(), jump(IN)])];
        let ended = vec![self.rule([elsewhere, translated(), jump(IN)]).comment("or it is counted already")];
        let answer = self.rule([Statement::Match(Match::Reply), goto(OUT)]);
        let inward = [answer].into_iter().chain(self.counted(Counted::In)).collect();
        let nat = |name, point| base(name, true, point, BEFORE_ALL_NAT, connection());
        BTreeMap::from([
            nat("count-input-connections", HookPoint::Input),
            nat("count-postrouting-connections", HookPoint::Postrouting),
            base("count-input-traffic", false, HookPoint::Input, BEHIND_FILTERS, ended),
            base("count-postrouting-traffic", false, HookPoint::Postrouting, BEHIND_FILTERS, left),
            plain(CONNECTION, self.counted(Counted::Connections)),
            plain(IN, inward),
            plain(OUT, self.counted(Counted::Out)),
        ])
    }

    /// An address's own frontends come before NodePorts, as they do in translation.
    fn counted(&self, what: Counted) -> Vec<Rule> {
        let service = vec![Field::OriginalAddress, Field::Protocol, Field::OriginalPort];
        let set = |place| SetId::Counted(place, what);
        let of = |protocol: Protocol| Statement::Match(Match::Protocol(protocol.number()));
        let services = Protocol::ALL.map(|protocol| {
            let found = in_set(service.clone(), set(Place::Service));
            self.rule([of(protocol), found, verdict(Verdict::Return)])
        });
        let node_ports = Protocol::ALL.map(|protocol| {
            let here = in_set(service[..1].to_vec(), SetId::CountedNodeIps);
            self.rule([of(protocol), here, in_set(service[1..].to_vec(), set(Place::NodePort))])
        });
        services.into_iter().chain(node_ports).collect()
    }

    /// Where NodePorts answer, address for address.
    pub(super) fn counted_node_ips(&self) -> Elements {
        let addresses = match &self.node.node_port_addresses[self.index()] {
            NodePortAddresses::AllLocal => &*self.node.own_addresses,
            NodePortAddresses::Only(addresses) => addresses,
        };
        let mine = |address: &&std::net::IpAddr| kubeweir_netfilter::Family::of(**address) == self.family;
        addresses.iter().filter(mine).map(|address| Element::of_set(Key::EMPTY.address(*address))).collect()
    }
}
