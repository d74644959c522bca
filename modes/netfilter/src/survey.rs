//! Tables of others, as far as one must know them to remove some of their chains: which chains there are, and which rules lead
//! to them.
//!
//! Whoever made a table may have put anything into it: expressions of other programs, matches and targets of `xt`, names that are
//! not text. Reading goes on past all that is not understood. What was overlooked shows in [`Chain::uses`], the kernel's own count.

use std::collections::BTreeMap;

use kubeweir_netlink::Error;
use kubeweir_netlink::nfnl::GENERIC_HEADER;
use kubeweir_netlink::wire::{Attribute, Attributes, Message, attributes};

use crate::client::Client;
use crate::encode::{attribute as a, message};
use crate::kernel::ObserveError;
use crate::{Family, udata};

/// How often tables are read again for want of a quiet moment.
const ATTEMPTS: u32 = 5;

/// A table of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Family of the table.
    pub family: Family,
    /// Name of the table.
    pub table: String,
    /// Its chains, by name.
    pub chains: BTreeMap<String, Chain>,
    /// Its rules, in the order of the kernel's list.
    pub rules: Vec<Rule>,
}

/// A chain of somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Whether it hooks in.
    pub is_base: bool,
    /// The kernel's count of what keeps the chain from being deleted: rules in it, and rules and elements that lead to it
    /// (`NFTA_CHAIN_USE`).
    pub uses: u32,
}

/// A rule of somebody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The chain that it is in.
    pub chain: String,
    /// Its number in the table, which no later rule gets again.
    pub handle: u64,
    /// Chains that it jumps or goes to, each as often as it does.
    pub leads_to: Vec<String>,
    /// The comment that `nft` or `iptables` shows.
    pub comment: Option<String>,
}

impl Client {
    /// Reads these tables of a family, whoever made them; those that do not exist have no chains.
    pub fn survey(&mut self, family: Family, tables: &[&str]) -> Result<Vec<Surveyed>, ObserveError> {
        let fail = |source| ObserveError { what: "chains", family, table: tables.join(", "), source };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.generation().map_err(fail)?;
            let read = self.read_survey(family, tables);
            let quiet = self.generation().map_err(fail)? == before;
            match read {
                Ok(tables) if quiet || attempt >= ATTEMPTS => return Ok(tables),
                Err(source) if quiet || attempt >= ATTEMPTS => return Err(fail(source)),
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// The kernel lists chains of all tables together, rules of one table if asked to.
    fn read_survey(&mut self, family: Family, tables: &[&str]) -> Result<Vec<Surveyed>, Error> {
        let mut chains: BTreeMap<String, BTreeMap<String, Chain>> = BTreeMap::new();
        for (table, name, chain) in self.list(message::GET_CHAIN, family, "", |message| Ok(chain(message)))? {
            chains.entry(table).or_default().insert(name, chain);
        }
        let mut surveyed = Vec::new();
        for &table in tables {
            let chains = chains.remove(table).unwrap_or_default();
            let rules = if chains.is_empty() { Vec::new() } else { self.rules(family, table)? };
            surveyed.push(Surveyed { family, table: table.to_owned(), chains, rules });
        }
        Ok(surveyed)
    }

    fn rules(&mut self, family: Family, table: &str) -> Result<Vec<Rule>, Error> {
        let all = self.list(message::GET_RULE, family, table, |message| Ok(rule(message)))?;
        Ok(all.into_iter().filter(|(of, _)| of == table).map(|(_, rule)| rule).collect())
    }
}

/// Table, name and what there is to know.
pub(crate) fn chain(message: &Message<'_>) -> (String, String, Chain) {
    let (mut table, mut name, mut chain) = (String::new(), String::new(), Chain::default());
    for attribute in body(message) {
        match attribute.kind {
            a::TABLE => table = text(&attribute),
            a::CHAIN_NAME => name = text(&attribute),
            a::CHAIN_HOOK => chain.is_base = true,
            a::CHAIN_USES => chain.uses = attribute.be32().unwrap_or_default(),
            _ => {}
        }
    }
    (table, name, chain)
}

/// A rule and its table.
pub(crate) fn rule(message: &Message<'_>) -> (String, Rule) {
    let (mut table, mut rule) = (String::new(), Rule::default());
    let mut of_nft = None;
    for attribute in body(message) {
        match attribute.kind {
            a::TABLE => table = text(&attribute),
            a::RULE_CHAIN => rule.chain = text(&attribute),
            a::RULE_HANDLE => rule.handle = attribute.be64().unwrap_or_default(),
            a::RULE_EXPRESSIONS => {
                flat(attribute.nested()).for_each(|expression| look_at(&expression, &mut rule));
            }
            a::RULE_USERDATA => of_nft = udata::read_comment(attribute.payload),
            _ => {}
        }
    }
    rule.comment = rule.comment.or(of_nft);
    (table, rule)
}

const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// `immediate`: the value, which may be a verdict, which may have a chain.
const WAY_TO_CHAIN: [u16; 3] = [2, 2, 2];
/// `match`: name and private structure; that of `comment` is text that ends with NUL.
const MATCH_NAME: u16 = 1;
const MATCH_DATA: u16 = 3;

fn look_at(expression: &Attribute<'_>, rule: &mut Rule) {
    let field = |kind| flat(expression.nested()).find(|field| field.kind == kind);
    let (Some(name), Some(data)) = (field(EXPRESSION_NAME), field(EXPRESSION_DATA)) else { return };
    match text(&name).as_str() {
        "immediate" => rule.leads_to.extend(find(&data, &WAY_TO_CHAIN).as_ref().map(text)),
        "match" if find(&data, &[MATCH_NAME]).is_some_and(|name| text(&name) == "comment") => {
            rule.comment = find(&data, &[MATCH_DATA]).as_ref().map(text);
        }
        _ => {}
    }
}

fn find<'a>(outer: &Attribute<'a>, way: &[u16]) -> Option<Attribute<'a>> {
    way.iter().try_fold(*outer, |outer, kind| flat(outer.nested()).find(|inner| inner.kind == *kind))
}

/// Text up to its NUL; what is none in it is replaced.
fn text(attribute: &Attribute<'_>) -> String {
    let bytes = attribute.payload.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(bytes).into_owned()
}

fn body<'a>(message: &Message<'a>) -> impl Iterator<Item = Attribute<'a>> {
    flat(attributes(message.payload.get(GENERIC_HEADER..).unwrap_or_default()))
}

/// Those before the first that is malformed.
fn flat(attributes: Attributes<'_>) -> impl Iterator<Item = Attribute<'_>> {
    attributes.map_while(Result::ok)
}

#[cfg(test)]
mod tests;
