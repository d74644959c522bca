//! Messages of `nf_tables` as objects.

use std::sync::Arc;

use kubeweir_netlink::Error;
use kubeweir_netlink::nfnl::GENERIC_HEADER;
use kubeweir_netlink::wire::{Attribute, Attributes, Message, attributes};

use crate::chain::{Hook, HookPoint, Rule};
use crate::encode::attribute as a;
use crate::expr::{self, Expr};
use crate::set::{COUNTER, Counter, Element, SetKind};
use crate::value::{Data, Key};
use crate::{datatype, survey, udata};

/// An object with the table and the name it belongs to.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) object: T,
}

/// A chain's hook, if it has one.
pub(crate) fn chain(message: &Message<'_>) -> Result<Named<Option<Hook>>, Error> {
    let mut named = Named { table: String::new(), name: String::new(), object: None };
    let mut translates = false;
    for attribute in body(message) {
        let attribute = attribute?;
        match attribute.kind {
            a::TABLE => attribute.string()?.clone_into(&mut named.table),
            a::CHAIN_NAME => attribute.string()?.clone_into(&mut named.name),
            a::CHAIN_TYPE => translates = attribute.string()? == "nat",
            a::CHAIN_HOOK => named.object = hook(attribute.nested())?,
            _ => {}
        }
    }
    named.object.iter_mut().for_each(|hook| hook.translates = translates);
    Ok(named)
}

fn hook(attributes: Attributes<'_>) -> Result<Option<Hook>, Error> {
    let (mut point, mut priority) = (None, 0);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            a::HOOK_NUMBER => point = HookPoint::ALL.get(attribute.be32()? as usize).copied(),
            a::HOOK_PRIORITY => priority = attribute.be32()?.cast_signed(),
            _ => {}
        }
    }
    Ok(point.map(|point| Hook { translates: false, point, priority }))
}

/// A rule; its name is that of its chain.
pub(crate) fn rule(message: &Message<'_>) -> Result<Named<Rule>, Error> {
    let (mut table, mut name) = (String::new(), String::new());
    let (mut expressions, mut comment) = (Vec::new(), None);
    for attribute in body(message) {
        let attribute = attribute?;
        match attribute.kind {
            a::TABLE => attribute.string()?.clone_into(&mut table),
            a::RULE_CHAIN => attribute.string()?.clone_into(&mut name),
            a::RULE_EXPRESSIONS => expressions = list(&attribute)?,
            a::RULE_USERDATA => comment = udata::read_comment(attribute.payload),
            _ => {}
        }
    }
    Ok(Named { table, name, object: Rule::observed(expressions, comment) })
}

fn list(attribute: &Attribute<'_>) -> Result<Vec<Expr>, Error> {
    attribute
        .nested()
        .filter_map(|item| item.and_then(|item| expr::decode(item.nested())).transpose())
        .collect()
}

/// The declaration of a set or map. Fields of a type that we never use are left out, which makes the
/// declaration differ from all of ours.
pub(crate) fn set(message: &Message<'_>) -> Result<Named<SetKind>, Error> {
    let kind = SetKind {
        flags: 0,
        key: Vec::new(),
        data: Vec::new(),
        udata: Vec::new(),
        size: None,
        expression: None,
        text: None,
    };
    let mut named = Named { table: String::new(), name: String::new(), object: kind };
    for attribute in body(message) {
        let attribute = attribute?;
        let kind = &mut named.object;
        match attribute.kind {
            a::TABLE => attribute.string()?.clone_into(&mut named.table),
            a::SET_NAME => attribute.string()?.clone_into(&mut named.name),
            a::SET_FLAGS => kind.flags = attribute.be32()?,
            a::SET_KEY_TYPE => kind.key = datatype::split(attribute.be32()?).unwrap_or_default(),
            a::SET_DATA_TYPE => kind.data = datatype::split(attribute.be32()?).unwrap_or_default(),
            a::SET_DESCRIPTION => kind.size = size(attribute.nested())?,
            a::SET_EXPRESSION => kind.expression = expression_name(attribute.nested())?.map(str::to_owned),
            a::SET_USERDATA => kind.udata = attribute.payload.to_vec(),
            _ => {}
        }
    }
    Ok(named)
}

fn expression_name(attributes: Attributes<'_>) -> Result<Option<&str>, Error> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == a::EXPRESSION_NAME {
            return attribute.string().map(Some);
        }
    }
    Ok(None)
}

/// Appends what the elements of one message have counted.
pub(crate) fn counters(message: &Message<'_>, out: &mut Vec<(Key, Counter)>) -> Result<(), Error> {
    for attribute in body(message) {
        let attribute = attribute?;
        if attribute.kind == a::ELEMENTS {
            for item in attribute.nested() {
                out.extend(counted(item?.nested())?);
            }
        }
    }
    Ok(())
}

fn counted(attributes: Attributes<'_>) -> Result<Option<(Key, Counter)>, Error> {
    let (mut key, mut counter) = (None, None);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            a::ELEMENT_KEY => key = value(&attribute)?.and_then(Key::from_bytes),
            a::ELEMENT_EXPRESSION => counter = self::counter(attribute.nested())?,
            _ => {}
        }
    }
    Ok(key.zip(counter))
}

fn counter(attributes: Attributes<'_>) -> Result<Option<Counter>, Error> {
    let (mut is_counter, mut counter) = (false, Counter::default());
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            a::EXPRESSION_NAME => is_counter = attribute.string()? == COUNTER,
            a::EXPRESSION_DATA => {
                for number in attribute.nested() {
                    let number = number?;
                    match number.kind {
                        a::COUNTER_BYTES => counter.bytes = number.be64()?,
                        a::COUNTER_PACKETS => counter.packets = number.be64()?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(is_counter.then_some(counter))
}

fn size(attributes: Attributes<'_>) -> Result<Option<u32>, Error> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == a::DESCRIPTION_SIZE {
            return attribute.be32().map(Some);
        }
    }
    Ok(None)
}

/// Appends the elements of one message.
pub(crate) fn elements(message: &Message<'_>, out: &mut Vec<Element>) -> Result<(), Error> {
    for attribute in body(message) {
        let attribute = attribute?;
        if attribute.kind == a::ELEMENTS {
            for item in attribute.nested() {
                out.push(element(item?.nested())?);
            }
        }
    }
    Ok(())
}

fn element(attributes: Attributes<'_>) -> Result<Element, Error> {
    let mut element = Element::of_set(Key::EMPTY);
    for attribute in attributes {
        let attribute = attribute?;
        match attribute.kind {
            a::ELEMENT_KEY => element.key = value(&attribute)?.and_then(Key::from_bytes).ok_or(TOO_WIDE)?,
            a::ELEMENT_KEY_END => {
                let end = value(&attribute)?.and_then(Key::from_bytes).ok_or(TOO_WIDE)?;
                element.end = Some(Box::new(end));
            }
            a::ELEMENT_DATA => {
                element.data = value(&attribute)?.and_then(Data::from_bytes).unwrap_or(Data::EMPTY);
            }
            a::ELEMENT_USERDATA => element.comment = udata::read_comment(attribute.payload).map(Arc::from),
            _ => {}
        }
    }
    Ok(element)
}

const TOO_WIDE: Error = Error::Malformed("set key is wider than any of ours");

fn value<'a>(attribute: &Attribute<'a>) -> Result<Option<&'a [u8]>, Error> {
    for inner in attribute.nested() {
        let inner = inner?;
        if inner.kind == a::VALUE {
            return Ok(Some(inner.payload));
        }
    }
    Ok(None)
}

/// Decodes bytes as every kind of message, for fuzzing: nothing may panic.
#[doc(hidden)]
pub fn decode_anything(bytes: &[u8]) {
    for message in kubeweir_netlink::wire::messages(bytes).flatten() {
        let (mut list, mut counted) = (Vec::new(), Vec::new());
        let _ = (chain(&message), rule(&message), set(&message), generation(&message));
        let _ = handle(&message);
        let _ = (elements(&message, &mut list), counters(&message, &mut counted));
        let _ = (survey::chain(&message), survey::rule(&message));
    }
}

/// The generation in a `NEWGEN` message.
pub(crate) fn generation(message: &Message<'_>) -> Result<Option<u32>, Error> {
    found(message, a::GENERATION)?.map(|attribute| attribute.be32()).transpose()
}

/// The handle in a `NEWTABLE` message.
pub(crate) fn handle(message: &Message<'_>) -> Result<Option<u64>, Error> {
    found(message, a::TABLE_HANDLE)?.map(|attribute| attribute.be64()).transpose()
}

fn found<'a>(message: &Message<'a>, kind: u16) -> Result<Option<Attribute<'a>>, Error> {
    for attribute in body(message) {
        let attribute = attribute?;
        if attribute.kind == kind {
            return Ok(Some(attribute));
        }
    }
    Ok(None)
}

fn body<'a>(message: &Message<'a>) -> Attributes<'a> {
    attributes(message.payload.get(GENERIC_HEADER..).unwrap_or_default())
}
