//! Operations and commits: a difference as a list of things to do.

use std::fmt;

use crate::{Element, Family, Hook, Rule, SetKind};

/// What turns one table into another, in an order that may be cut anywhere: traffic between two parts meets
/// either the old or the new state of each service, never a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: String,
    /// What to do, in order.
    pub operations: Vec<Operation>,
}

/// One step of a [`Commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Creates the table, if need be.
    AddTable,
    /// Deletes the table and everything in it.
    DeleteTable,
    /// Creates an empty chain, hooked in or only to be jumped to.
    AddChain(String, Option<Hook>),
    /// Removes all rules of a chain.
    FlushChain(String),
    /// Deletes an empty chain.
    DeleteChain(String),
    /// Deletes the rule of a chain that has this handle.
    DeleteRule(String, u64),
    /// Appends a rule to a chain.
    AddRule(String, Rule),
    /// Creates an empty set or map.
    AddSet(String, SetKind),
    /// Deletes a set or map with its elements.
    DeleteSet(String),
    /// Adds elements.
    AddElements(String, Vec<Element>),
    /// Deletes elements; only their keys count.
    DeleteElements(String, Vec<Element>),
    /// Replaces the data or comment of elements: each is deleted and added in one batch.
    ReplaceElements(String, Vec<Element>),
}

impl Commit {
    /// A commit with nothing to do.
    pub fn new(family: Family, table: &str) -> Commit {
        Commit { family, table: table.to_owned(), operations: Vec::new() }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Objects touched: tables, chains, rules, sets and elements, each counted once. A replaced element counts twice, as
    /// the kernel is told twice.
    pub fn count(&self) -> usize {
        self.operations.iter().map(Operation::count).sum()
    }

    /// Appends an operation, unless it is about no element at all.
    pub fn push(&mut self, operation: Operation) {
        if operation.count() > 0 {
            self.operations.push(operation);
        }
    }
}

impl Operation {
    /// The set and the elements this is about, if it is about elements.
    pub(crate) fn elements(&self) -> Option<(&str, &[Element])> {
        match self {
            Operation::AddElements(set, elements)
            | Operation::DeleteElements(set, elements)
            | Operation::ReplaceElements(set, elements) => Some((set, elements)),
            _ => None,
        }
    }

    fn count(&self) -> usize {
        match self.elements() {
            Some((_, elements)) if matches!(self, Operation::ReplaceElements(..)) => 2 * elements.len(),
            Some((_, elements)) => elements.len(),
            None => 1,
        }
    }
}

/// One line for logs and errors: the verb and the object's name.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::AddTable => write!(f, "add table"),
            Operation::DeleteTable => write!(f, "delete table"),
            Operation::AddChain(name, _) => write!(f, "add chain {name}"),
            Operation::FlushChain(name) => write!(f, "flush chain {name}"),
            Operation::DeleteChain(name) => write!(f, "delete chain {name}"),
            Operation::DeleteRule(chain, handle) => write!(f, "delete rule {chain} handle {handle}"),
            Operation::AddRule(chain, rule) => {
                write!(f, "add rule {chain} {}", rule.text().unwrap_or_default())
            }
            Operation::AddSet(name, _) => write!(f, "add set {name}"),
            Operation::DeleteSet(name) => write!(f, "delete set {name}"),
            Operation::AddElements(name, elements) => write!(f, "add {} elements to {name}", elements.len()),
            Operation::DeleteElements(name, elements) => {
                write!(f, "delete {} elements of {name}", elements.len())
            }
            Operation::ReplaceElements(name, elements) => {
                write!(f, "replace {} elements of {name}", elements.len())
            }
        }
    }
}
