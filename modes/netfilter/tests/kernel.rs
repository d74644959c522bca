//! The real kernel, in namespaces of our own, with the real `nft` as witness.

mod common;

use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use common::{FRONTEND, affinity, counted, golden, nft, sample};
use kubeweir_netfilter::{
    Chain, Client, Commit, CommitError, Counter, Data, Element, Elements, Family, Hook, HookPoint, Kernel,
    Key, Match, Observation, Operation, Rule, Set, SetKind, Statement, Table, diff,
};
use kubeweir_netlink::Errno;
use kubeweir_playground::Namespace;

fn inside<T: Send>(work: impl FnOnce(&mut Client, &Namespace) -> T + Send) -> T {
    let namespace = Namespace::new("netfilter-test").unwrap();
    namespace.run(|| work(&mut Client::open().unwrap(), &namespace)).unwrap()
}

fn observe(client: &mut Client, like: &Table) -> Option<Table> {
    let Observation { mut tables, generation } = client.observe(&[(like.family, &like.name)]).unwrap();
    assert!(generation.is_some(), "nobody else writes here");
    tables.pop().unwrap()
}

fn bring(client: &mut Client, desired: &Table) -> Commit {
    let commit = diff::diff(observe(client, desired).as_ref(), desired.clone());
    client.commit(std::slice::from_ref(&commit), None).unwrap();
    commit
}

fn assert_settled(client: &mut Client, desired: &Table) {
    let observed = observe(client, desired);
    let left: Vec<_> =
        diff::diff(observed.as_ref(), desired.clone()).operations.iter().map(Operation::to_string).collect();
    assert!(left.is_empty(), "{left:#?}");
    assert!(observed.as_ref() == Some(desired));
}

#[test]
fn what_was_committed_is_what_is_read_and_the_second_difference_is_empty() {
    for family in Family::ALL {
        inside(|client, _| {
            bring(client, &golden(family));
            assert_settled(client, &golden(family));
        });
    }
}

#[test]
fn what_rules_learn_is_left_alone() {
    for family in Family::ALL {
        inside(|client, namespace| {
            let table = affinity(family);
            bring(client, &table);
            assert_settled(client, &table);
            let vip = sample(family).vip;
            let learnt = format!("{{ {vip} . {vip} . tcp . 443 timeout 1h : c001:2345 }}");
            nft(namespace, &["add", "element", &family.to_string(), "golden", "affinity", &learnt], "");
            assert_settled(client, &table);
            let listing = nft(namespace, &["list", "ruleset"], "");
            assert!(listing.contains("update @affinity {") && listing.contains("c001:2345 }"), "{listing}");
        });
    }
}

#[test]
fn what_elements_have_counted_is_read_and_is_no_difference() {
    for family in Family::ALL {
        inside(|client, namespace| {
            let table = counted(family);
            bring(client, &table);
            assert_settled(client, &table);
            let element = if family == Family::Ip { "192.0.2.1" } else { "2001:db8::1" };
            let name = family.to_string();
            let at = format!("{{ {element} . tcp . 80 }}");
            nft(namespace, &["delete", "element", &name, "golden", "counted", &at], "");
            let at =
                format!("{{ {element} . tcp . 80 counter packets 3 bytes 444 comment \"shop/web:http\" }}");
            nft(namespace, &["add", "element", &name, "golden", "counted", &at], "");
            assert_settled(client, &table);
            let key = table.sets["counted"].elements.iter().next().unwrap().key;
            let three = Counter { packets: 3, bytes: 444 };
            assert_eq!(client.counters(family, "golden", "counted").unwrap(), Some(vec![(key, three)]));
            assert_eq!(client.counters(family, "golden", "nodes").unwrap(), Some(vec![]));
            assert_eq!(client.counters(family, "golden", "missing").unwrap(), None);
            // A set that counts is another kind of set than one that does not.
            let mut plain = table.clone();
            plain.sets.get_mut("counted").unwrap().kind = SetKind::set(family, &FRONTEND);
            bring(client, &plain);
            assert_settled(client, &plain);
            let listing = nft(namespace, &["list", "ruleset"], "");
            nft(namespace, &["flush", "ruleset"], "");
            nft(namespace, &["-f", "-"], &listing);
            assert_eq!(nft(namespace, &["list", "ruleset"], ""), listing);
        });
    }
}

#[test]
fn nft_lists_our_netlink_and_its_own_reading_of_our_text_alike() {
    for family in Family::ALL {
        let table = golden(family);
        let by_netlink = inside(|client, namespace| {
            bring(client, &table);
            nft(namespace, &["list", "ruleset"], "")
        });
        let by_text = inside(|_, namespace| {
            nft(namespace, &["-f", "-"], &table.to_string());
            nft(namespace, &["list", "ruleset"], "")
        });
        let by_hand = inside(|_, namespace| {
            nft(namespace, &["-f", &format!("tests/golden/{family}.nft")], "");
            nft(namespace, &["list", "ruleset"], "")
        });
        assert_eq!(sorted(&by_netlink), sorted(&by_hand));
        assert_eq!(sorted(&by_text), sorted(&by_hand));
    }
}

/// Chains and sets are listed in the order they were made in.
fn sorted(listing: &str) -> Vec<&str> {
    let mut blocks: Vec<&str> = listing.split("\n\n").map(|block| block.trim_matches(['\n', '}'])).collect();
    blocks[0] = blocks[0].split_once('\n').unwrap().1;
    blocks.sort_unstable();
    blocks
}

#[test]
fn a_table_that_nft_loaded_from_our_text_needs_no_operation() {
    for family in Family::ALL {
        inside(|client, namespace| {
            let table = golden(family);
            nft(namespace, &["-f", "-"], &table.to_string());
            assert_settled(client, &table);
        });
    }
}

/// Translation to where a packet goes anyway, and a reset.
fn shield(family: Family) -> Table {
    let hook = |translates, point, priority| Some(Hook { translates, point, priority });
    let keep = Rule::new(family, &[Statement::KeepDestination]);
    let reset =
        [Statement::Match(Match::NewConnection), Statement::Match(Match::Protocol(6)), Statement::Reset];
    let mut table = Table::new(family, "golden");
    let chain = Chain { hook: hook(true, HookPoint::Prerouting, -101), rules: vec![keep] };
    table.chains.insert("keeping".to_owned(), chain);
    let chain = Chain { hook: hook(false, HookPoint::Input, 150), rules: vec![Rule::new(family, &reset)] };
    table.chains.insert("resetting".to_owned(), chain);
    table
}

#[test]
fn rules_that_keep_a_destination_or_reset_are_read_as_they_were_written_and_as_nft_loads_them() {
    for family in Family::ALL {
        inside(|client, namespace| {
            bring(client, &shield(family));
            assert_settled(client, &shield(family));
            let by_netlink = nft(namespace, &["list", "ruleset"], "");
            nft(namespace, &["flush", "ruleset"], "");
            nft(namespace, &["-f", "-"], &shield(family).to_string());
            assert_settled(client, &shield(family));
            assert_eq!(sorted(&by_netlink), sorted(&nft(namespace, &["list", "ruleset"], "")));
            let keeps = format!("dnat to {family} daddr");
            assert!(
                by_netlink.contains(&keeps) && by_netlink.contains("reject with tcp reset"),
                "{by_netlink}"
            );
        });
    }
}

#[test]
fn foreign_changes_inside_the_table_are_undone() {
    inside(|client, namespace| {
        let table = golden(Family::Ip);
        bring(client, &table);
        let changes = "add chain ip golden foreign
            add rule ip golden services counter
            add set ip golden extra { type mark; }
            add element ip golden addresses { 10.96.0.77 }
            delete element ip golden endpoints { 10.96.0.1 . tcp . 443 . 0 }";
        nft(namespace, &["-f", "-"], changes);
        let commit = bring(client, &table);
        assert_settled(client, &table);
        let rules = table.chains["services"].rules.len();
        assert_eq!(commit.count(), 1 + rules + 4, "{:#?}", commit.operations);
    });
}

#[test]
fn a_set_or_hook_that_changed_its_nature_is_rebuilt_in_one_batch() {
    inside(|client, _| {
        let mut old = golden(Family::Ip);
        old.sets.get_mut("frontends").unwrap().kind = SetKind::set(Family::Ip, &FRONTEND[..2]);
        old.sets.get_mut("frontends").unwrap().elements = Elements::default();
        old.chains.get_mut("forward").unwrap().hook =
            Some(Hook { translates: false, point: HookPoint::Input, priority: 5 });
        old.chains.get_mut("forward").unwrap().rules.clear();
        old.chains.insert("surplus".into(), Chain::default());
        bring(client, &old);
        assert_settled(client, &old);
        bring(client, &golden(Family::Ip));
        assert_settled(client, &golden(Family::Ip));
    });
}

#[test]
fn a_refused_batch_names_the_element_and_changes_nothing() {
    inside(|client, _| {
        let table = golden(Family::Ip);
        bring(client, &table);
        let before = client.generation().unwrap();
        let mut commit = Commit::new(Family::Ip, "golden");
        let new = Element::of_set(Key::EMPTY.address("10.96.0.9".parse().unwrap()));
        commit.push(Operation::AddElements("addresses".into(), vec![new]));
        let key = |port| Key::EMPTY.address(sample(Family::Ip).vip).protocol(132).port(port);
        let gone = [443, 444].map(|port| Element::of_set(key(port)));
        commit.push(Operation::DeleteElements("frontends".into(), gone.to_vec()));
        let Err(CommitError::Refused(refused)) = client.commit(&[commit], None) else { panic!("accepted") };
        assert_eq!(refused[0].errno, Errno::ENOENT);
        assert!(refused[0].operation.contains("10.96.0.1 . sctp . 444"), "{}", refused[0]);
        assert_eq!(client.generation().unwrap(), before);
        assert_settled(client, &table);
    });
}

#[test]
fn a_batch_computed_from_an_older_generation_is_refused() {
    inside(|client, namespace| {
        let table = golden(Family::Ip);
        let seen = client.observe(&[(Family::Ip, "golden")]).unwrap();
        nft(namespace, &["add table ip somebody"], "");
        let commit = diff::diff(None, table.clone());
        let outcome = client.commit(&[commit], seen.generation);
        assert!(matches!(outcome, Err(CommitError::Outdated)), "{outcome:?}");
        assert_eq!(observe(client, &table), None);
    });
}

fn many(count: u32) -> Table {
    let mut table = golden(Family::Ip);
    let key = |n: u32| {
        Key::EMPTY.address(std::net::IpAddr::from((0x0a60_0000 + n).to_be_bytes())).protocol(6).port(80)
    };
    let data = Data::EMPTY.address(sample(Family::Ip).backends[0]).port(8080);
    let endpoints = (0..count).map(|n| Element::of_map(key(n).number(0), data));
    table.sets.get_mut("endpoints").unwrap().elements = endpoints.collect();
    let comment = std::sync::Arc::from("a-namespace-of-some-length/and-a-service-name:with-a-port");
    let frontends = (0..count).map(|n| Element::of_set(key(n)).comment(&comment));
    table.sets.get_mut("frontends").unwrap().elements = frontends.collect();
    table
}

#[test]
fn tens_of_thousands_of_elements_go_in_one_batch_and_come_back() {
    inside(|client, _| {
        let before = client.generation().unwrap();
        bring(client, &many(40_000));
        assert_eq!(client.generation().unwrap(), before + 1, "one commit");
        assert_settled(client, &many(40_000));
        bring(client, &many(10));
        assert_settled(client, &many(10));
    });
}

#[test]
fn more_than_one_batch_can_hold_is_cut_into_several() {
    inside(|client, _| {
        let before = client.generation().unwrap();
        bring(client, &many(160_000));
        assert!(client.generation().unwrap() > before + 1, "several commits");
        assert_settled(client, &many(160_000));
    });
}

#[test]
fn reading_survives_sets_that_come_and_go() {
    inside(|client, namespace| {
        let table = golden(Family::Ip);
        bring(client, &table);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let churn = move || {
                    let mut writer = Client::open().unwrap();
                    let operation = |operation| Commit {
                        operations: vec![operation],
                        ..Commit::new(Family::Ip, "golden")
                    };
                    let add = Operation::AddSet("flipping".into(), SetKind::set(Family::Ip, &FRONTEND));
                    let commits = [operation(add), operation(Operation::DeleteSet("flipping".into()))];
                    for commit in (0..2000).flat_map(|_| &commits) {
                        writer.commit(std::slice::from_ref(commit), None).unwrap();
                    }
                };
                namespace.run(churn).unwrap();
            });
            for _ in 0..100 {
                let mut seen =
                    client.observe(&[(Family::Ip, "golden")]).unwrap().tables.pop().flatten().unwrap();
                seen.sets.remove("flipping");
                assert!(seen == table);
            }
        });
    });
}

#[test]
fn no_cut_leaves_chains_without_their_rules() {
    inside(|client, namespace| {
        // A set changes its nature, so all rules go and come back; everything else is far beyond one batch.
        let mut old = many(3_000);
        let addresses = old.sets.get_mut("addresses").unwrap();
        (addresses.kind, addresses.elements) =
            (SetKind::set(Family::Ip, &FRONTEND[..2]), Elements::default());
        for chain in old.chains.values_mut() {
            chain.rules.retain(|rule| rule.text().is_none_or(|text| !text.contains("@addresses")));
        }
        bring(client, &old);
        let commit = diff::diff(observe(client, &old).as_ref(), many(6_000));
        let mut small = namespace.run(|| Client::open().unwrap()).unwrap().with_limit(1_000);
        let before = client.generation().unwrap();
        small.commit(&[commit], None).unwrap();
        assert_settled(client, &many(6_000));
        assert_eq!(client.generation().unwrap(), before + 1, "not cut at all");
    });
}

#[test]
fn a_dump_survives_concurrent_writers() {
    inside(|client, namespace| {
        let table = many(20_000);
        bring(client, &table);
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let churn = move || {
                    let mut writer = Client::open().unwrap();
                    let mut other = Table::new(Family::Ip6, "churn");
                    while stopped.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
                        let kind = SetKind::set(Family::Ip6, &FRONTEND);
                        let set = Set { kind, elements: Elements::default() };
                        other.sets = BTreeMap::from([("flipping".to_owned(), set)]);
                        writer.commit(&[diff::diff(None, other.clone())], None).unwrap();
                        let mut gone = Commit::new(Family::Ip6, "churn");
                        gone.push(Operation::DeleteTable);
                        writer.commit(&[gone], None).unwrap();
                    }
                };
                namespace.run(churn).unwrap();
            });
            let seen = client.observe(&[(Family::Ip, "golden")]);
            drop(stop);
            assert_eq!(seen.unwrap().tables[0].as_ref(), Some(&table));
        });
    });
}
