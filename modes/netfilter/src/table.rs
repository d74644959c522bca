//! A table: chains and sets by name.

use std::collections::BTreeMap;

use crate::{Chain, Family, Set};

/// One table of one family. Names are unique within chains and within sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Address family.
    pub family: Family,
    /// Name, unique within the family and network namespace.
    pub name: String,
    /// Chains by name.
    pub chains: BTreeMap<String, Chain>,
    /// Sets and maps by name.
    pub sets: BTreeMap<String, Set>,
}

impl Table {
    /// A table with nothing in it.
    pub fn new(family: Family, name: &str) -> Table {
        Table { family, name: name.to_owned(), chains: BTreeMap::new(), sets: BTreeMap::new() }
    }
}
