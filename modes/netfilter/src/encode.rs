//! Operations as messages of nf_tables (`enum nf_tables_msg_types`).

use std::ops::Range;

use kubeweir_netlink::batch::Batch;
use kubeweir_netlink::wire::{APPEND, CREATE, Writer};

use crate::chain::{Hook, Rule};
use crate::set::{Element, SetKind};
use crate::{Commit, Operation, datatype, expr, udata};

/// Message numbers.
pub(crate) mod message {
    pub(crate) const NEW_TABLE: u8 = 0;
    pub(crate) const GET_TABLE: u8 = 1;
    pub(crate) const DELETE_TABLE: u8 = 2;
    pub(crate) const NEW_CHAIN: u8 = 3;
    pub(crate) const GET_CHAIN: u8 = 4;
    pub(crate) const DELETE_CHAIN: u8 = 5;
    pub(crate) const NEW_RULE: u8 = 6;
    pub(crate) const GET_RULE: u8 = 7;
    pub(crate) const DELETE_RULE: u8 = 8;
    pub(crate) const NEW_SET: u8 = 9;
    pub(crate) const GET_SET: u8 = 10;
    pub(crate) const DELETE_SET: u8 = 11;
    pub(crate) const NEW_ELEMENT: u8 = 12;
    pub(crate) const GET_ELEMENT: u8 = 13;
    pub(crate) const DELETE_ELEMENT: u8 = 14;
    pub(crate) const GET_GENERATION: u8 = 16;
}

/// Attribute numbers. The table's name is attribute 1 of every message.
pub(crate) mod attribute {
    pub(crate) const TABLE: u16 = 1;
    pub(crate) const TABLE_FLAGS: u16 = 2;
    pub(crate) const TABLE_HANDLE: u16 = 4;
    pub(crate) const CHAIN_NAME: u16 = 3;
    pub(crate) const CHAIN_HOOK: u16 = 4;
    pub(crate) const CHAIN_POLICY: u16 = 5;
    pub(crate) const CHAIN_USES: u16 = 6;
    pub(crate) const CHAIN_TYPE: u16 = 7;
    pub(crate) const HOOK_NUMBER: u16 = 1;
    pub(crate) const HOOK_PRIORITY: u16 = 2;
    pub(crate) const RULE_CHAIN: u16 = 2;
    pub(crate) const RULE_HANDLE: u16 = 3;
    pub(crate) const RULE_EXPRESSIONS: u16 = 4;
    pub(crate) const RULE_USERDATA: u16 = 7;
    pub(crate) const LIST_ITEM: u16 = 1;
    pub(crate) const SET_NAME: u16 = 2;
    pub(crate) const SET_FLAGS: u16 = 3;
    pub(crate) const SET_KEY_TYPE: u16 = 4;
    pub(crate) const SET_KEY_LENGTH: u16 = 5;
    pub(crate) const SET_DATA_TYPE: u16 = 6;
    pub(crate) const SET_DATA_LENGTH: u16 = 7;
    pub(crate) const SET_DESCRIPTION: u16 = 9;
    pub(crate) const SET_ID: u16 = 10;
    pub(crate) const DESCRIPTION_SIZE: u16 = 1;
    pub(crate) const DESCRIPTION_FIELDS: u16 = 2;
    pub(crate) const FIELD_LENGTH: u16 = 1;
    pub(crate) const SET_USERDATA: u16 = 13;
    pub(crate) const SET_EXPRESSION: u16 = 17;
    pub(crate) const ELEMENTS_SET: u16 = 2;
    pub(crate) const ELEMENTS: u16 = 3;
    pub(crate) const ELEMENT_KEY: u16 = 1;
    pub(crate) const ELEMENT_DATA: u16 = 2;
    pub(crate) const ELEMENT_USERDATA: u16 = 6;
    pub(crate) const ELEMENT_EXPRESSION: u16 = 7;
    pub(crate) const ELEMENT_KEY_END: u16 = 10;
    pub(crate) const EXPRESSION_NAME: u16 = 1;
    pub(crate) const EXPRESSION_DATA: u16 = 2;
    pub(crate) const COUNTER_BYTES: u16 = 1;
    pub(crate) const COUNTER_PACKETS: u16 = 2;
    pub(crate) const VALUE: u16 = 1;
    pub(crate) const GENERATION: u16 = 1;
}

use attribute as a;
use message::{DELETE_ELEMENT, NEW_ELEMENT};

/// `NF_ACCEPT`.
const POLICY_ACCEPT: u32 = 1;
/// Keeps a list of elements below the 64 KiB of an attribute, whatever its elements' comments.
const LIST_LIMIT: usize = 60_000;
/// Attribute headers around one element, its key, its data and its comment.
const ELEMENT_OVERHEAD: usize = 32;

/// Where a message of a batch came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Index into [`Commit::operations`].
    pub(crate) operation: usize,
    /// Index of the message's first element in the operation.
    pub(crate) first_element: usize,
}

/// The parts of an operation that fit into a message each: ranges of its elements, or one empty range for an
/// operation that is about no elements.
pub(crate) fn parts(operation: &Operation) -> Vec<Range<usize>> {
    let (mut parts, mut first) = (Vec::new(), 0);
    let Some((_, elements)) = operation.elements() else {
        parts.push(0..0);
        return parts;
    };
    while first < elements.len() {
        let end = first + part_length(&elements[first..]);
        parts.push(first..end);
        first = end;
    }
    parts
}

/// Appends one part of an operation and says for each message where it came from.
pub(crate) fn part(
    commit: &Commit,
    index: usize,
    part: &Range<usize>,
    batch: &mut Batch,
    origins: &mut Vec<Origin>,
) {
    let operation = &commit.operations[index];
    let kinds: &[u8] = match operation {
        Operation::AddElements(..) => &[NEW_ELEMENT],
        Operation::DeleteElements(..) => &[DELETE_ELEMENT],
        Operation::ReplaceElements(..) => &[DELETE_ELEMENT, NEW_ELEMENT],
        _ => &[],
    };
    for kind in kinds {
        element_list(commit, operation, part, *kind, batch);
        origins.push(Origin { operation: index, first_element: part.start });
    }
    if kinds.is_empty() {
        object(commit, operation, batch);
        origins.push(Origin { operation: index, first_element: 0 });
    }
}

fn object(commit: &Commit, operation: &Operation, batch: &mut Batch) {
    let family = commit.family.number();
    let table = |w: &mut Writer| w.string(a::TABLE, &commit.table);
    let named = |kind: u16, name: &str, w: &mut Writer| {
        table(w);
        w.string(kind, name);
    };
    match operation {
        Operation::AddElements(..) | Operation::DeleteElements(..) | Operation::ReplaceElements(..) => 0,
        Operation::AddTable => batch.push(message::NEW_TABLE, CREATE, family, |w| {
            table(w);
            w.be32(a::TABLE_FLAGS, 0);
        }),
        Operation::DeleteTable => batch.push(message::DELETE_TABLE, 0, family, table),
        Operation::AddChain(name, hook) => batch.push(message::NEW_CHAIN, CREATE, family, |w| {
            named(a::CHAIN_NAME, name, w);
            if let Some(hook) = hook {
                base_chain(hook, w);
            }
        }),
        Operation::FlushChain(name) => {
            batch.push(message::DELETE_RULE, 0, family, |w| named(a::RULE_CHAIN, name, w))
        }
        Operation::DeleteChain(name) => {
            batch.push(message::DELETE_CHAIN, 0, family, |w| named(a::CHAIN_NAME, name, w))
        }
        Operation::DeleteRule(chain, handle) => batch.push(message::DELETE_RULE, 0, family, |w| {
            named(a::RULE_CHAIN, chain, w);
            w.be64(a::RULE_HANDLE, *handle);
        }),
        Operation::AddRule(chain, content) => batch.push(message::NEW_RULE, CREATE | APPEND, family, |w| {
            named(a::RULE_CHAIN, chain, w);
            rule(content, w);
        }),
        Operation::AddSet(name, kind) => {
            let id = u32::try_from(batch.operations()).unwrap_or(u32::MAX);
            batch.push(message::NEW_SET, CREATE, family, |w| {
                named(a::SET_NAME, name, w);
                set_kind(kind, id, w);
            })
        }
        Operation::DeleteSet(name) => {
            batch.push(message::DELETE_SET, 0, family, |w| named(a::SET_NAME, name, w))
        }
    };
}

fn base_chain(hook: &Hook, w: &mut Writer) {
    w.string(a::CHAIN_TYPE, if hook.translates { "nat" } else { "filter" });
    w.be32(a::CHAIN_POLICY, POLICY_ACCEPT);
    w.nest(a::CHAIN_HOOK, |w| {
        w.be32(a::HOOK_NUMBER, hook.point as u32);
        w.be32(a::HOOK_PRIORITY, hook.priority.cast_unsigned());
    });
}

fn rule(rule: &Rule, w: &mut Writer) {
    w.nest(a::RULE_EXPRESSIONS, |w| {
        for expression in rule.expressions() {
            w.nest(a::LIST_ITEM, |w| expr::encode(expression, w));
        }
    });
    if let Some(comment) = rule.comment_text() {
        w.bytes(a::RULE_USERDATA, &udata::comment(comment));
    }
}

fn set_kind(kind: &SetKind, id: u32, w: &mut Writer) {
    let length = |types| u32::try_from(datatype::length(types)).unwrap_or_default();
    w.be32(a::SET_FLAGS, kind.flags);
    w.be32(a::SET_KEY_TYPE, datatype::concatenated(&kind.key));
    w.be32(a::SET_KEY_LENGTH, length(&kind.key));
    if kind.is_map() {
        w.be32(a::SET_DATA_TYPE, datatype::concatenated(&kind.data));
        w.be32(a::SET_DATA_LENGTH, length(&kind.data));
    }
    w.be32(a::SET_ID, id);
    if let Some(size) = kind.size {
        w.nest(a::SET_DESCRIPTION, |w| w.be32(a::DESCRIPTION_SIZE, size));
    }
    if kind.is_ranges() {
        w.nest(a::SET_DESCRIPTION, |w| w.nest(a::DESCRIPTION_FIELDS, |w| field_lengths(kind, w)));
    }
    w.bytes(a::SET_USERDATA, &kind.udata);
    // Elements that are added without a counter of their own get a copy of this one.
    if let Some(name) = &kind.expression {
        w.nest(a::SET_EXPRESSION, |w| {
            w.string(a::EXPRESSION_NAME, name);
            w.nest(a::EXPRESSION_DATA, |_| {});
        });
    }
}

/// Ranges in concatenations need to know where each field ends.
fn field_lengths(kind: &SetKind, w: &mut Writer) {
    for field in &kind.key {
        let length = u32::try_from(field.length()).unwrap_or_default();
        w.nest(a::LIST_ITEM, |w| w.be32(a::FIELD_LENGTH, length));
    }
}

fn element_list(commit: &Commit, operation: &Operation, part: &Range<usize>, kind: u8, batch: &mut Batch) {
    let Some((set, elements)) = operation.elements() else { return };
    let whole = kind == NEW_ELEMENT;
    let flags = if whole { CREATE } else { 0 };
    batch.push(kind, flags, commit.family.number(), |w| {
        w.string(a::TABLE, &commit.table);
        w.string(a::ELEMENTS_SET, set);
        w.nest(a::ELEMENTS, |w| {
            for element in &elements[part.clone()] {
                list_item(element, whole, w);
            }
        });
    });
}

fn part_length(elements: &[Element]) -> usize {
    let mut bytes = 0;
    let fits = |element: &&Element| {
        let comment = element.comment.as_ref().map_or(0, |comment| comment.len() + 8);
        let keys = if element.end.is_some() { 2 } else { 1 };
        bytes +=
            ELEMENT_OVERHEAD + keys * element.key.as_slice().len() + element.data.as_slice().len() + comment;
        bytes <= LIST_LIMIT
    };
    elements.iter().take_while(fits).count().max(1)
}

fn list_item(element: &Element, whole: bool, w: &mut Writer) {
    w.nest(a::LIST_ITEM, |w| {
        w.nest(a::ELEMENT_KEY, |w| w.bytes(a::VALUE, element.key.as_slice()));
        if let Some(end) = &element.end {
            w.nest(a::ELEMENT_KEY_END, |w| w.bytes(a::VALUE, end.as_slice()));
        }
        if !whole {
            return;
        }
        if !element.data.as_slice().is_empty() {
            w.nest(a::ELEMENT_DATA, |w| w.bytes(a::VALUE, element.data.as_slice()));
        }
        if let Some(comment) = &element.comment {
            w.bytes(a::ELEMENT_USERDATA, &udata::comment(comment));
        }
    });
}
