use kubeweir_netfilter::kernel::Refused;
use kubeweir_netfilter::survey::Chain;
use kubeweir_netlink::Errno;
use proptest::prelude::*;

use super::*;
use crate::leftovers::tests::Simulated;

/// Tables of others, in a kernel that refuses to delete a chain that something leads to.
#[derive(Clone, Default)]
pub(in crate::leftovers) struct Chains {
    tables: Vec<Surveyed>,
    /// Chains that elements of maps lead to: nothing that a survey finds.
    mapped: Vec<&'static str>,
    refuses: u32,
}

impl Chains {
    pub(in crate::leftovers) fn survey(&self, family: Family, tables: &[&str]) -> Vec<Surveyed> {
        let asked = |table: &&Surveyed| table.family == family && tables.contains(&table.table.as_str());
        self.tables.iter().filter(asked).map(|table| self.counted(table)).collect()
    }

    fn counted(&self, table: &Surveyed) -> Surveyed {
        let mut counted = table.clone();
        for (name, chain) in &mut counted.chains {
            let uses = table.rules.iter().map(|rule| {
                usize::from(rule.chain == *name) + rule.leads_to.iter().filter(|to| *to == name).count()
            });
            let mapped = self.mapped.iter().filter(|to| *to == name).count();
            chain.uses = u32::try_from(uses.sum::<usize>() + mapped).unwrap();
        }
        counted
    }

    pub(in crate::leftovers) fn commit(&mut self, commits: &[Commit]) -> Result<(), CommitError> {
        if self.refuses > 0 {
            self.refuses -= 1;
            return Err(refused(&Operation::AddTable, Errno::ENOENT));
        }
        let mut next = self.clone();
        for commit in commits {
            for operation in &commit.operations {
                next.carry_out(commit, operation).map_err(|errno| refused(operation, errno))?;
            }
        }
        *self = next;
        Ok(())
    }

    fn carry_out(&mut self, commit: &Commit, operation: &Operation) -> Result<(), Errno> {
        let is_it = |table: &&mut Surveyed| table.family == commit.family && table.table == commit.table;
        let counted = self.tables.clone().iter().map(|table| self.counted(table)).collect::<Vec<_>>();
        let table = self.tables.iter_mut().find(is_it).ok_or(Errno::ENOENT)?;
        let counted =
            counted.into_iter().find(|other| (other.family, &other.table) == (table.family, &table.table));
        match operation {
            Operation::DeleteRule(chain, handle) => {
                let is_it = |rule: &Rule| rule.chain == *chain && rule.handle == *handle;
                let at = table.rules.iter().position(is_it).ok_or(Errno::ENOENT)?;
                table.rules.remove(at);
            }
            Operation::FlushChain(chain) => table.rules.retain(|rule| rule.chain != *chain),
            Operation::DeleteChain(chain) => {
                let uses =
                    counted.and_then(|table| table.chains.get(chain).copied()).ok_or(Errno::ENOENT)?.uses;
                if uses > 0 {
                    return Err(Errno::EBUSY);
                }
                table.chains.remove(chain);
            }
            _ => return Err(Errno::EOPNOTSUPP),
        }
        Ok(())
    }
}

fn refused(operation: &Operation, errno: Errno) -> CommitError {
    CommitError::Refused(vec![Refused { operation: operation.to_string(), errno, message: None }])
}

/// Rules as `CHAIN TARGET COMMENT`; each chain that is named is there, those in small letters hook in.
fn table(name: &str, rules: &[&str]) -> Surveyed {
    let mut table =
        Surveyed { family: Family::Ip, table: name.to_owned(), chains: BTreeMap::new(), rules: Vec::new() };
    for (line, handle) in rules.iter().zip(1..) {
        let mut words = line.splitn(3, ' ');
        let (chain, target) = (words.next().unwrap(), words.next().filter(|word| *word != "-"));
        for name in [Some(chain), target].into_iter().flatten() {
            let is_base = name.chars().all(char::is_lowercase);
            table.chains.insert(name.to_owned(), Chain { is_base, uses: 0 });
        }
        let leads_to = target.map(str::to_owned).into_iter().collect();
        let comment = words.next().map(str::to_owned);
        table.rules.push(Rule { chain: chain.to_owned(), handle, leads_to, comment });
    }
    table
}

const NAT: [&str; 10] = [
    "prerouting KUBE-SERVICES kubernetes service portals",
    "prerouting DOCKER",
    "postrouting KUBE-POSTROUTING kubernetes postrouting rules",
    "KUBE-SERVICES KUBE-SVC-A ns/a cluster IP",
    "KUBE-SVC-A KUBE-MARK-MASQ",
    "KUBE-SVC-A KUBE-SEP-A",
    "KUBE-SEP-A KUBE-MARK-MASQ",
    "KUBE-MARK-MASQ -",
    "KUBE-KUBELET-CANARY -",
    "KUBE-MARK-DROP -",
];

fn with(tables: &[Surveyed]) -> Simulated {
    Simulated { chains: Chains { tables: tables.to_vec(), ..Chains::default() }, ..Simulated::default() }
}

fn removed_from(doors: &mut Simulated) -> Outcome {
    let mut outcome = Outcome::default();
    remove(doors, &mut outcome);
    outcome
}

fn left(doors: &Simulated) -> Vec<&str> {
    doors.chains.tables.iter().flat_map(|table| table.chains.keys()).map(String::as_str).collect()
}

#[test]
fn chains_of_kube_proxy_go_and_those_of_kubelet_and_others_stay() {
    let mut doors = with(&[table("nat", &NAT), table("mangle", &["KUBE-PROXY-CANARY -", "KUBE-SVC-A -"])]);
    let outcome = removed_from(&mut doors);
    let expected = [Removed::Chains("ip nat".to_owned(), 5), Removed::Chains("ip mangle".to_owned(), 1)];
    assert_eq!((outcome.removed, outcome.held, outcome.failed), (expected.into(), vec![], vec![]));
    let stay = ["DOCKER", "KUBE-KUBELET-CANARY", "KUBE-MARK-DROP", "postrouting", "prerouting", "KUBE-SVC-A"];
    assert_eq!(left(&doors), stay);
    assert_eq!(doors.chains.tables[0].rules.len(), 3);
    assert_eq!(removed_from(&mut doors), Outcome::default(), "then there is nothing");
}

#[test]
fn a_chain_that_others_lead_to_stays_without_rules_and_the_mark_of_others_goes_on() {
    let others = ["prerouting KUBE-SVC-A", "cni KUBE-MARK-MASQ kubernetes service portals of mine"];
    let mut doors = with(&[table("nat", &[NAT.as_slice(), &others].concat())]);
    let outcome = removed_from(&mut doors);
    assert_eq!((outcome.removed, outcome.failed), (vec![Removed::Chains("ip nat".to_owned(), 3)], vec![]));
    let why = "what is not kube-proxy's leads to it";
    assert_eq!(
        outcome.held,
        [
            format!("chain KUBE-MARK-MASQ of table ip nat, as it is: {why}"),
            format!("chain KUBE-SVC-A of table ip nat, without rules: {why}")
        ]
    );
    let chains: Vec<&str> = doors.chains.tables[0].rules.iter().map(|rule| rule.chain.as_str()).collect();
    let expected =
        ["prerouting", "KUBE-MARK-MASQ", "KUBE-KUBELET-CANARY", "KUBE-MARK-DROP", "prerouting", "cni"];
    assert_eq!(chains, expected);
}

#[test]
fn what_leads_to_a_chain_unseen_keeps_it() {
    let mut doors = with(&[table("nat", &NAT)]);
    doors.chains.mapped.push("KUBE-SEP-A");
    let outcome = removed_from(&mut doors);
    assert_eq!((outcome.held.len(), outcome.failed.len()), (1, 0));
    assert!(left(&doors).contains(&"KUBE-SEP-A") && !left(&doors).contains(&"KUBE-SVC-A"));
}

#[test]
fn who_changes_the_table_in_between_is_waited_for_but_not_for_ever() {
    let mut doors = with(&[table("nat", &NAT)]);
    doors.chains.refuses = 2;
    assert_eq!(removed_from(&mut doors).removed.len(), 1);
    let mut doors = with(&[table("nat", &NAT)]);
    doors.chains.refuses = 3;
    let outcome = removed_from(&mut doors);
    assert_eq!((outcome.removed, outcome.failed.len()), (vec![], 1));
}

proptest! {
    /// Whatever leads where, and whoever's it is.
    #[test]
    fn the_kernel_refuses_nothing_and_nothing_of_others_goes(
        ways in proptest::collection::vec((0_usize..9, 0_usize..9, any::<bool>()), 0..30),
        mapped in proptest::collection::vec(0_usize..9, 0..3),
    ) {
        let names = ["prerouting", "DOCKER", "KUBE-FIREWALL", "KUBE-SERVICES", "KUBE-SVC-A", "KUBE-SEP-A",
            "KUBE-MARK-MASQ", "KUBE-NODE-PORT", "KUBE-SVC"];
        let lines: Vec<String> = ways.iter().map(|&(from, to, own)| {
            let to = if to == 0 { "-" } else { names[to] };
            format!("{} {to} {}", names[from], if own { COMMENTS[0] } else { "other" })
        }).collect();
        let before = table("nat", &lines.iter().map(String::as_str).collect::<Vec<_>>());
        let mut doors = with(std::slice::from_ref(&before));
        doors.chains.mapped = mapped.iter().map(|&at| names[at]).collect();
        let outcome = removed_from(&mut doors);
        prop_assert_eq!(outcome.failed, Vec::<String>::new());
        let after = &doors.chains.tables[0];
        for name in before.chains.keys().filter(|name| !is_of_kube_proxy("nat", name)) {
            prop_assert!(after.chains.contains_key(name), "{} is gone", name);
        }
        let stays = |rule: &&Rule| {
            let leads = rule.leads_to.iter().any(|to| is_of_kube_proxy("nat", to));
            let is_own = leads && rule.comment.as_deref() == Some(COMMENTS[0]);
            !is_own && !is_of_kube_proxy("nat", &rule.chain)
        };
        for rule in before.rules.iter().filter(stays) {
            prop_assert!(after.rules.contains(rule), "{:?} is gone", rule);
        }
    }
}
