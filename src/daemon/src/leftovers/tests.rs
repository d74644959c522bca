use std::net::IpAddr;

use kubeweir_ipvs::kernel::ObservedServer;
use kubeweir_ipvs::sim::Simulated as SimulatedServers;
use kubeweir_netfilter::sim::Simulated as SimulatedTables;
use kubeweir_netfilter::{Element, Field, Key, SetKind};
use kubeweir_netlink::Family as AddressFamily;
use kubeweir_netlink::ipvs::Scheduling;
use kubeweir_nftables::names::{SERVICES, SetId};

use super::iptables::tests::Chains;
use super::*;

/// A kernel that counts how often it was asked for IPVS.
#[derive(Default)]
pub(super) struct Simulated {
    pub(super) tables: SimulatedTables,
    pub(super) servers: SimulatedServers,
    pub(super) has_no_ipvs: bool,
    pub(super) opened: usize,
    pub(super) chains: Chains,
    pub(super) sets: SimulatedSets,
}

/// Sets by name, each with how often it will yet be found in use.
#[derive(Default)]
pub(super) struct SimulatedSets(pub(super) std::collections::BTreeMap<String, u32>);

impl Sets for SimulatedSets {
    fn names(&mut self) -> Result<Vec<String>, Error> {
        Ok(self.0.keys().cloned().collect())
    }

    fn destroy(&mut self, names: &[&str]) -> Result<Vec<kubeweir_netlink::bulk::Outcome>, Error> {
        let mut destroy = |name: &&str| {
            if let Some(uses @ 1..) = self.0.get_mut(*name) {
                *uses -= 1;
                let errno = kubeweir_netlink::ipset::IN_USE;
                return Err(kubeweir_netlink::bulk::Refusal { errno, message: None });
            }
            assert!(self.0.remove(*name).is_some(), "{name} is not there");
            Ok(())
        };
        Ok(names.iter().map(&mut destroy).collect())
    }
}

impl Doors for Simulated {
    type Tables = SimulatedTables;
    type Servers = SimulatedServers;
    type Sets = SimulatedSets;

    fn survey(&mut self, family: Family, tables: &[&str]) -> Result<Vec<Surveyed>, ObserveError> {
        Ok(self.chains.survey(family, tables))
    }

    fn remove_chains(&mut self, commits: &[Commit]) -> Result<(), CommitError> {
        self.chains.commit(commits)
    }

    fn sets(&mut self) -> Result<Option<&mut SimulatedSets>, Error> {
        Ok(Some(&mut self.sets))
    }

    fn tables(&mut self) -> &mut SimulatedTables {
        &mut self.tables
    }

    fn has_device(&mut self) -> Result<bool, Error> {
        Ok(self.servers.has_device)
    }

    fn remove_device(&mut self) -> Result<(), Error> {
        self.servers.log.push("device".to_owned());
        self.servers.remove_device()
    }

    fn servers(&mut self) -> Result<Option<&mut SimulatedServers>, Error> {
        self.opened += 1;
        Ok(if self.has_no_ipvs { None } else { Some(&mut self.servers) })
    }
}

const NODE_PORT: &str = "192.0.2.1:30080";

fn at(text: &str) -> Identity {
    Identity::at(6, text.parse().unwrap())
}

/// Ours: two on the device and a recorded NodePort. Foreign: by a mark, by an address of its own, by one of the node's.
pub(super) fn with_leftovers() -> Simulated {
    let mut doors = Simulated::default();
    let server = ObservedServer { scheduling: Scheduling::new("rr", AddressFamily::V4), real: [].into() };
    let mark = Identity::Mark { family: AddressFamily::V4, mark: 7.try_into().unwrap() };
    let places = ["10.96.0.1:80", "10.97.0.1:80", NODE_PORT, "203.0.113.9:80", "192.0.2.1:8443"].map(at);
    for identity in places.into_iter().chain([mark]) {
        doors.servers.state.servers.insert(identity, server.clone());
    }
    doors.servers.has_device = true;
    doors.servers.state.bound = ["10.96.0.1", "10.97.0.1"].map(|ip| ip.parse::<IpAddr>().unwrap()).into();
    for name in [TABLE, TABLE_BESIDE_SERVERS, TABLE_OF_KUBE_PROXY, "somebody-else"] {
        add_table(&mut doors.tables, Family::Ip, name);
        add_table(&mut doors.tables, Family::Ip6, name);
    }
    record(&mut doors.tables);
    doors
}

fn add_table(tables: &mut SimulatedTables, family: Family, name: &str) {
    let mut commit = Commit::new(family, name);
    commit.push(Operation::AddTable);
    tables.commit(&[commit], None).unwrap();
}

fn record(tables: &mut SimulatedTables) {
    let name = SetId::NodePortServers.to_string();
    let kind =
        SetKind::set(Family::Ip, &[Field::DestinationAddress, Field::Protocol, Field::DestinationPort]);
    let at: std::net::SocketAddr = NODE_PORT.parse().unwrap();
    let element = Element::of_set(Key::EMPTY.address(at.ip()).protocol(6).port(at.port()));
    let mut commit = Commit::new(Family::Ip, TABLE_BESIDE_SERVERS);
    let rule = kubeweir_netfilter::Rule::new(Family::Ip, &[kubeweir_netfilter::Statement::KeepDestination]);
    commit.push(Operation::AddChain(SERVICES.to_owned(), None));
    commit.push(Operation::AddRule(SERVICES.to_owned(), rule));
    commit.push(Operation::AddSet(name.clone(), kind));
    commit.push(Operation::AddElements(name, vec![element]));
    tables.commit(&[commit], None).unwrap();
}

fn remaining(doors: &Simulated) -> Vec<String> {
    let named = [TABLE, TABLE_BESIDE_SERVERS, TABLE_OF_KUBE_PROXY, "somebody-else"];
    let tables = named.into_iter().flat_map(|name| Family::ALL.map(|family| (family, name)));
    let tables = tables.filter(|(family, name)| doors.tables.table(*family, name).is_some());
    let tables = tables.map(|(family, name)| format!("{family} {name}"));
    doors.servers.state.servers.keys().map(ToString::to_string).chain(tables).collect()
}

const FOREIGN: [&str; 5] =
    ["TCP 192.0.2.1:8443", "TCP 203.0.113.9:80", "FWM 7", "ip somebody-else", "ip6 somebody-else"];

#[test]
fn what_is_ours_and_kube_proxys_goes_and_nothing_else() {
    let mut doors = with_leftovers();
    let outcome = remove(&mut doors, &Scope::everything(Vec::new()));
    assert_eq!(remaining(&doors), FOREIGN);
    assert!(!doors.servers.has_device && outcome.failed.is_empty());
    assert_eq!(outcome.foreign.len(), 3);
    assert_eq!(
        remove(&mut doors, &Scope::everything(Vec::new())),
        Outcome::default(),
        "then there is nothing"
    );
}

/// They may be kube-proxy's by now.
#[test]
fn when_kube_proxy_serves_again_only_our_tables_go() {
    let mut doors = with_leftovers();
    let before = remaining(&doors);
    let outcome = remove(&mut doors, &Scope::ours());
    let ours =
        [TABLE, TABLE_BESIDE_SERVERS].map(|name| Family::ALL.map(|family| Removed::Table(family, name)));
    assert_eq!((outcome.removed, outcome.failed), (ours.concat(), Vec::new()));
    assert!(doors.servers.has_device && doors.servers.log.is_empty() && doors.opened == 0);
    let stays = before.into_iter().filter(|name| !name.contains("kubeweir")).collect::<Vec<_>>();
    assert_eq!(remaining(&doors), stays);
}

#[test]
fn virtual_servers_go_before_the_device_and_the_device_before_the_table_that_records_them() {
    let mut doors = with_leftovers();
    let outcome = remove(&mut doors, &Scope::everything(Vec::new()));
    let deleted = ["-D -t 10.96.0.1:80", "-D -t 10.97.0.1:80", "-D -t 192.0.2.1:30080", "device"];
    assert_eq!(doors.servers.log, deleted);
    let order: Vec<String> = outcome.removed.iter().map(ToString::to_string).collect();
    assert_eq!(
        order[..3],
        ["virtual servers: 3", "device kube-ipvs0 with its addresses", "table ip kubeweir-ipvs"]
    );
}

#[test]
fn excluded_virtual_servers_stay() {
    let mut doors = with_leftovers();
    let outcome = remove(&mut doors, &Scope::everything(vec!["10.97.0.0/16".parse().unwrap()]));
    assert!(doors.servers.state.servers.contains_key(&at("10.97.0.1:80")));
    assert_eq!(outcome.foreign.len(), 4);
}

#[test]
fn ipvs_is_not_asked_for_where_nothing_hints_at_it() {
    let mut doors = Simulated::default();
    add_table(&mut doors.tables, Family::Ip, TABLE);
    let outcome = remove(&mut doors, &Scope::everything(Vec::new()));
    assert_eq!((outcome.removed, doors.opened), (vec![Removed::Table(Family::Ip, TABLE)], 0));
    add_table(&mut doors.tables, Family::Ip6, TABLE_BESIDE_SERVERS);
    let _ = remove(&mut doors, &Scope::everything(Vec::new()));
    assert_eq!(doors.opened, 1);
}

#[test]
fn a_kernel_without_ipvs_is_no_error_and_its_device_goes() {
    let mut doors = with_leftovers();
    (doors.has_no_ipvs, doors.servers.state.servers) = (true, [].into());
    let outcome = remove(&mut doors, &Scope::everything(Vec::new()));
    assert!(outcome.failed.is_empty() && !doors.servers.has_device);
    assert_eq!(remaining(&doors), ["ip somebody-else", "ip6 somebody-else"]);
}

#[test]
fn what_tells_of_virtual_servers_stays_as_long_as_one_of_them_and_the_rest_is_tried() {
    let mut doors = with_leftovers();
    doors.servers.refuses.insert(at("10.97.0.1:80"), Errno::EBUSY);
    let outcome = remove(&mut doors, &Scope::everything(Vec::new()));
    assert_eq!(outcome.failed.len(), 1);
    assert!(outcome.failed[0].contains("-D -t 10.97.0.1:80"), "{}", outcome.failed[0]);
    assert!(outcome.removed.contains(&Removed::Servers(vec![at("10.96.0.1:80"), at(NODE_PORT)])));
    assert!(outcome.removed.contains(&Removed::Table(Family::Ip6, TABLE_OF_KUBE_PROXY)));
    assert!(doors.servers.has_device && doors.tables.table(Family::Ip, TABLE_BESIDE_SERVERS).is_some());
    doors.servers.refuses.clear();
    assert!(remove(&mut doors, &Scope::everything(Vec::new())).failed.is_empty());
    assert_eq!(remaining(&doors), FOREIGN);
}

#[test]
fn sets_go_by_name_once_they_are_let_go_of_and_one_that_never_is_keeps_no_other() {
    let mut doors = Simulated::default();
    let sets =
        [("KUBE-CLUSTER-IP", 3), ("KUBE-6-CLUSTER-IP", 0), ("KUBE-IPVS-IPS", 1000), ("KUBE-NWPLCY", 0)];
    doors.sets.0 = sets.map(|(name, uses)| (name.to_owned(), uses)).into();
    let outcome = remove(&mut doors, &Scope::everything(Vec::new()));
    assert_eq!(outcome.removed, [Removed::Sets(2)]);
    assert_eq!(outcome.failed, ["set KUBE-IPVS-IPS: it is in use"]);
    assert_eq!(doors.sets.0.keys().collect::<Vec<_>>(), ["KUBE-IPVS-IPS", "KUBE-NWPLCY"]);
}
