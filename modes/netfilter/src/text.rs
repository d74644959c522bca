//! A table in the syntax that `nft -f` loads.

use std::fmt;

use crate::chain::{Chain, Hook};
use crate::set::Element;
use crate::{Set, Table, datatype};

/// A script for `nft -f` that puts these tables in place of those with their names, in one transaction. Deleting them first
/// is also what lets `nft` read rules that refer to maps the kernel has already.
pub fn script(tables: &[Table]) -> String {
    let mut text = String::new();
    for table in tables {
        let name = format!("table {} {}", table.family, table.name);
        text = format!("{text}{name} {{}}\ndelete {name}\n");
    }
    tables.iter().fold(text, |text, table| format!("{text}{table}"))
}

/// The table as `nft -f` loads it. A rule or set that was read from the kernel and not built here has no text: a
/// comment stands in its place.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {} {{", self.family, self.name)?;
        for (name, set) in &self.sets {
            print_set(name, set, f)?;
        }
        for (name, chain) in &self.chains {
            print_chain(name, chain, f)?;
        }
        writeln!(f, "}}")
    }
}

fn print_set(name: &str, set: &Set, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let keyword = if set.kind.is_map() { "map" } else { "set" };
    writeln!(f, "\t{keyword} {name} {{")?;
    match &set.kind.text {
        Some(text) => writeln!(f, "\t\ttypeof {text}")?,
        None => writeln!(f, "\t\t# not written by us")?,
    }
    if set.kind.is_ranges() {
        writeln!(f, "\t\tflags interval")?;
    }
    if set.kind.is_dynamic() {
        writeln!(f, "\t\tflags dynamic,timeout")?;
    }
    if let Some(size) = set.kind.size {
        writeln!(f, "\t\tsize {size}")?;
    }
    if set.kind.counts() {
        writeln!(f, "\t\tcounter")?;
    }
    if !set.elements.is_empty() {
        writeln!(f, "\t\telements = {{")?;
        for element in &set.elements {
            writeln!(f, "\t\t\t{},", element_text(set, element))?;
        }
        writeln!(f, "\t\t}}")?;
    }
    writeln!(f, "\t}}")
}

impl Set {
    /// The elements as `nft` prints them.
    pub fn element_lines(&self) -> impl Iterator<Item = String> + '_ {
        self.elements.iter().map(|element| element_text(self, element))
    }
}

/// An element as `nft` prints it.
pub(crate) fn element_text(set: &Set, element: &Element) -> String {
    let mut text = String::new();
    let end = element.end.as_deref().unwrap_or(&element.key);
    datatype::print_range(&set.kind.key, element.key.as_slice(), end.as_slice(), &mut text);
    if let Some(comment) = &element.comment {
        text = format!("{text} comment \"{comment}\"");
    }
    if set.kind.is_map() {
        text.push_str(" : ");
        datatype::print(&set.kind.data, element.data.as_slice(), &mut text);
    }
    text
}

fn print_chain(name: &str, chain: &Chain, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "\tchain {name} {{")?;
    if let Some(Hook { translates, point, priority }) = &chain.hook {
        let kind = if *translates { "nat" } else { "filter" };
        writeln!(f, "\t\ttype {kind} hook {} priority {priority}; policy accept;", point.name())?;
    }
    for rule in &chain.rules {
        match rule.text() {
            Some(text) => writeln!(f, "\t\t{text}")?,
            None => writeln!(f, "\t\t# a rule not written by us")?,
        }
    }
    writeln!(f, "\t}}")
}
