//! The table without its Services: chains, rules and set declarations.
//!
//! Rules that keep clients to their endpoint are in [`sticky`].
//!
//! ```text
//! prerouting -110, output -110   new connections to @filtered-services from elsewhere than @allowed-sources: drop
//! prerouting -100, output -100   services: to a ClusterIP, an external address or a NodePort?
//!                                  -> masquerade mark, policy Local -> pick-…: class of the frontend -> dnat
//! input, forward, output 0       new connections still addressed to a frontend: drop or reject
//! postrouting 100                marked, or an endpoint to itself: masquerade
//! ```

mod beside;
mod counting;
mod sticky;

use std::collections::{BTreeMap, BTreeSet};

use kubeweir_netfilter::expr::Verdict;
use kubeweir_netfilter::{
    Chain, Element, Elements, Family, Field, Hook, HookPoint, Key, Match, Rule, Set, Statement, Table,
};
use kubeweir_plan::{Client, Clients, LocalSources, NodePlan, NodePortAddresses};

use crate::affinity::IDENTITY_BITS;
use crate::names::{
    List, Place, SERVICES, SetId, TABLE, TABLE_BESIDE_SERVERS, is_exact, pick_chain, policy_local_chain,
    slot, slot_fields, source_fields, sticky_chain, throw_chain,
};

/// What the layout depends on besides the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The bit of the packet mark that says "masquerade me". Other bits are never touched.
    pub masquerade_mark: u32,
    /// Who translates.
    pub translation: Translation,
    /// Whether the table counts connections and packets of each frontend.
    pub counters: bool,
    /// Whether no other program may translate what is for virtual servers. Not before these are there: until then
    /// whoever served it goes on.
    pub(crate) claims: bool,
}

/// Who translates packets to Services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Translation {
    /// The table's own rules.
    Rules,
    /// Virtual servers, as far as [`HandOver`](crate::handover::HandOver) says; the table does the rest.
    VirtualServers,
}

impl Options {
    /// Of nftables mode.
    pub const fn rules(masquerade_mark: u32) -> Options {
        Options { masquerade_mark, translation: Translation::Rules, counters: false, claims: false }
    }

    /// Of the table beside virtual servers.
    pub const fn beside_servers(masquerade_mark: u32) -> Options {
        Options { masquerade_mark, translation: Translation::VirtualServers, counters: false, claims: true }
    }

    /// The same, counting or not.
    #[must_use]
    pub const fn counting(self, counters: bool) -> Options {
        Options { counters, ..self }
    }

    /// The same, but others may still translate what is for virtual servers.
    pub(crate) const fn without_claims(self) -> Options {
        Options { claims: false, ..self }
    }

    /// Name of the table.
    pub const fn table(self) -> &'static str {
        match self.translation {
            Translation::Rules => TABLE,
            Translation::VirtualServers => TABLE_BESIDE_SERVERS,
        }
    }

    /// Name of the table that the other mode has.
    pub const fn table_of_other_mode(self) -> &'static str {
        match self.translation {
            Translation::Rules => TABLE_BESIDE_SERVERS,
            Translation::VirtualServers => TABLE,
        }
    }
}

/// What the layout follows of the Services: what kinds of frontends there are, never how many.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Classes of endpoint counts, by where and in which list.
    pub classes: BTreeSet<(Place, List, u32)>,
    /// Seconds for which clients keep their endpoint, by where.
    pub affinities: BTreeSet<(Place, u32)>,
}

const DESTINATION_NAT: i32 = -100;
const SOURCE_NAT: i32 = 100;
const FILTER: i32 = 0;
/// Before destination NAT, but behind connection tracking.
const BEFORE_NAT: i32 = -110;
/// Behind IPVS at the input hook, which is at 98 and 99.
const BEHIND_SERVERS: i32 = 150;
/// How often an endpoint is drawn for a frontend of an inexact class. More than half of its slots are taken, so that
/// all draws fail for one connection in 65,536; the first endpoint takes that one.
const THROWS: usize = 16;

/// The table of one family, with the node's own elements and without any Service's.
pub fn table(family: Family, node: &NodePlan, used: &Used, options: Options) -> Table {
    let Options { masquerade_mark: mark, translation, claims, counters: _ } = options;
    let build = Build { family, node, used, mark, translation, claims };
    let mut table = Table::new(family, options.table());
    let beside = build.is_beside_servers().then_some(SetId::BESIDE_SERVERS).into_iter().flatten();
    let counting = options.counters.then(SetId::counting).into_iter().flatten();
    for id in SetId::fixed().chain(beside).chain(used.sets()).chain(counting) {
        let elements = match id {
            SetId::NodePortIps => build.node_port_ips(),
            SetId::CountedNodeIps => build.counted_node_ips(),
            _ => Elements::default(),
        };
        table.sets.insert(id.to_string(), Set { kind: id.kind(family), elements });
    }
    table.chains = build.base_chains();
    table.chains.extend(build.service_chains());
    if options.counters {
        table.chains.extend(build.counting_chains());
    }
    for (place, list) in Place::ALL.into_iter().flat_map(|place| List::ALL.map(|list| (place, list))) {
        table.chains.extend(build.pick_chains(place, list));
        table.chains.extend(build.sticky_chains(place, list));
    }
    table
}

impl Used {
    /// The sets that exist because of it.
    fn sets(&self) -> impl Iterator<Item = SetId> {
        let slots = self.classes.iter().map(|(place, list, class)| SetId::Slots(*place, *list, *class));
        let sticky = self.affinities.iter().map(|(place, seconds)| SetId::Sticky(*place, *seconds));
        let places: BTreeSet<Place> = self.affinities.iter().map(|(place, _)| *place).collect();
        let memory = places.into_iter().flat_map(|place| {
            let lists = List::ALL.into_iter();
            let lists = lists
                .flat_map(move |list| [SetId::StickySlots(place, list), SetId::StickyEndpoints(place, list)]);
            lists.chain([SetId::Affinity(place)])
        });
        slots.chain(sticky).chain(memory)
    }

    fn classes_of(&self, place: Place, list: List) -> impl Iterator<Item = u32> {
        let mine = self.classes.iter().filter(move |(p, l, _)| (*p, *l) == (place, list));
        mine.map(|(_, _, class)| *class)
    }

    fn affinities_of(&self, place: Place) -> impl Iterator<Item = u32> {
        self.affinities.iter().filter(move |(p, _)| *p == place).map(|(_, seconds)| *seconds)
    }
}

pub(crate) struct Build<'a> {
    family: Family,
    node: &'a NodePlan,
    used: &'a Used,
    mark: u32,
    translation: Translation,
    claims: bool,
}

impl Build<'_> {
    fn index(&self) -> usize {
        match self.family {
            Family::Ip => kubeweir_plan::Family::V4.index(),
            Family::Ip6 => kubeweir_plan::Family::V6.index(),
        }
    }

    fn rule(&self, statements: impl IntoIterator<Item = Statement>) -> Rule {
        Rule::new(self.family, &statements.into_iter().collect::<Vec<_>>())
    }

    fn node_port_ips(&self) -> Elements {
        match &self.node.node_port_addresses[self.index()] {
            NodePortAddresses::AllLocal => Elements::default(),
            NodePortAddresses::Only(addresses) => {
                addresses.iter().map(|address| Element::of_set(Key::EMPTY.address(*address))).collect()
            }
        }
    }

    fn base_chains(&self) -> BTreeMap<String, Chain> {
        let to_services = self.rule([jump(SERVICES)]);
        let input = [self.unserved(), self.unserved_node_ports()].into_iter().chain(self.shield()).collect();
        // Other programs translate at the usual place; what virtual servers have must not get there.
        let nat = if self.is_beside_servers() { DESTINATION_NAT - 1 } else { DESTINATION_NAT };
        let before_nat = |point, rules| (false, point, BEFORE_NAT, rules);
        let filter = |point, rules| (false, point, FILTER, rules);
        let mut chains = BTreeMap::from([
            ("filter-prerouting-pre-dnat", before_nat(HookPoint::Prerouting, self.source_filter())),
            ("nat-prerouting", (true, HookPoint::Prerouting, nat, vec![to_services.clone()])),
            ("nat-postrouting", (true, HookPoint::Postrouting, SOURCE_NAT, self.masquerade())),
            ("filter-input", filter(HookPoint::Input, input)),
            ("filter-forward", filter(HookPoint::Forward, self.through())),
        ]);
        let (mut nat_output, mut output) = (vec![to_services], self.through());
        if self.is_beside_servers() {
            (nat_output, output) = (self.own_packets(nat_output), vec![self.closed()]);
        } else {
            let own = before_nat(HookPoint::Output, self.source_filter());
            chains.insert("filter-output-pre-dnat", own);
        }
        if let Some(rules) = self.behind_servers() {
            chains.insert("filter-input-behind-servers", (false, HookPoint::Input, BEHIND_SERVERS, rules));
        }
        chains.insert("nat-output", (true, HookPoint::Output, nat, nat_output));
        chains.insert("filter-output", filter(HookPoint::Output, output));
        let chain =
            |(name, (translates, point, priority, rules))| base(name, translates, point, priority, rules);
        chains.into_iter().map(chain).collect()
    }

    fn unserved(&self) -> Rule {
        self.rule(untouched().chain([jump("no-endpoints")]))
    }

    /// The address is matched here and not beside the port: nft cannot read both in one rule.
    fn unserved_node_ports(&self) -> Rule {
        let at = self.at_node_port_address();
        self.rule(untouched().chain(at).chain([jump("no-nodeport-endpoints")]))
    }

    /// For packets to other hosts and from this one. An address's own frontends come before NodePorts, as they do in
    /// translation. NodePort addresses that are named need not be on an interface: packets to those go through.
    fn through(&self) -> Vec<Rule> {
        let named = matches!(&self.node.node_port_addresses[self.index()], NodePortAddresses::Only(_));
        let node_ports = named.then(|| self.unserved_node_ports());
        [self.unserved()].into_iter().chain(node_ports).chain([self.closed()]).collect()
    }

    fn closed(&self) -> Rule {
        self.rule(untouched().chain([jump("closed-ports")]))
    }

    fn source_filter(&self) -> Vec<Rule> {
        let not_allowed = Match::NotInSet { key: source_fields(), set: SetId::Allowed.to_string() };
        let filtered = frontend_in(Place::Service, SetId::Filtered);
        vec![self.rule([new(), filtered, Statement::Match(not_allowed), verdict(Verdict::Drop)])]
    }

    fn masquerade(&self) -> Vec<Rule> {
        let marked = Statement::Match(Match::Mark(self.mark));
        let kept = Statement::Match(Match::Priority(IDENTITY_BITS));
        let kept = self.rule([kept, Statement::ClearPriority]).comment("it has served its purpose");
        let has_affinity = !self.used.affinities.is_empty();
        let marked = self.rule([marked, Statement::FlipMark(self.mark), Statement::Masquerade]);
        has_affinity.then_some(kept).into_iter().chain([marked]).chain(self.to_itself()).collect()
    }

    fn service_chains(&self) -> BTreeMap<String, Chain> {
        let shield = self.is_beside_servers().then(|| plain(beside::CLOSED, self.closed_server_ports()));
        let chains = BTreeMap::from([
            plain(SERVICES, self.services()),
            plain("external", self.external()),
            plain("nodeports", self.node_ports()),
            plain(&policy_local_chain(Place::Service), self.policy_local(Place::Service)),
            plain(&policy_local_chain(Place::NodePort), self.policy_local(Place::NodePort)),
            plain("no-endpoints", self.no_endpoints(Place::Service)),
            plain("no-nodeport-endpoints", self.no_endpoints(Place::NodePort)),
            plain("closed-ports", self.closed_ports()),
        ]);
        chains.into_iter().chain(shield).collect()
    }

    fn services(&self) -> Vec<Rule> {
        let to = |id| in_set(vec![Field::DestinationAddress], id);
        // First, since an external address may be another Service's ClusterIP: the frontend decides, not the address.
        let mut rules = vec![self.rule([to(SetId::ExternalIps), jump("external")])];
        if let Some(clients) = self.masqueraded_inside() {
            let statements = [to(SetId::ClusterIps)].into_iter().chain(clients).chain([self.set_mark()]);
            rules.push(self.rule(statements));
        }
        rules.push(self.rule([to(SetId::ClusterIps), goto(&pick_chain(Place::Service, List::Main))]));
        rules.push(self.rule(self.at_node_port_address().into_iter().chain([goto("nodeports")])));
        rules.extend(self.nothing_else());
        rules
    }

    /// The condition under which traffic to a ClusterIP is masqueraded; `None` for never.
    fn masqueraded_inside(&self) -> Option<Vec<Statement>> {
        let clients = self.node.internal_masquerade[self.index()];
        match (clients.contains(Client::Pod), clients == Clients::NONE) {
            (true, _) => Some(Vec::new()),
            (false, true) => None,
            (false, false) => Some(vec![Statement::Match(self.pod_sent(false)?)]),
        }
    }

    /// The condition that a packet is (not) a pod's; `None` where pods cannot be told.
    fn pod_sent(&self, is: bool) -> Option<Match> {
        Some(match &self.node.local_sources[self.index()] {
            LocalSources::Unknown => return None,
            LocalSources::Prefix(prefix) if is => Match::Within(Field::SourceAddress, *prefix),
            LocalSources::Prefix(prefix) => Match::Outside(Field::SourceAddress, *prefix),
            LocalSources::Interface(name) if is => Match::InputInterface(name.to_string()),
            LocalSources::Interface(name) => Match::NotInputInterface(name.to_string()),
            LocalSources::InterfacePrefix(prefix) if is => Match::InputInterface(format!("{prefix}*")),
            LocalSources::InterfacePrefix(prefix) => Match::NotInputInterface(format!("{prefix}*")),
        })
    }

    /// The condition that the destination is an address on which NodePorts answer: a group that this node has joined is
    /// none.
    fn at_node_port_address(&self) -> Vec<Statement> {
        let destination = Field::DestinationAddress;
        match &self.node.node_port_addresses[self.index()] {
            NodePortAddresses::Only(_) => vec![in_set(vec![destination], SetId::NodePortIps)],
            NodePortAddresses::AllLocal => {
                let not_loopback = Match::Outside(destination, loopback(self.family));
                let local = [Match::Local(destination), not_loopback].map(Statement::Match).into_iter();
                local.chain(self.not_bound()).collect()
            }
        }
    }

    /// A frontend without endpoints is left to the filter: its address may be the node's too, and its port a NodePort.
    fn external(&self) -> Vec<Rule> {
        let unserved = frontend_in(Place::Service, SetId::Rejected(Place::Service));
        let left = self.rule([unserved, self.untranslated()]).comment("not a NodePort, whatever its address");
        let masqueraded = frontend_in(Place::Service, SetId::Masqueraded(Place::Service));
        let others = self.rule([masqueraded, goto(&pick_chain(Place::Service, List::Main))]);
        [left].into_iter().chain(self.marks_and_policies(Place::Service)).chain([others]).collect()
    }

    fn node_ports(&self) -> Vec<Rule> {
        let others = self.rule([goto(&pick_chain(Place::NodePort, List::Main))]);
        self.marks_and_policies(Place::NodePort).into_iter().chain([others]).collect()
    }

    /// An external frontend is always masqueraded for outsiders or under policy Local.
    fn marks_and_policies(&self, place: Place) -> [Rule; 2] {
        [
            self.rule([frontend_in(place, SetId::Masqueraded(place)), self.set_mark()]),
            self.rule([frontend_in(place, SetId::PolicyLocal(place)), goto(&policy_local_chain(place))]),
        ]
    }

    /// Pods and this node may go to any endpoint, and the node's own source address must not leave it; everybody else
    /// gets this node's endpoints and keeps their address.
    fn policy_local(&self, place: Place) -> Vec<Rule> {
        let anywhere = || goto(&pick_chain(place, List::Main));
        let own = || Statement::Match(Match::Local(Field::SourceAddress));
        let pods = self.pod_sent(true).map(|pod| self.rule([Statement::Match(pod), anywhere()]));
        let node = [self.rule([own(), self.set_mark()]), self.rule([own(), anywhere()])];
        let here = [self.rule([jump(&pick_chain(place, List::Local))])];
        let others = here.into_iter().chain(self.nothing_here(place));
        pods.into_iter().chain(node).chain(others).collect()
    }

    fn no_endpoints(&self, place: Place) -> Vec<Rule> {
        let rules = [
            self.rule([frontend_in(place, SetId::Dropped(place)), verdict(Verdict::Drop)]),
            self.rule([frontend_in(place, SetId::Rejected(place)), Statement::Reject]),
        ];
        self.no_node_port(place).into_iter().chain(rules).collect()
    }

    fn closed_ports(&self) -> Vec<Rule> {
        let destination = Field::DestinationAddress;
        let unused = self.rule([in_set(vec![destination], SetId::ClusterIps), Statement::Reject]);
        let mine = |prefix: &&ipnet::IpNet| Family::of(prefix.addr()) == self.family;
        let unallocated = self.node.service_prefixes.iter().filter(mine).map(|prefix| {
            let within = Statement::Match(Match::Within(destination, *prefix));
            self.rule([within, verdict(Verdict::Drop)]).comment("no Service has this address")
        });
        [unused.comment("no Service has this port")].into_iter().chain(unallocated).collect()
    }

    fn pick_chains(&self, place: Place, list: List) -> Vec<(String, Chain)> {
        let mut chains = Vec::new();
        let sticky = self.used.affinities_of(place).map(|seconds| {
            self.rule([frontend_in(place, SetId::Sticky(place, seconds)), goto(&sticky_chain(place, list))])
        });
        let mut rules: Vec<Rule> = self.left_to_servers(place, list).into_iter().chain(sticky).collect();
        for class in self.used.classes_of(place, list) {
            let member = frontend_in(place, SetId::Slots(place, list, class));
            if is_exact(class) {
                rules.push(self.rule([member, draw(place, list, class)]));
            } else {
                let chain = throw_chain(place, list, class);
                rules.push(self.rule([member, goto(&chain)]));
                chains.push(plain(&chain, self.throws(place, list, class)));
            }
        }
        rules.extend(self.last_resort(place, list));
        chains.push(plain(&pick_chain(place, list), rules));
        chains
    }

    /// Each lookup sees the sets as they are at its own moment. A packet that passes while a frontend moves from one class
    /// to another may find it in neither: it gets the first endpoint, which there always is.
    fn last_resort(&self, place: Place, list: List) -> Vec<Rule> {
        let first = self.rule([draw(place, list, 1)]).comment("a frontend that changes its class just now");
        let has_affinity = self.used.affinities_of(place).next().is_some();
        let sticky = has_affinity.then(|| self.rule([goto(&sticky_chain(place, list))]));
        [first].into_iter().chain(sticky).collect()
    }

    /// Draws until a slot that is taken comes up; in the end the first.
    fn throws(&self, place: Place, list: List, class: u32) -> Vec<Rule> {
        let throw = self.rule([draw(place, list, class)]);
        let mut rules = vec![throw; THROWS];
        rules.push(self.rule([draw(place, list, 1)]));
        rules[0] = rules[0].clone().comment("a slot that is empty leads to the next throw");
        rules
    }

    fn set_mark(&self) -> Statement {
        Statement::SetMark(self.mark)
    }
}

fn base(name: &str, translates: bool, point: HookPoint, priority: i32, rules: Vec<Rule>) -> (String, Chain) {
    (name.to_owned(), Chain { hook: Some(Hook { translates, point, priority }), rules })
}

fn plain(name: &str, rules: Vec<Rule>) -> (String, Chain) {
    (name.to_owned(), Chain { hook: None, rules })
}

fn new() -> Statement {
    Statement::Match(Match::NewConnection)
}

/// What was translated is on its way to an endpoint, whatever else its new address stands for.
fn untouched() -> impl Iterator<Item = Statement> {
    [new(), Statement::Match(Match::DestinationNotTranslated)].into_iter()
}

fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn jump(chain: &str) -> Statement {
    verdict(Verdict::Jump(chain.to_owned()))
}

fn goto(chain: &str) -> Statement {
    verdict(Verdict::Goto(chain.to_owned()))
}

fn in_set(key: Vec<Field>, set: SetId) -> Statement {
    Statement::Match(Match::InSet { key, set: set.to_string() })
}

fn frontend_in(place: Place, set: SetId) -> Statement {
    in_set(place.fields(), set)
}

fn draw(place: Place, list: List, below: u32) -> Statement {
    let map = SetId::Endpoints(place, list).to_string();
    Statement::DestinationNat { key: slot_fields(place, slot(below)), map }
}

fn loopback(family: Family) -> ipnet::IpNet {
    use std::net::{Ipv4Addr, Ipv6Addr};
    match family {
        Family::Ip => ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        Family::Ip6 => ipnet::IpNet::V6(ipnet::Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    }
}
