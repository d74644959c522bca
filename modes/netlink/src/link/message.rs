//! Bytes of links and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attribute as a;
use super::{Address, Link};
use crate::wire::{self, Attribute, Message, Writer};
use crate::{Error, Family};

/// The link in a listing.
pub fn link(message: &Message<'_>) -> Result<Link, Error> {
    let short = Error::Malformed("short link");
    let (Some(index), Some(flags)) = (wire::u32_at(message.payload, 4), wire::u32_at(message.payload, 8))
    else {
        return Err(short);
    };
    let mut link = Link { index, name: String::new(), kind: None, is_up: flags & a::UP != 0 };
    for attribute in wire::attributes(message.payload.get(a::LINK_HEADER..).ok_or(short)?) {
        let attribute = attribute?;
        match attribute.kind {
            a::NAME => attribute.string()?.clone_into(&mut link.name),
            a::LINK_INFO => link.kind = kind(&attribute)?,
            _ => {}
        }
    }
    Ok(link)
}

fn kind(info: &Attribute<'_>) -> Result<Option<String>, Error> {
    for attribute in info.nested() {
        let attribute = attribute?;
        if attribute.kind == a::KIND {
            return attribute.string().map(|kind| Some(kind.to_owned()));
        }
    }
    Ok(None)
}

/// The address in a listing and the index of its link; `None` if it is of another family than IPv4 and IPv6.
pub fn address(message: &Message<'_>) -> Result<Option<(u32, Address)>, Error> {
    let short = Error::Malformed("short address");
    let (Some(&[family, prefix, ..]), Some(index)) =
        (message.payload.first_chunk::<2>(), wire::u32_at(message.payload, 4))
    else {
        return Err(short);
    };
    let (mut own, mut any) = (None, None);
    for attribute in wire::attributes(message.payload.get(a::ADDRESS_HEADER..).ok_or(short)?) {
        let attribute = attribute?;
        match attribute.kind {
            a::LOCAL => own = Some(attribute),
            a::ADDRESS => any = Some(attribute),
            _ => {}
        }
    }
    let found = own.or(any).ok_or(Error::Malformed("no address in its listing"))?;
    let address = match i32::from(family) {
        libc::AF_INET => found.array().map(|bytes: [u8; 4]| IpAddr::from(Ipv4Addr::from(bytes))),
        libc::AF_INET6 => found.array().map(|bytes: [u8; 16]| IpAddr::from(Ipv6Addr::from(bytes))),
        _ => return Ok(None),
    };
    let address = address.ok_or(Error::Malformed("address length does not fit its family"))?;
    Ok(Some((index, Address { address, prefix })))
}

pub(super) fn by_name(name: &str, w: &mut Writer) {
    w.raw(&[0; a::LINK_HEADER]);
    w.string(a::NAME, name);
}

pub(super) fn by_index(index: u32, w: &mut Writer) {
    w.raw(&[0; 4]);
    w.raw(&index.to_ne_bytes());
    w.raw(&[0; 8]);
}

pub(super) fn of_kind(name: &str, kind: &str, w: &mut Writer) {
    by_name(name, w);
    w.nest(a::LINK_INFO, |w| w.string(a::KIND, kind));
}

/// All addresses of a family on one link.
pub(super) fn list_addresses(index: u32, family: Family, w: &mut Writer) {
    address_header(family, 0, index, w);
}

/// An address to be added or deleted. IPv4 wants its own end named as well as the other.
pub(super) fn write_address(index: u32, address: &Address, w: &mut Writer) {
    address_header(Family::of(address.address), address.prefix, index, w);
    match address.address {
        IpAddr::V4(v4) => {
            w.bytes(a::LOCAL, &v4.octets());
            w.bytes(a::ADDRESS, &v4.octets());
        }
        IpAddr::V6(v6) => {
            w.bytes(a::LOCAL, &v6.octets());
            w.bytes(a::ADDRESS, &v6.octets());
            w.u32(a::FLAGS, a::NO_DUPLICATE_DETECTION);
            w.bytes(a::LIFETIMES, [0, a::FOREVER, 0, 0].map(u32::to_ne_bytes).as_flattened());
        }
    }
}

/// `struct ifaddrmsg`: family, prefix length, flags, scope, index.
fn address_header(family: Family, prefix: u8, index: u32, w: &mut Writer) {
    w.raw(&[family as u8, prefix, 0, 0]);
    w.raw(&index.to_ne_bytes());
}
