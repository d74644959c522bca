//! Sets and maps. In this workspace every set is named, and every map holds an address and a port or a packet priority.

use std::sync::Arc;

use crate::datatype::{self, DataType};
use crate::field::{self, Field};
use crate::value::{Data, Key};
use crate::{Family, udata};

/// `NFT_SET_INTERVAL`, `NFT_SET_MAP` and, below, `NFT_SET_CONCAT`.
const FLAG_INTERVAL: u32 = 0x4;
const FLAG_MAP: u32 = 0x8;
/// `NFT_SET_TIMEOUT` and `NFT_SET_EVAL`: elements come by rules and go by time.
const FLAGS_DYNAMIC: u32 = 0x10 | 0x20;
const FLAG_CONCAT: u32 = 0x80;
/// The expression that counts packets and bytes.
pub(crate) const COUNTER: &str = "counter";

/// A set or a map with its elements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    /// What its keys and data are.
    pub kind: SetKind,
    /// What is in it.
    pub elements: Elements,
}

/// The declaration of a set or map: everything but the elements.
#[derive(Clone, Debug)]
pub struct SetKind {
    pub(crate) flags: u32,
    pub(crate) key: Vec<DataType>,
    pub(crate) data: Vec<DataType>,
    pub(crate) udata: Vec<u8>,
    /// How many elements a dynamic map may have; the kernel makes room for so many. `None` for sets of any size.
    pub(crate) size: Option<u32>,
    /// Name of what the kernel carries out for an element that a rule finds: `counter`, or something of somebody else's.
    pub(crate) expression: Option<String>,
    /// What `nft` prints behind `typeof`; `None` for a set read from the kernel.
    pub(crate) text: Option<Arc<str>>,
}

/// One element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The key; the first one of a range.
    pub key: Key,
    /// The last key of a range.
    pub end: Option<Box<Key>>,
    /// The data; empty in a set.
    pub data: Data,
    /// What `nft` shows beside the element.
    pub comment: Option<Arc<str>>,
}

/// What an element of a set that [counts](SetKind::counting) has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets, where the kernel or the card has put several together as they are then.
    pub packets: u64,
    /// Their bytes, from the IP header on.
    pub bytes: u64,
}

/// Elements ordered by key, each key once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Elements(Vec<Element>);

impl SetKind {
    /// A set keyed by these fields.
    pub fn set(family: Family, key: &[Field]) -> SetKind {
        SetKind::new(family, key, &[])
    }

    /// A map from these fields to an address and a port.
    pub fn map(family: Family, key: &[Field]) -> SetKind {
        SetKind::new(family, key, &[Field::DestinationAddress, Field::DestinationPort])
    }

    /// A map from these fields to a packet priority.
    pub fn priority_map(family: Family, key: &[Field]) -> SetKind {
        SetKind::new(family, key, &[Field::Priority])
    }

    /// A map from these fields to a packet priority that rules fill and time empties. Its elements are the kernel's
    /// business: they are neither read nor compared.
    pub fn dynamic_priority_map(family: Family, key: &[Field], size: u32) -> SetKind {
        let kind = SetKind::priority_map(family, key);
        SetKind { flags: kind.flags | FLAGS_DYNAMIC, size: Some(size), ..kind }
    }

    /// A set keyed by these fields whose last one holds ranges. Ranges must not overlap.
    pub fn ranges(family: Family, key: &[Field]) -> SetKind {
        let kind = SetKind::set(family, key);
        SetKind { flags: kind.flags | FLAG_INTERVAL | FLAG_CONCAT, ..kind }
    }

    /// The same, whose elements count the packets that rules find them for. What is counted is no part of an element: it is
    /// neither compared nor replaced.
    #[must_use]
    pub fn counting(self) -> SetKind {
        SetKind { expression: Some(COUNTER.to_owned()), ..self }
    }

    fn new(family: Family, key: &[Field], data: &[Field]) -> SetKind {
        let mut text = field::text(key, family);
        if !data.is_empty() {
            text = format!("{text} : {}", field::text(data, family));
        }
        SetKind {
            flags: if data.is_empty() { 0 } else { FLAG_MAP },
            key: field::data_types(key, family),
            data: field::data_types(data, family),
            udata: declaration(family, key, data),
            size: None,
            expression: None,
            text: Some(text.into()),
        }
    }

    /// Whether elements carry data.
    pub fn is_map(&self) -> bool {
        self.flags & FLAG_MAP != 0
    }

    /// Whether rules put elements in and time takes them out.
    pub fn is_dynamic(&self) -> bool {
        self.flags & FLAGS_DYNAMIC != 0
    }

    /// Whether elements count packets.
    pub fn counts(&self) -> bool {
        self.expression.as_deref() == Some(COUNTER)
    }

    /// Whether the last field of keys is a range.
    pub fn is_ranges(&self) -> bool {
        self.flags & FLAG_INTERVAL != 0
    }
}

/// The kernel's view of two declarations: the printable text follows from the rest.
impl PartialEq for SetKind {
    fn eq(&self, other: &SetKind) -> bool {
        (self.flags, self.size, &self.expression) == (other.flags, other.size, &other.expression)
            && (&self.key, &self.data, &self.udata) == (&other.key, &other.data, &other.udata)
    }
}

impl Eq for SetKind {}

impl Element {
    /// An element of a set.
    pub fn of_set(key: Key) -> Element {
        Element { key, end: None, data: Data::EMPTY, comment: None }
    }

    /// An element of a set of ranges: from one key to another, both included, which differ in their last field only.
    pub fn of_range(from: Key, to: Key) -> Element {
        Element { end: Some(Box::new(to)), ..Element::of_set(from) }
    }

    /// An element of a map.
    pub fn of_map(key: Key, data: Data) -> Element {
        Element { data, ..Element::of_set(key) }
    }

    /// With a comment, cut to what `nft` can read.
    #[must_use]
    pub fn comment(mut self, text: &Arc<str>) -> Element {
        let short = udata::shortened(text);
        self.comment = Some(if short.len() == text.len() { Arc::clone(text) } else { short.into() });
        self
    }
}

impl Elements {
    /// The elements, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Element> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The elements, in order, as a plain list.
    pub fn into_vec(self) -> Vec<Element> {
        self.0
    }

    /// The element with this key.
    pub fn get(&self, key: &Key) -> Option<&Element> {
        self.0.binary_search_by(|element| element.key.cmp(key)).ok().map(|at| &self.0[at])
    }
}

/// Orders the elements; of several with one key the first stays.
impl FromIterator<Element> for Elements {
    fn from_iter<I: IntoIterator<Item = Element>>(elements: I) -> Elements {
        let mut ordered: Vec<Element> = elements.into_iter().collect();
        // Stable, so that the first of several stays; in place where the order is right already.
        ordered.sort_by_key(|element| element.key);
        ordered.dedup_by(|later, earlier| later.key == earlier.key);
        Elements(ordered)
    }
}

impl<'a> IntoIterator for &'a Elements {
    type Item = &'a Element;
    type IntoIter = std::slice::Iter<'a, Element>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// The set's user data, entry for entry what `nft` 1.0.6 writes for a `typeof` declaration.
fn declaration(family: Family, key: &[Field], data: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    let order = |fields: &[Field]| datatype::byte_order(&field::data_types(fields, family));
    udata::put_u32(&mut out, udata::SET_KEY_BYTE_ORDER, order(key));
    if !data.is_empty() {
        udata::put_u32(&mut out, udata::SET_DATA_BYTE_ORDER, order(data));
    }
    udata::put(&mut out, udata::SET_KEY_TYPEOF, &field::typeof_udata(key, family));
    if !data.is_empty() {
        udata::put(&mut out, udata::SET_DATA_TYPEOF, &field::typeof_udata(data, family));
        udata::put_u32(&mut out, udata::SET_DATA_INTERVAL, 0);
    }
    out
}
