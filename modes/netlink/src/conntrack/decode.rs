//! What the kernel says about a flow (`linux/netfilter/nfnetlink_conntrack.h`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::attribute as a;
use super::{Flow, Tuple};
use crate::wire::{self, Attribute, Message};
use crate::{Error, nfnl};

/// Half a tuple read.
#[derive(Default)]
struct Parts {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: Option<u8>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

/// Decodes a listed flow; `None` for one of a protocol without ports.
pub fn flow(message: &Message<'_>) -> Result<Option<Flow>, Error> {
    let (mut original, mut reply, mut is_zoned) = (None, None, false);
    for attribute in wire::attributes(message.payload.get(nfnl::GENERIC_HEADER..).unwrap_or_default()) {
        let attribute = attribute?;
        match attribute.kind {
            a::ORIGINAL => original = tuple(&attribute)?,
            a::REPLY => reply = tuple(&attribute)?,
            a::ZONE => is_zoned = true,
            _ => {}
        }
    }
    let both = original.zip(reply);
    Ok(both.map(|((protocol, original), (_, reply))| Flow { protocol, original, reply, is_zoned }))
}

fn tuple(attribute: &Attribute<'_>) -> Result<Option<(u8, Tuple)>, Error> {
    let mut parts = Parts::default();
    for half in attribute.nested() {
        let half = half?;
        for value in half.nested() {
            let value = value?;
            match half.kind {
                a::IP => parts.address(&value)?,
                a::PROTO => parts.protocol(&value)?,
                _ => {}
            }
        }
    }
    Ok(parts.finish())
}

impl Parts {
    fn address(&mut self, value: &Attribute<'_>) -> Result<(), Error> {
        let v4 = || bytes::<4>(value).map(|bytes| Some(Ipv4Addr::from(bytes).into()));
        let v6 = || bytes::<16>(value).map(|bytes| Some(Ipv6Addr::from(bytes).into()));
        match value.kind {
            a::V4_SOURCE => self.source = v4()?,
            a::V4_DESTINATION => self.destination = v4()?,
            a::V6_SOURCE => self.source = v6()?,
            a::V6_DESTINATION => self.destination = v6()?,
            _ => {}
        }
        Ok(())
    }

    fn protocol(&mut self, value: &Attribute<'_>) -> Result<(), Error> {
        let port = || bytes::<2>(value).map(|bytes| Some(u16::from_be_bytes(bytes)));
        match value.kind {
            a::NUMBER => self.protocol = Some(bytes::<1>(value)?[0]),
            a::SOURCE_PORT => self.source_port = port()?,
            a::DESTINATION_PORT => self.destination_port = port()?,
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Option<(u8, Tuple)> {
        let source = SocketAddr::new(self.source?, self.source_port?);
        let destination = SocketAddr::new(self.destination?, self.destination_port?);
        Some((self.protocol?, Tuple { source, destination }))
    }
}

fn bytes<const LENGTH: usize>(value: &Attribute<'_>) -> Result<[u8; LENGTH], Error> {
    value.payload.try_into().map_err(|_| Error::Malformed("width of an attribute of a flow"))
}
