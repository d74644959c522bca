//! What we ask of the kernel (`linux/netfilter/nfnetlink_conntrack.h`).

use super::decode::{DESTINATION_PORT, IP, NUMBER, PROTO, V4_DESTINATION};
use super::{Family, Filter};
use crate::wire::{self, Message, Writer};
use crate::{Error, nfnl};

/// `CTA_TUPLE_ORIG`
pub(super) const ORIGINAL: u16 = 1;
/// `CTA_TUPLE_REPLY`
pub(super) const REPLY: u16 = 2;
const ID: u16 = 12;
pub(super) const ZONE: u16 = 18;
const FILTER: u16 = 25;
/// `CTA_FILTER_ORIG_FLAGS`, in host order: which fields of the original tuple are compared.
const FILTER_ORIGINAL: u16 = 1;
const COMPARE_DESTINATION: u32 = 1 << 1;
const COMPARE_PROTOCOL: u32 = 1 << 3;
const COMPARE_DESTINATION_PORT: u32 = 1 << 5;

/// Flows within the filter.
pub(super) fn list(filter: &Filter, w: &mut Writer) {
    w.raw(&nfnl::header(filter.family as u8, 0));
    let mut compared = COMPARE_PROTOCOL;
    let address = filter.address.filter(|_| filter.family == Family::V4);
    w.nest(ORIGINAL, |w| {
        if let Some(address) = address {
            compared |= COMPARE_DESTINATION;
            w.nest(IP, |w| w.bytes(V4_DESTINATION, &address.octets()));
        }
        w.nest(PROTO, |w| {
            w.bytes(NUMBER, &[filter.protocol]);
            if let Some(port) = filter.port {
                compared |= COMPARE_DESTINATION_PORT;
                w.bytes(DESTINATION_PORT, &port.to_be_bytes());
            }
        });
    });
    w.nest(FILTER, |w| w.bytes(FILTER_ORIGINAL, &compared.to_ne_bytes()));
}

/// All flows.
pub(super) fn list_all(w: &mut Writer) {
    w.raw(&nfnl::header(0, 0));
}

/// What names one flow: its original tuple, its zone and its id, as the kernel wrote them. The id makes sure that a new flow
/// with the same tuple is not taken for the one listed.
pub(super) struct Identity<'a> {
    family: u8,
    tuple: &'a [u8],
    zone: Option<&'a [u8]>,
    id: &'a [u8],
}

/// The identity of a listed flow. A deletion without a tuple would empty the kernel's table, so there is none without one.
pub(super) fn identity<'a>(listed: &Message<'a>) -> Result<Identity<'a>, Error> {
    let (mut tuple, mut zone, mut id) = (None, None, None);
    for attribute in wire::attributes(listed.payload.get(nfnl::GENERIC_HEADER..).unwrap_or_default()) {
        let attribute = attribute?;
        match attribute.kind {
            ORIGINAL => tuple = Some(attribute.payload),
            ZONE => zone = Some(attribute.payload),
            ID => id = Some(attribute.payload),
            _ => {}
        }
    }
    let missing = Error::Malformed("flow without identity");
    let (Some(family), Some(tuple), Some(id)) = (listed.payload.first(), tuple, id) else {
        return Err(missing);
    };
    Ok(Identity { family: *family, tuple, zone, id })
}

impl Identity<'_> {
    pub(super) fn write(&self, w: &mut Writer) {
        w.raw(&nfnl::header(self.family, 0));
        w.nest(ORIGINAL, |w| w.raw(self.tuple));
        if let Some(zone) = self.zone {
            w.bytes(ZONE, zone);
        }
        w.bytes(ID, self.id);
    }
}
