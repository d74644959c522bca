//! A kernel that exists in memory and refuses what the real one refuses (feature `sim`, never in the release).
//!
//! Commits are atomic; missing objects are `ENOENT`, objects in use are `EBUSY`, clashing ones `EEXIST`. The suite
//! in `tests/door.rs` of this crate holds it to the real kernel. What becomes of a packet in its tables is asked in
//! [`packet`].

pub mod packet;

use std::collections::{BTreeMap, BTreeSet};

use kubeweir_netlink::Errno;

use crate::expr::{Expr, Verdict};
use crate::kernel::{CommitError, Kernel, Observation, ObserveError, Refused};
use crate::{Chain, Commit, Element, Elements, Family, Key, Operation, Rule, Set, Table};

/// A simulated kernel with its tables.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    tables: BTreeMap<(Family, String), Table>,
    /// Of the tables there are: the generation that each came with.
    handles: BTreeMap<(Family, String), u64>,
    generation: u32,
    /// Commits to refuse, counted down: for tests of what happens then.
    pub refuse_next: u32,
    /// Commits carried out.
    pub commits: u32,
}

impl Simulated {
    /// A table, if it exists.
    pub fn table(&self, family: Family, name: &str) -> Option<&Table> {
        self.tables.get(&(family, name.to_owned()))
    }
}

impl Kernel for Simulated {
    fn observe(&mut self, tables: &[(Family, &str)]) -> Result<Observation, ObserveError> {
        let tables = tables.iter().map(|(family, name)| self.table(*family, name).map(listed)).collect();
        Ok(Observation { tables, generation: Some(self.generation) })
    }

    fn handles(&mut self, tables: &[(Family, &str)]) -> Result<Vec<Option<u64>>, ObserveError> {
        let handle = |(family, name): &(Family, &str)| self.handles.get(&(*family, (*name).to_owned()));
        Ok(tables.iter().map(|table| handle(table).copied()).collect())
    }

    fn commit(&mut self, commits: &[Commit], generation: Option<u32>) -> Result<(), CommitError> {
        if generation.is_some_and(|generation| generation != self.generation) {
            return Err(CommitError::Outdated);
        }
        if self.refuse_next > 0 {
            self.refuse_next -= 1;
            return Err(refused("an injected refusal", Errno(12)));
        }
        let mut next = self.tables.clone();
        for commit in commits {
            for operation in &commit.operations {
                carry_out(&mut next, commit, operation)
                    .map_err(|errno| refused(&operation.to_string(), errno))?;
            }
        }
        check_references(&next)?;
        if commits.iter().any(|commit| !commit.is_empty()) {
            self.generation += 1;
            self.commits += 1;
        }
        self.tables = next;
        self.handles.retain(|table, _| self.tables.contains_key(table));
        for table in self.tables.keys() {
            self.handles.entry(table.clone()).or_insert(self.generation.into());
        }
        Ok(())
    }
}

/// A table as it is read: without what rules have learnt.
fn listed(table: &Table) -> Table {
    let mut table = table.clone();
    for set in table.sets.values_mut().filter(|set| set.kind.is_dynamic()) {
        set.elements = Elements::default();
    }
    table
}

fn refused(operation: &str, errno: Errno) -> CommitError {
    CommitError::Refused(vec![Refused { operation: operation.to_owned(), errno, message: None }])
}

fn carry_out(
    tables: &mut BTreeMap<(Family, String), Table>,
    commit: &Commit,
    operation: &Operation,
) -> Result<(), Errno> {
    let key = (commit.family, commit.table.clone());
    match operation {
        Operation::AddTable => {
            tables.entry(key).or_insert_with(|| Table::new(commit.family, &commit.table));
            Ok(())
        }
        Operation::DeleteTable => tables.remove(&key).map(|_| ()).ok_or(Errno::ENOENT),
        other => inside(tables.get_mut(&key).ok_or(Errno::ENOENT)?, other),
    }
}

fn inside(table: &mut Table, operation: &Operation) -> Result<(), Errno> {
    match operation {
        Operation::AddChain(name, hook) => {
            let chain = table
                .chains
                .entry(name.clone())
                .or_insert_with(|| Chain { hook: hook.clone(), rules: vec![] });
            if chain.hook == *hook { Ok(()) } else { Err(Errno::EEXIST) }
        }
        Operation::FlushChain(name) => {
            table.chains.get_mut(name).ok_or(Errno::ENOENT)?.rules.clear();
            Ok(())
        }
        Operation::DeleteChain(name) => {
            let chain = table.chains.get(name).ok_or(Errno::ENOENT)?;
            if !chain.rules.is_empty() || jumped_to(table).contains(name.as_str()) {
                return Err(Errno::EBUSY);
            }
            table.chains.remove(name);
            Ok(())
        }
        // Nobody can know a handle: no rule that is read from here has one.
        Operation::DeleteRule(..) => Err(Errno::ENOENT),
        Operation::AddRule(name, rule) => {
            table.chains.get_mut(name).ok_or(Errno::ENOENT)?.rules.push(rule.clone());
            Ok(())
        }
        Operation::AddSet(name, kind) => {
            let empty = || Set { kind: kind.clone(), elements: Elements::default() };
            let set = table.sets.entry(name.clone()).or_insert_with(empty);
            if set.kind == *kind { Ok(()) } else { Err(Errno::EEXIST) }
        }
        Operation::DeleteSet(name) => {
            if looked_up(table).contains(name.as_str()) {
                return Err(Errno::EBUSY);
            }
            table.sets.remove(name).map(|_| ()).ok_or(Errno::ENOENT)
        }
        Operation::AddElements(name, elements) => change(table, name, |held| add(held, elements)),
        Operation::DeleteElements(name, elements) => change(table, name, |held| delete(held, elements)),
        Operation::ReplaceElements(name, elements) => change(table, name, |held| {
            delete(held, elements)?;
            add(held, elements)
        }),
        Operation::AddTable | Operation::DeleteTable => Ok(()),
    }
}

type Held = BTreeMap<Key, Element>;

fn change(
    table: &mut Table,
    set: &str,
    work: impl FnOnce(&mut Held) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let set = table.sets.get_mut(set).ok_or(Errno::ENOENT)?;
    let mut held: Held = set.elements.iter().map(|element| (element.key, element.clone())).collect();
    work(&mut held)?;
    set.elements = held.into_values().collect();
    Ok(())
}

fn add(held: &mut Held, elements: &[Element]) -> Result<(), Errno> {
    for element in elements {
        let old = held.entry(element.key).or_insert_with(|| element.clone());
        if old.data != element.data || old.end != element.end {
            return Err(Errno::EEXIST);
        }
    }
    Ok(())
}

fn delete(held: &mut Held, elements: &[Element]) -> Result<(), Errno> {
    elements.iter().try_for_each(|element| held.remove(&element.key).map(|_| ()).ok_or(Errno::ENOENT))
}

/// The kernel resolves names when a rule is added; in a batch that orders things well it is enough to look at the end.
fn check_references(tables: &BTreeMap<(Family, String), Table>) -> Result<(), CommitError> {
    for table in tables.values() {
        let chains = jumped_to(table).into_iter().find(|name| !table.chains.contains_key(*name));
        let sets = looked_up(table).into_iter().find(|name| !table.sets.contains_key(*name));
        if let Some(name) = chains.or(sets) {
            return Err(refused(&format!("a rule that refers to {name}"), Errno::ENOENT));
        }
    }
    Ok(())
}

fn expressions(table: &Table) -> impl Iterator<Item = &Expr> {
    table.chains.values().flat_map(|chain| &chain.rules).flat_map(Rule::expressions)
}

fn jumped_to(table: &Table) -> BTreeSet<&str> {
    expressions(table)
        .filter_map(|expression| match expression {
            Expr::Verdict(Verdict::Jump(name) | Verdict::Goto(name)) => Some(name.as_str()),
            _ => None,
        })
        .collect()
}

fn looked_up(table: &Table) -> BTreeSet<&str> {
    expressions(table)
        .filter_map(|expression| match expression {
            Expr::Lookup { set, .. } | Expr::DynamicSet { set, .. } => Some(set.as_str()),
            _ => None,
        })
        .collect()
}
