//! What turns the observed table into the desired one.
//!
//! Order of a commit: new sets and chains, then elements that nothing refers to yet, then rules, then the elements that
//! rules no longer need, then old chains and sets. Map entries come before the set entries that lead packets to
//! them and go after those. A commit too large for one batch can therefore be cut between any two operations.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::{Chain, Commit, Element, Elements, Operation, Table};

/// Differences between two element lists of one set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ElementChanges {
    /// Keys that are missing.
    pub added: Vec<Element>,
    /// Keys that are there with other data or another comment.
    pub replaced: Vec<Element>,
    /// Keys that are too many.
    pub removed: Vec<Element>,
}

/// The operations that turn `observed` into `desired`; `None` is a table that does not exist. Elements are moved into the
/// operations: there may be hundreds of thousands.
pub fn diff(observed: Option<&Table>, mut desired: Table) -> Commit {
    let sets = desired.sets.iter_mut();
    let wanted: BTreeMap<String, Elements> =
        sets.map(|(name, set)| (name.clone(), std::mem::take(&mut set.elements))).collect();
    let rebuilt = Rebuilt::between(observed, &desired);
    let changes = element_changes(observed, wanted, &rebuilt);
    assemble(observed, &desired, &rebuilt, changes)
}

/// Changes of elements by the name of their set.
pub type Changes = BTreeMap<String, ElementChanges>;

/// The operations that turn one table into another, and carry out changes to elements that neither of them lists.
pub fn diff_with(observed: &Table, desired: &Table, mut changes: Changes) -> Commit {
    let rebuilt = Rebuilt::between(Some(observed), desired);
    let wanted = desired.sets.iter().map(|(name, set)| (name.clone(), set.elements.clone())).collect();
    for (name, mut listed) in element_changes(Some(observed), wanted, &rebuilt) {
        let all = changes.entry(name).or_default();
        all.added.append(&mut listed.added);
        all.replaced.append(&mut listed.replaced);
        all.removed.append(&mut listed.removed);
    }
    assemble(Some(observed), desired, &rebuilt, changes)
}

fn assemble(observed: Option<&Table>, desired: &Table, rebuilt: &Rebuilt, changes: Changes) -> Commit {
    let nothing = Table::new(desired.family, &desired.name);
    let mut commit = Commit::new(desired.family, &desired.name);
    if observed.is_none() {
        commit.push(Operation::AddTable);
    }
    let observed = observed.unwrap_or(&nothing);
    rebuilt.clear(observed, &mut commit);
    add_containers(observed, desired, rebuilt, &mut commit);
    let mut late = Commit::new(desired.family, &desired.name);
    push_elements(desired, changes, &mut commit, &mut late);
    replace_rules(observed, desired, rebuilt, &mut commit);
    commit.operations.append(&mut late.operations);
    delete_containers(observed, desired, &mut commit);
    commit
}

/// A commit for people: one line for each object, elements included.
pub fn describe(commit: &Commit) -> String {
    let mut text = String::new();
    for operation in &commit.operations {
        let place = format!("{} {}", commit.family, commit.table);
        text = format!("{text}{place}: {operation}\n");
    }
    text
}

/// Puts element changes of many sets in the order of the module's documentation: additions into `early`, removals
/// into `late`. `structure` says which names are maps.
fn push_elements(structure: &Table, changes: Changes, early: &mut Commit, late: &mut Commit) {
    let is_map = |name: &str| structure.sets.get(name).is_some_and(|set| set.kind.is_map());
    let (maps, sets): (Vec<_>, Vec<_>) = changes.into_iter().partition(|(name, _)| is_map(name));
    let mut map_removals = Vec::new();
    for (name, changes) in maps {
        early.push(Operation::AddElements(name.clone(), changes.added));
        early.push(Operation::ReplaceElements(name.clone(), changes.replaced));
        map_removals.push(Operation::DeleteElements(name, changes.removed));
    }
    for (name, changes) in sets {
        early.push(Operation::AddElements(name.clone(), changes.added));
        early.push(Operation::ReplaceElements(name.clone(), changes.replaced));
        late.push(Operation::DeleteElements(name, changes.removed));
    }
    for operation in map_removals {
        late.push(operation);
    }
}

/// Compares two element lists.
pub fn elements(observed: &Elements, desired: Elements) -> ElementChanges {
    let mut changes = ElementChanges::default();
    if observed.is_empty() {
        changes.added = desired.into_vec();
        return changes;
    }
    let (mut have, mut want) = (observed.iter().peekable(), desired.into_vec().into_iter().peekable());
    loop {
        let order = match (have.peek(), want.peek()) {
            (None, None) => return changes,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(have), Some(want)) => have.key.cmp(&want.key),
        };
        match order {
            Ordering::Less => changes.removed.extend(have.next().cloned()),
            Ordering::Greater => changes.added.extend(want.next()),
            Ordering::Equal => {
                let (old, new) = (have.next(), want.next());
                changes.replaced.extend(new.filter(|new| old != Some(new)));
            }
        }
    }
}

/// Chains and sets that keep their name but change their nature. The kernel cannot alter those in place, and a
/// set cannot go while rules refer to it: then all rules go first and come back in the same batch.
struct Rebuilt {
    chains: BTreeSet<String>,
    sets: BTreeSet<String>,
}

impl Rebuilt {
    fn between(observed: Option<&Table>, desired: &Table) -> Rebuilt {
        let nothing = Table::new(desired.family, &desired.name);
        let observed = observed.unwrap_or(&nothing);
        let chains = desired
            .chains
            .iter()
            .filter(|(name, chain)| observed.chains.get(*name).is_some_and(|old| old.hook != chain.hook));
        let sets = desired
            .sets
            .iter()
            .filter(|(name, set)| observed.sets.get(*name).is_some_and(|old| old.kind != set.kind));
        Rebuilt {
            chains: chains.map(|(name, _)| name.clone()).collect(),
            sets: sets.map(|(name, _)| name.clone()).collect(),
        }
    }

    fn any(&self) -> bool {
        !self.chains.is_empty() || !self.sets.is_empty()
    }

    fn clear(&self, observed: &Table, commit: &mut Commit) {
        if !self.any() {
            return;
        }
        for (name, chain) in &observed.chains {
            if !chain.rules.is_empty() {
                commit.push(Operation::FlushChain(name.clone()));
            }
        }
        self.chains.iter().for_each(|name| commit.push(Operation::DeleteChain(name.clone())));
        self.sets.iter().for_each(|name| commit.push(Operation::DeleteSet(name.clone())));
    }
}

fn add_containers(observed: &Table, desired: &Table, rebuilt: &Rebuilt, commit: &mut Commit) {
    for (name, set) in &desired.sets {
        if !observed.sets.contains_key(name) || rebuilt.sets.contains(name) {
            commit.push(Operation::AddSet(name.clone(), set.kind.clone()));
        }
    }
    for (name, chain) in &desired.chains {
        if !observed.chains.contains_key(name) || rebuilt.chains.contains(name) {
            commit.push(Operation::AddChain(name.clone(), chain.hook.clone()));
        }
    }
}

fn element_changes(
    observed: Option<&Table>,
    desired: BTreeMap<String, Elements>,
    rebuilt: &Rebuilt,
) -> Changes {
    let none = Elements::default();
    let kept = |name: &String| observed?.sets.get(name).filter(|_| !rebuilt.sets.contains(name));
    let compare = |name: &String, wanted| elements(kept(name).map_or(&none, |set| &set.elements), wanted);
    desired.into_iter().map(|(name, wanted)| (name.clone(), compare(&name, wanted))).collect()
}

fn replace_rules(observed: &Table, desired: &Table, rebuilt: &Rebuilt, commit: &mut Commit) {
    let nothing = Chain::default();
    let surplus = observed.chains.keys().filter(|name| !desired.chains.contains_key(*name));
    let wanted = desired.chains.iter().chain(surplus.map(|name| (name, &nothing)));
    for (name, chain) in wanted {
        let old: &[_] = match observed.chains.get(name) {
            Some(old) if !rebuilt.any() => &old.rules,
            _ => &[],
        };
        if old == chain.rules {
            continue;
        }
        if !old.is_empty() {
            commit.push(Operation::FlushChain(name.clone()));
        }
        chain.rules.iter().for_each(|rule| commit.push(Operation::AddRule(name.clone(), rule.clone())));
    }
}

fn delete_containers(observed: &Table, desired: &Table, commit: &mut Commit) {
    for name in observed.chains.keys().filter(|name| !desired.chains.contains_key(*name)) {
        commit.push(Operation::DeleteChain(name.clone()));
    }
    for name in observed.sets.keys().filter(|name| !desired.sets.contains_key(*name)) {
        commit.push(Operation::DeleteSet(name.clone()));
    }
}
