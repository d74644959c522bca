//! Chains that kube-proxy made with `iptables`: in iptables mode, and in IPVS mode beside virtual servers.
//!
//! They are in tables that others use too, `nat`, `filter` and `mangle`. Chains go by the exact names that kube-proxy gives them, and
//! rules that lead to them go if they carry one of its comments. What kubelet makes under like names (`KUBE-FIREWALL`,
//! `KUBE-KUBELET-CANARY`, `KUBE-IPTABLES-HINT`, `KUBE-MARK-DROP`) stays, and so do the tables and what hooks in there.

use std::collections::{BTreeMap, BTreeSet};

use kubeweir_netfilter::survey::{Rule, Surveyed};
use kubeweir_netfilter::{Commit, CommitError, Family, Operation};

use super::{Doors, Outcome, Removed, chain};

/// Tables with chains of kube-proxy's, and the names of these.
pub(super) const CHAINS: [(&str, &[&str]); 3] = [
    (
        "nat",
        &[
            "KUBE-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-POSTROUTING",
            MARK,
            "KUBE-PROXY-CANARY",
            "KUBE-NODE-PORT",
            "KUBE-LOAD-BALANCER",
        ],
    ),
    (
        "filter",
        &[
            "KUBE-SERVICES",
            "KUBE-EXTERNAL-SERVICES",
            "KUBE-NODEPORTS",
            "KUBE-FORWARD",
            "KUBE-PROXY-FIREWALL",
            "KUBE-PROXY-CANARY",
            "KUBE-NODE-PORT",
            "KUBE-SOURCE-RANGES-FIREWALL",
            "KUBE-IPVS-FILTER",
            "KUBE-IPVS-OUT-FILTER",
        ],
    ),
    ("mangle", &["KUBE-PROXY-CANARY"]),
];
/// How names of chains in `nat` begin that kube-proxy has one of for each Service port or endpoint.
pub(super) const PREFIXES: [&str; 5] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-", "KUBE-FW-", "KUBE-EXT-"];
/// Marks packets to be masqueraded, by the mark that we masquerade too. Others use it: the port mappings of CNI plugins.
const MARK: &str = "KUBE-MARK-MASQ";
/// Comments of the rules by which kube-proxy leads from others' chains to its own.
const COMMENTS: [&str; 9] = [
    "kubernetes service portals",
    "kubernetes externally-visible service portals",
    "kubernetes health check service ports",
    "kubernetes forwarding rules",
    "kubernetes load balancer firewall",
    "kubernetes postrouting rules",
    "kubernetes health check rules",
    "kube-proxy firewall rules",
    "kubernetes ipvs access filter",
];
/// How often a family is looked at again when others change it in between.
const ATTEMPTS: u32 = 3;

/// Whether kube-proxy makes a chain of this name in this table.
pub(super) fn is_of_kube_proxy(table: &str, chain: &str) -> bool {
    let named = CHAINS.iter().any(|(of, names)| *of == table && names.contains(&chain));
    named || (table == "nat" && PREFIXES.iter().any(|prefix| chain.starts_with(prefix)))
}

/// What is to be done about one table.
#[derive(Debug, PartialEq, Eq)]
struct Removal {
    commit: Commit,
    /// How many chains go.
    chains: usize,
    /// Chains that others lead to: they stay, without rules.
    held: Vec<String>,
}

impl Removal {
    /// Decides. The kernel can refuse nothing of it, as long as the table is as it was surveyed: rules that lead to a chain go
    /// before it, and a chain that anything else leads to stays.
    fn of(table: &Surveyed) -> Removal {
        let is_base = |name: &str| table.chains.get(name).is_none_or(|chain| chain.is_base);
        let is_doomed = |name: &str| is_of_kube_proxy(&table.table, name) && !is_base(name);
        let mut commit = Commit::new(table.family, &table.table);
        // What of the kernel's count of uses ends with this: rules inside, and ways that lead here.
        let mut ending: BTreeMap<&str, u32> = BTreeMap::new();
        let mut held_by_rules: BTreeSet<&str> = BTreeSet::new();
        for rule in &table.rules {
            let inside = is_doomed(&rule.chain);
            let leads_to = rule.leads_to.iter().map(String::as_str).filter(|name| is_doomed(name));
            if !inside && !is_own_jump(rule) {
                held_by_rules.extend(leads_to);
                continue;
            }
            let mut leads_to = leads_to.peekable();
            if !inside && leads_to.peek().is_some() {
                commit.push(Operation::DeleteRule(rule.chain.clone(), rule.handle));
            }
            for name in leads_to.chain(inside.then_some(rule.chain.as_str())) {
                *ending.entry(name).or_default() += 1;
            }
        }
        let doomed = || table.chains.iter().filter(|(name, _)| is_doomed(name));
        let is_held = |name: &str, uses: u32| {
            held_by_rules.contains(name) || uses > ending.get(name).copied().unwrap_or_default()
        };
        let held: Vec<String> = doomed()
            .filter(|(name, chain)| is_held(name, chain.uses))
            .map(|(name, _)| name.clone())
            .collect();
        let leads_on = |rule: &Rule| rule.chain == MARK && rule.leads_to.iter().any(|name| is_doomed(name));
        let mark_leads_on = table.rules.iter().any(leads_on);
        let stays_whole = |name: &String| name == MARK && held.contains(name) && !mark_leads_on;
        doomed().filter(|(name, _)| !stays_whole(name)).for_each(|(name, _)| {
            commit.push(Operation::FlushChain(name.clone()));
        });
        let going: Vec<&String> =
            doomed().map(|(name, _)| name).filter(|name| !held.contains(name)).collect();
        for name in &going {
            commit.push(Operation::DeleteChain((*name).clone()));
        }
        Removal { commit, chains: going.len(), held }
    }
}

fn is_own_jump(rule: &Rule) -> bool {
    rule.comment.as_deref().is_some_and(|comment| COMMENTS.contains(&comment))
}

/// Removes them, those of a family in one batch. A packet meets all of them or none.
pub(super) fn remove(doors: &mut impl Doors, outcome: &mut Outcome) {
    for family in Family::ALL {
        let what = || format!("chains of iptables, family {family}");
        for attempt in 1..=ATTEMPTS {
            let surveyed = doors.survey(family, &CHAINS.map(|(table, _)| table));
            let Some(surveyed) = outcome.tried(surveyed, what) else { break };
            let removals: Vec<Removal> = surveyed.iter().map(Removal::of).collect();
            let commits: Vec<Commit> = removals.iter().map(|removal| removal.commit.clone()).collect();
            match doors.remove_chains(&commits) {
                Ok(()) => {
                    for removal in removals {
                        enter(removal, outcome);
                    }
                    break;
                }
                Err(CommitError::Refused(_)) if attempt < ATTEMPTS => {}
                Err(error) => {
                    outcome.failed.push(format!("{}: {:#}", what(), chain(error)));
                    break;
                }
            }
        }
    }
}

fn enter(removal: Removal, outcome: &mut Outcome) {
    let Removal { commit, chains, held } = removal;
    let table = format!("{} {}", commit.family, commit.table);
    for name in held {
        let how = if name == MARK { "as it is" } else { "without rules" };
        outcome
            .held
            .push(format!("chain {name} of table {table}, {how}: what is not kube-proxy's leads to it"));
    }
    if chains > 0 {
        outcome.removed.push(Removed::Chains(table, chains));
    }
}

#[cfg(test)]
pub(super) mod tests;
