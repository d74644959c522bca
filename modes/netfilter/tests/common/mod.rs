//! A table that uses every kind of statement and set once: `golden/ip.nft` and `golden/ip6.nft` as typed values.

#![allow(clippy::allow_attributes, dead_code, reason = "each test file uses its part")]

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use kubeweir_netfilter::expr::Verdict;
use kubeweir_netfilter::{
    Chain, Choice, Data, Element, Family, Field, Hook, HookPoint, Key, Match, Rule, Set, SetKind, Statement,
    Table,
};
use kubeweir_playground::Namespace;

pub(crate) const FRONTEND: [Field; 3] = [Field::DestinationAddress, Field::Protocol, Field::DestinationPort];
pub(crate) const MARK: u32 = 0x4000;

/// The addresses of the golden files.
pub(crate) struct Sample {
    pub(crate) pods: &'static str,
    pub(crate) loopback: &'static str,
    pub(crate) odd: &'static str,
    pub(crate) vip: IpAddr,
    pub(crate) backends: [IpAddr; 2],
}

pub(crate) fn sample(family: Family) -> Sample {
    let ip = |text: &str| text.parse().unwrap();
    match family {
        Family::Ip => Sample {
            pods: "10.244.0.0/16",
            loopback: "127.0.0.0/8",
            odd: "10.96.0.0/12",
            vip: ip("10.96.0.1"),
            backends: [ip("192.0.2.1"), ip("192.0.2.2")],
        },
        Family::Ip6 => Sample {
            pods: "fd00:10:244::/48",
            loopback: "::1/128",
            odd: "fd00:96::/108",
            vip: ip("fd00:96::1"),
            backends: [ip("2001:db8::1"), ip("2001:db8::2")],
        },
    }
}

pub(crate) fn number(choice: Choice, modulus: u32) -> Field {
    Field::Number { choice, modulus }
}

pub(crate) fn with(fields: &[Field], last: Field) -> Vec<Field> {
    fields.iter().copied().chain([last]).collect()
}

pub(crate) fn golden(family: Family) -> Table {
    let mut table = Table::new(family, "golden");
    sets(&mut table);
    chains(&mut table);
    table
}

fn sets(table: &mut Table) {
    let family = table.family;
    let Sample { vip, backends, .. } = sample(family);
    let slot = number(Choice::Random, 65536);
    let node_port = [Field::Protocol, Field::DestinationPort];
    let hairpin = [Field::SourceAddress, FRONTEND[0], FRONTEND[1], FRONTEND[2]];
    let key = |protocol, port| Key::EMPTY.address(vip).protocol(protocol).port(port);
    let to = |at: usize, port| Data::EMPTY.address(backends[at]).port(port);
    let comment: Arc<str> = "default/kubernetes:https".into();
    let mut put = |name: &str, kind: SetKind, elements: Vec<Element>| {
        table.sets.insert(name.to_owned(), Set { kind, elements: elements.into_iter().collect() });
    };
    put("addresses", SetKind::set(family, &FRONTEND[..1]), vec![Element::of_set(Key::EMPTY.address(vip))]);
    put("frontends", SetKind::set(family, &FRONTEND), vec![Element::of_set(key(132, 443)).comment(&comment)]);
    put("hairpin", SetKind::set(family, &hairpin), vec![]);
    let slots = [(0, 0), (65535, 1)];
    let endpoints = slots.map(|(slot, at)| Element::of_map(key(6, 443).number(slot), to(at, 6443)));
    put("endpoints", SetKind::map(family, &with(&FRONTEND, slot)), endpoints.to_vec());
    let dns = Element::of_map(Key::EMPTY.protocol(17).port(30053).number(1), to(0, 53));
    let ranges = [FRONTEND[0], FRONTEND[1], FRONTEND[2], Field::SourceAddress];
    let from = |at: usize| key(6, 443).address(backends[at]);
    let allowed = Element::of_range(from(0), from(1));
    put("allowed", SetKind::ranges(family, &ranges), vec![allowed]);
    put("nodeports", SetKind::map(family, &with(&node_port, slot)), vec![dns]);
}

fn chains(table: &mut Table) {
    let family = table.family;
    let hook = |translates, point, priority| Some(Hook { translates, point, priority });
    let mut put = |name: &str, hook: Option<Hook>, rules: Vec<Rule>| {
        table.chains.insert(name.to_owned(), Chain { hook, rules });
    };
    let rule = |statements: &[Statement]| Rule::new(family, statements);
    put(
        "prerouting",
        hook(true, HookPoint::Prerouting, -100),
        vec![rule(&[verdict(Verdict::Jump("services".into()))])],
    );
    put("postrouting", hook(true, HookPoint::Postrouting, 100), postrouting(family));
    put("forward", hook(false, HookPoint::Forward, 0), forward(family));
    put("services", None, services(family));
    put("nodes", None, nodes(family));
}

/// `golden/affinity-*.nft` as typed values: what a client's first connection is remembered with.
pub(crate) fn affinity(family: Family) -> Table {
    let Sample { vip, backends, .. } = sample(family);
    let mut table = Table::new(family, "golden");
    let key = Key::EMPTY.address(vip).protocol(6).port(443);
    let mut put = |name: &str, kind: SetKind, elements: Vec<Element>| {
        table.sets.insert(name.to_owned(), Set { kind, elements: elements.into_iter().collect() });
    };
    put("sticky", SetKind::set(family, &FRONTEND), vec![Element::of_set(key)]);
    put("affinity", SetKind::dynamic_priority_map(family, &client(&FRONTEND), 262_144), vec![]);
    put("nodeport-affinity", SetKind::dynamic_priority_map(family, &client(&FRONTEND[1..]), 262_144), vec![]);
    let slots = [(0, 0xc001_2345), (1, 0xc001_0000)];
    let slots = slots.map(|(slot, id)| Element::of_map(key.number(slot), Data::EMPTY.number(id)));
    let by_slot = with(&FRONTEND, number(Choice::Random, 65536));
    put("slots", SetKind::priority_map(family, &by_slot), slots.to_vec());
    let to = Data::EMPTY.address(backends[0]).port(6443);
    let chosen = Element::of_map(key.number(0xc001_2345), to);
    put("chosen", SetKind::map(family, &with(&FRONTEND, Field::Priority)), vec![chosen]);
    let hook = Some(Hook { translates: true, point: HookPoint::Prerouting, priority: -100 });
    table.chains.insert("prerouting".into(), Chain { hook, rules: sticky_rules(family) });
    table
}

/// `golden/counted-*.nft` as typed values.
pub(crate) fn counted(family: Family) -> Table {
    let mut table = Table::new(family, "golden");
    let last = |last: u8| match family {
        Family::Ip => IpAddr::from([192, 0, 2, last]),
        Family::Ip6 => format!("2001:db8::{last}").parse().unwrap(),
    };
    let comment: Arc<str> = "shop/web:http".into();
    let web = Element::of_set(Key::EMPTY.address(last(1)).protocol(6).port(80)).comment(&comment);
    let mut put = |name: &str, kind: SetKind, elements: Vec<Element>| {
        table.sets.insert(name.to_owned(), Set { kind, elements: elements.into_iter().collect() });
    };
    put("counted", SetKind::set(family, &FRONTEND).counting(), vec![web]);
    put("nodes", SetKind::set(family, &FRONTEND[..1]), vec![Element::of_set(Key::EMPTY.address(last(9)))]);
    put("ports", SetKind::set(family, &FRONTEND[1..]).counting(), vec![]);
    let original = [Field::OriginalAddress, Field::Protocol, Field::OriginalPort];
    let of = |number| Statement::Match(Match::Protocol(number));
    let at_nodes = || [in_set(&original[..1], "nodes"), in_set(&original[1..], "ports")];
    let rules = vec![
        Rule::new(family, &[Statement::Match(Match::Reply), verdict(Verdict::Return)]),
        Rule::new(family, &[of(6), in_set(&original, "counted"), verdict(Verdict::Return)]),
        Rule::new(family, &[&[of(17)], &at_nodes()[..]].concat()),
        Rule::new(family, &[&[of(132)], &at_nodes()[..]].concat()),
    ];
    table.chains.insert("count".into(), Chain { hook: None, rules });
    let hook = Some(Hook { translates: true, point: HookPoint::Input, priority: -150 });
    let elsewhere = Statement::Match(Match::NotInputInterface("lo".into()));
    let translated = Statement::Match(Match::DestinationTranslated);
    let jump = verdict(Verdict::Jump("count".into()));
    let rules = vec![Rule::new(family, &[elsewhere, translated, jump])];
    table.chains.insert("count-input".into(), Chain { hook, rules });
    table
}

fn client(frontend: &[Field]) -> Vec<Field> {
    [Field::SourceAddress].iter().chain(frontend).copied().collect()
}

fn sticky_rules(family: Family) -> Vec<Rule> {
    let map = || "affinity".to_owned();
    let key = client(&FRONTEND);
    let known = [
        in_set(&FRONTEND, "sticky"),
        Statement::SetPriority { key: key.clone(), map: map() },
        Statement::Remember { key: key.clone(), map: map(), timeout: 10_800 },
        Statement::DestinationNat { key: with(&FRONTEND, Field::Priority), map: "chosen".into() },
    ];
    let draw =
        Statement::SetPriority { key: with(&FRONTEND, number(Choice::Random, 3)), map: "slots".into() };
    let node_port =
        Statement::Remember { key: client(&FRONTEND[1..]), map: "nodeport-affinity".into(), timeout: 10 };
    vec![
        Rule::new(family, &known),
        Rule::new(family, &[Statement::Forget { key, map: map() }]),
        Rule::new(family, &[draw]),
        Rule::new(family, &[node_port]),
        Rule::new(family, &[Statement::Match(Match::Priority(0xc000_0000)), Statement::ClearPriority]),
        Rule::new(family, &[Statement::Match(Match::DestinationNotTranslated), verdict(Verdict::Drop)]),
    ]
}

fn verdict(verdict: Verdict) -> Statement {
    Statement::Verdict(verdict)
}

fn in_set(fields: &[Field], set: &str) -> Statement {
    Statement::Match(Match::InSet { key: fields.to_vec(), set: set.into() })
}

fn not_allowed() -> Statement {
    let key = vec![FRONTEND[0], FRONTEND[1], FRONTEND[2], Field::SourceAddress];
    Statement::Match(Match::NotInSet { key, set: "allowed".into() })
}

fn postrouting(family: Family) -> Vec<Rule> {
    let hairpin = [Field::SourceAddress, FRONTEND[0], FRONTEND[1], FRONTEND[2]];
    let marked = [Statement::Match(Match::Mark(MARK)), Statement::FlipMark(MARK), Statement::Masquerade];
    let translated = Statement::Match(Match::DestinationTranslated);
    let looped = [translated, in_set(&hairpin, "hairpin"), Statement::Masquerade];
    vec![Rule::new(family, &marked), Rule::new(family, &looped)]
}

fn forward(family: Family) -> Vec<Rule> {
    let new = Statement::Match(Match::NewConnection);
    vec![
        Rule::new(family, &[new, in_set(&FRONTEND, "frontends"), verdict(Verdict::Drop)]),
        Rule::new(family, &[in_set(&FRONTEND[..1], "addresses"), Statement::Reject])
            .comment("an unused port"),
        Rule::new(family, &[in_set(&FRONTEND, "frontends"), not_allowed(), verdict(Verdict::Drop)]),
    ]
}

fn services(family: Family) -> Vec<Rule> {
    let Sample { pods, loopback, odd, .. } = sample(family);
    let (source, destination) = (Field::SourceAddress, Field::DestinationAddress);
    let outside = |field, prefix: &str| Statement::Match(Match::Outside(field, prefix.parse().unwrap()));
    let own = |field| Statement::Match(Match::Local(field));
    let within = Statement::Match(Match::Within(destination, odd.parse().unwrap()));
    vec![
        Rule::new(
            family,
            &[in_set(&FRONTEND[..1], "addresses"), outside(source, pods), Statement::SetMark(MARK)],
        ),
        Rule::new(family, &[within, verdict(Verdict::Return)]),
        Rule::new(
            family,
            &[own(destination), outside(destination, loopback), verdict(Verdict::Goto("nodes".into()))],
        ),
        Rule::new(family, &[own(source), verdict(Verdict::Accept)]),
    ]
}

fn nodes(family: Family) -> Vec<Rule> {
    let interface = Statement::Match(Match::InputInterface("cni0".into()));
    let other = Statement::Match(Match::NotInputInterface("veth*".into()));
    let nat =
        |key: Vec<Field>, map: &str| Rule::new(family, &[Statement::DestinationNat { key, map: map.into() }]);
    vec![
        Rule::new(family, &[interface, verdict(Verdict::Return)]),
        Rule::new(family, &[other, verdict(Verdict::Return)]),
        nat(with(&FRONTEND[1..], number(Choice::Random, 5)), "nodeports"),
        nat(with(&FRONTEND, number(Choice::Turn, 7)), "endpoints"),
        nat(with(&FRONTEND, number(Choice::SourceHash(5), 3)), "endpoints"),
    ]
}

/// Runs the real `nft` in a namespace; a failure of it fails the test.
pub(crate) fn nft(namespace: &Namespace, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = namespace.start(&mut command).expect("nft must be installed");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "nft {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
