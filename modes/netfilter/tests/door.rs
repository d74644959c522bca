//! One suite for both kernels: what the simulated one accepts and refuses is what the real one does.

mod common;

use common::{FRONTEND, counted, golden, sample};
use kubeweir_netfilter::expr::Verdict;
use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::{
    Client, Commit, CommitError, Data, Element, Family, Hook, HookPoint, Kernel, Key, Match, Operation, Rule,
    SetKind, Statement, Table, diff,
};
use kubeweir_playground::Namespace;

fn on_both(suite: fn(&mut dyn Kernel)) {
    suite(&mut Simulated::default());
    let namespace = Namespace::new("door").unwrap();
    namespace.run(|| suite(&mut Client::open().unwrap())).unwrap();
}

fn observed(kernel: &mut dyn Kernel, family: Family) -> Option<Table> {
    kernel.observe(&[(family, "golden")]).unwrap().tables.pop().unwrap()
}

fn commit(operations: Vec<Operation>) -> Commit {
    Commit { family: Family::Ip, table: "golden".into(), operations }
}

#[test]
fn a_commit_brings_about_what_it_says() {
    on_both(|kernel| {
        for family in Family::ALL {
            for table in [counted(family), golden(family)] {
                let from = observed(kernel, family);
                kernel.commit(&[diff::diff(from.as_ref(), table.clone())], None).unwrap();
                assert!(observed(kernel, family).as_ref() == Some(&table));
            }
        }
        kernel.commit(&[commit(vec![Operation::DeleteTable])], None).unwrap();
        assert!(observed(kernel, Family::Ip).is_none());
        assert!(observed(kernel, Family::Ip6).is_some());
    });
}

#[test]
fn a_generation_that_is_over_is_refused() {
    on_both(|kernel| {
        let seen = kernel.observe(&[]).unwrap().generation;
        kernel.commit(&[diff::diff(None, golden(Family::Ip))], seen).unwrap();
        let outcome = kernel.commit(&[commit(vec![Operation::DeleteTable])], seen);
        assert!(matches!(outcome, Err(CommitError::Outdated)));
        assert!(observed(kernel, Family::Ip).is_some());
    });
}

#[test]
fn a_table_keeps_its_handle_and_the_next_of_its_name_has_another() {
    on_both(|kernel| {
        let tables = [Family::Ip, Family::Ip6].map(|family| (family, "golden"));
        assert_eq!(kernel.handles(&tables).unwrap(), [None, None]);
        let make = diff::diff(None, golden(Family::Ip));
        kernel.commit(std::slice::from_ref(&make), None).unwrap();
        let first = kernel.handles(&tables).unwrap();
        assert!(matches!(first[..], [Some(_), None]), "{first:?}");
        kernel.commit(&[commit(vec![Operation::DeleteElements("frontends".into(), vec![])])], None).unwrap();
        assert_eq!(kernel.handles(&tables).unwrap(), first);
        kernel.commit(&[commit(vec![Operation::DeleteTable])], None).unwrap();
        kernel.commit(&[make], None).unwrap();
        let next = kernel.handles(&tables).unwrap();
        assert!(next[0].is_some() && next != first, "{next:?}");
    });
}

fn frontend(port: u16) -> Element {
    Element::of_set(Key::EMPTY.address(sample(Family::Ip).vip).protocol(132).port(port))
}

fn endpoint(slot: u32, backend: usize) -> Element {
    let at = sample(Family::Ip);
    let key = Key::EMPTY.address(at.vip).protocol(6).port(443).number(slot);
    Element::of_map(key, Data::EMPTY.address(at.backends[backend]).port(6443))
}

fn to_chain(verdict: Verdict) -> Rule {
    Rule::new(Family::Ip, &[Statement::Verdict(verdict)])
}

fn refusals() -> Vec<Operation> {
    let elsewhere = Some(Hook { translates: true, point: HookPoint::Postrouting, priority: 1 });
    let missing = Match::InSet { key: FRONTEND.to_vec(), set: "missing".into() };
    vec![
        Operation::AddElements("missing".into(), vec![frontend(1)]),
        Operation::AddElements("endpoints".into(), vec![endpoint(0, 1)]),
        Operation::DeleteElements("frontends".into(), vec![frontend(1)]),
        Operation::ReplaceElements("endpoints".into(), vec![endpoint(7, 0)]),
        Operation::DeleteSet("endpoints".into()),
        Operation::DeleteSet("missing".into()),
        Operation::DeleteChain("services".into()),
        Operation::DeleteChain("missing".into()),
        Operation::FlushChain("missing".into()),
        Operation::AddRule("missing".into(), to_chain(Verdict::Drop)),
        Operation::AddRule("services".into(), to_chain(Verdict::Goto("missing".into()))),
        Operation::AddRule("services".into(), Rule::new(Family::Ip, &[Statement::Match(missing)])),
        Operation::AddSet("frontends".into(), SetKind::map(Family::Ip, &FRONTEND)),
        Operation::AddChain("forward".into(), elsewhere),
    ]
}

#[test]
fn what_is_refused_leaves_everything_as_it_was() {
    on_both(|kernel| {
        let table = golden(Family::Ip);
        kernel.commit(&[diff::diff(None, table.clone())], None).unwrap();
        for refused in refusals() {
            let harmless = Operation::AddElements("frontends".into(), vec![frontend(9)]);
            let text = refused.to_string();
            let outcome = kernel.commit(&[commit(vec![harmless, refused])], None);
            assert!(matches!(outcome, Err(CommitError::Refused(_))), "{text}: {outcome:?}");
            assert!(observed(kernel, Family::Ip).as_ref() == Some(&table), "{text}");
        }
    });
}

#[test]
fn what_is_there_already_may_be_added_again() {
    on_both(|kernel| {
        let table = golden(Family::Ip);
        kernel.commit(&[diff::diff(None, table.clone())], None).unwrap();
        let again = vec![
            Operation::AddTable,
            Operation::AddSet("frontends".into(), table.sets["frontends"].kind.clone()),
            Operation::AddChain("forward".into(), table.chains["forward"].hook.clone()),
            Operation::AddElements("endpoints".into(), vec![endpoint(0, 0)]),
            Operation::ReplaceElements("endpoints".into(), vec![endpoint(0, 0)]),
        ];
        kernel.commit(&[commit(again)], None).unwrap();
        assert!(observed(kernel, Family::Ip).as_ref() == Some(&table));
    });
}

#[test]
fn a_chain_goes_in_the_commit_that_removes_the_last_jump_to_it() {
    on_both(|kernel| {
        let table = golden(Family::Ip);
        kernel.commit(&[diff::diff(None, table.clone())], None).unwrap();
        let mut smaller = table.clone();
        smaller.chains.remove("nodes");
        smaller.chains.get_mut("services").unwrap().rules.remove(2);
        kernel.commit(&[diff::diff(Some(&table), smaller.clone())], None).unwrap();
        assert!(observed(kernel, Family::Ip).as_ref() == Some(&smaller));
    });
}
