//! What we ask of the kernel (`linux/netfilter/nfnetlink_conntrack.h`).

use super::attribute as a;
use super::{Family, Filter};
use crate::wire::{self, Message, Writer};
use crate::{Error, nfnl};

/// Flows within the filter.
pub(super) fn list(filter: &Filter, w: &mut Writer) {
    w.raw(&nfnl::header(filter.family as u8, 0));
    let mut compared = a::COMPARE_PROTOCOL;
    let address = filter.address.filter(|_| filter.family == Family::V4);
    w.nest(a::ORIGINAL, |w| {
        if let Some(address) = address {
            compared |= a::COMPARE_DESTINATION;
            w.nest(a::IP, |w| w.bytes(a::V4_DESTINATION, &address.octets()));
        }
        w.nest(a::PROTO, |w| {
            w.bytes(a::NUMBER, &[filter.protocol]);
            if let Some(port) = filter.port {
                compared |= a::COMPARE_DESTINATION_PORT;
                w.bytes(a::DESTINATION_PORT, &port.to_be_bytes());
            }
        });
    });
    w.nest(a::FILTER, |w| w.bytes(a::FILTER_ORIGINAL, &compared.to_ne_bytes()));
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
            a::ORIGINAL => tuple = Some(attribute.payload),
            a::ZONE => zone = Some(attribute.payload),
            a::ID => id = Some(attribute.payload),
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
        w.nest(a::ORIGINAL, |w| w.raw(self.tuple));
        if let Some(zone) = self.zone {
            w.bytes(a::ZONE, zone);
        }
        w.bytes(a::ID, self.id);
    }
}
