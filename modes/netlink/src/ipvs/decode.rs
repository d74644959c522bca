//! What the kernel answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;

use super::attribute::{self as a, destination, service};
use super::{
    Connections, Flags, Forwarding, Identity, Info, Listed, ListedReal, Netmask, RealServer, Scheduling,
    Statistics, Timeouts,
};
use crate::wire::{self, Attribute, Attributes, Message};
use crate::{Error, Family, generic};

/// A listed virtual server.
pub fn server(message: &Message<'_>) -> Result<Listed, Error> {
    let mut read = ServerAttributes::default();
    for attribute in inside(message, a::SERVICE, "no virtual server in its listing")? {
        read.take(&attribute?)?;
    }
    read.finish()
}

/// A listed real server.
pub fn real_server(message: &Message<'_>) -> Result<ListedReal, Error> {
    let mut read = RealAttributes::default();
    for attribute in inside(message, a::DESTINATION, "no real server in its listing")? {
        read.take(&attribute?)?;
    }
    read.finish()
}

/// How long connections are kept. A protocol that the kernel was built without has 0.
pub fn timeouts(message: &Message<'_>) -> Result<Timeouts, Error> {
    let mut timeouts = Timeouts::default();
    for attribute in generic::attributes(message) {
        let attribute = attribute?;
        match attribute.kind {
            a::TIMEOUT_TCP => timeouts.tcp = attribute.u32()?,
            a::TIMEOUT_TCP_FIN => timeouts.tcp_fin = attribute.u32()?,
            a::TIMEOUT_UDP => timeouts.udp = attribute.u32()?,
            _ => {}
        }
    }
    Ok(timeouts)
}

/// What IPVS says of itself.
pub fn info(message: &Message<'_>) -> Result<Info, Error> {
    let (mut version, mut table_size) = (None, None);
    for attribute in generic::attributes(message) {
        let attribute = attribute?;
        match attribute.kind {
            a::INFO_VERSION => version = Some(attribute.u32()?),
            a::INFO_TABLE_SIZE => table_size = Some(attribute.u32()?),
            _ => {}
        }
    }
    let (Some(version), Some(table_size)) = (version, table_size) else {
        return Err(Error::Malformed("IPVS does not say its version"));
    };
    Ok(Info { version, table_size })
}

/// The attributes in the message's nest of this type.
fn inside<'a>(message: &Message<'a>, nest: u16, else_: &'static str) -> Result<Attributes<'a>, Error> {
    for attribute in generic::attributes(message) {
        let attribute = attribute?;
        if attribute.kind == nest {
            return Ok(attribute.nested());
        }
    }
    Err(Error::Malformed(else_))
}

#[derive(Default)]
struct ServerAttributes<'a> {
    family: Option<Family>,
    protocol: Option<u8>,
    address: Option<[u8; 16]>,
    port: Option<u16>,
    mark: Option<NonZeroU32>,
    scheduler: Option<&'a str>,
    flags: Option<Flags>,
    timeout: Option<u32>,
    netmask: Option<[u8; 4]>,
    statistics: StatisticsAttributes,
}

impl<'a> ServerAttributes<'a> {
    fn take(&mut self, attribute: &Attribute<'a>) -> Result<(), Error> {
        match attribute.kind {
            service::FAMILY => self.family = Some(family(attribute)?),
            service::PROTOCOL => self.protocol = Some(protocol(attribute)?),
            service::ADDRESS => self.address = Some(address_bytes(attribute)?),
            service::PORT => self.port = Some(attribute.be16()?),
            service::MARK => self.mark = NonZeroU32::new(attribute.u32()?),
            service::SCHEDULER => self.scheduler = Some(attribute.string()?),
            service::FLAGS => self.flags = Some(flags(attribute)?),
            service::TIMEOUT => self.timeout = Some(attribute.u32()?),
            service::NETMASK => self.netmask = attribute.array(),
            service::STATISTICS => self.statistics.narrow(attribute)?,
            service::STATISTICS_64 => self.statistics.wide(attribute)?,
            _ => {}
        }
        Ok(())
    }

    fn identity(&self, family: Family) -> Option<Identity> {
        if let Some(mark) = self.mark {
            return Some(Identity::Mark { family, mark });
        }
        let address = address(family, self.address?);
        Some(Identity::Address { protocol: self.protocol?, address, port: self.port? })
    }

    fn scheduling(&self, family: Family) -> Option<Scheduling> {
        let bytes = self.netmask?;
        let netmask = match family {
            Family::V4 => Netmask::V4(Ipv4Addr::from(bytes)),
            Family::V6 => Netmask::V6(u32::from_ne_bytes(bytes)),
        };
        let (scheduler, flags, timeout) = (self.scheduler?.to_owned(), self.flags?, self.timeout?);
        Some(Scheduling { scheduler, flags, timeout, netmask })
    }

    fn finish(self) -> Result<Listed, Error> {
        let incomplete = Error::Malformed("incomplete virtual server");
        let Some(family) = self.family else { return Err(incomplete) };
        match (self.identity(family), self.scheduling(family)) {
            (Some(identity), Some(scheduling)) => {
                Ok(Listed { identity, scheduling, statistics: self.statistics.finish() })
            }
            _ => Err(incomplete),
        }
    }
}

#[derive(Default)]
struct RealAttributes {
    family: Option<Family>,
    address: Option<[u8; 16]>,
    port: Option<u16>,
    forwarding: Option<Forwarding>,
    weight: Option<u32>,
    upper_threshold: u32,
    lower_threshold: u32,
    connections: Connections,
    statistics: StatisticsAttributes,
}

impl RealAttributes {
    fn take(&mut self, attribute: &Attribute<'_>) -> Result<(), Error> {
        match attribute.kind {
            destination::FAMILY => self.family = Some(family(attribute)?),
            destination::ADDRESS => self.address = Some(address_bytes(attribute)?),
            destination::PORT => self.port = Some(attribute.be16()?),
            destination::FORWARDING => self.forwarding = Some(forwarding(attribute)?),
            destination::WEIGHT => self.weight = Some(attribute.u32()?),
            destination::UPPER_THRESHOLD => self.upper_threshold = attribute.u32()?,
            destination::LOWER_THRESHOLD => self.lower_threshold = attribute.u32()?,
            destination::ACTIVE => self.connections.active = attribute.u32()?,
            destination::INACTIVE => self.connections.inactive = attribute.u32()?,
            destination::PERSISTENT => self.connections.persistent = attribute.u32()?,
            destination::STATISTICS => self.statistics.narrow(attribute)?,
            destination::STATISTICS_64 => self.statistics.wide(attribute)?,
            _ => {}
        }
        Ok(())
    }

    fn server(&self) -> Option<RealServer> {
        Some(RealServer {
            address: address(self.family?, self.address?),
            port: self.port?,
            weight: self.weight?,
            forwarding: self.forwarding?,
            upper_threshold: self.upper_threshold,
            lower_threshold: self.lower_threshold,
        })
    }

    fn finish(self) -> Result<ListedReal, Error> {
        let server = self.server().ok_or(Error::Malformed("incomplete real server"))?;
        Ok(ListedReal { server, connections: self.connections, statistics: self.statistics.finish() })
    }
}

/// The 64-bit statistics where there are any, else the 32-bit ones.
#[derive(Default)]
struct StatisticsAttributes {
    narrow: Statistics,
    wide: Option<Statistics>,
}

impl StatisticsAttributes {
    fn narrow(&mut self, attribute: &Attribute<'_>) -> Result<(), Error> {
        self.narrow = statistics(attribute)?;
        Ok(())
    }

    fn wide(&mut self, attribute: &Attribute<'_>) -> Result<(), Error> {
        self.wide = Some(statistics(attribute)?);
        Ok(())
    }

    fn finish(self) -> Statistics {
        self.wide.unwrap_or(self.narrow)
    }
}

/// `IPVS_STATS_ATTR_*`, 1 to 10; 11 is padding in front of 64-bit numbers.
fn statistics(attribute: &Attribute<'_>) -> Result<Statistics, Error> {
    let mut numbers = [0; 10];
    for attribute in attribute.nested() {
        let attribute = attribute?;
        if let Some(number) = usize::from(attribute.kind).checked_sub(1).and_then(|at| numbers.get_mut(at)) {
            *number = match attribute.payload.len() {
                4 => u64::from(attribute.u32()?),
                _ => attribute.u64()?,
            };
        }
    }
    Ok(Statistics::from_numbers(numbers))
}

fn family(attribute: &Attribute<'_>) -> Result<Family, Error> {
    match i32::from(attribute.u16()?) {
        libc::AF_INET => Ok(Family::V4),
        libc::AF_INET6 => Ok(Family::V6),
        _ => Err(Error::Malformed("unknown address family")),
    }
}

fn protocol(attribute: &Attribute<'_>) -> Result<u8, Error> {
    u8::try_from(attribute.u16()?).map_err(|_| Error::Malformed("protocol above 255"))
}

fn address_bytes(attribute: &Attribute<'_>) -> Result<[u8; 16], Error> {
    attribute.array().ok_or(Error::Malformed("address is not 16 bytes long"))
}

fn address(family: Family, bytes: [u8; 16]) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into(),
        Family::V6 => Ipv6Addr::from(bytes).into(),
    }
}

/// The flags of a `struct ip_vs_flags` that its mask lets through.
fn flags(attribute: &Attribute<'_>) -> Result<Flags, Error> {
    let (flags, mask) = (wire::u32_at(attribute.payload, 0), wire::u32_at(attribute.payload, 4));
    match (flags, mask) {
        (Some(flags), Some(mask)) => Ok(Flags::from_bits(flags & mask)),
        _ => Err(Error::Malformed("flags without a mask")),
    }
}

fn forwarding(attribute: &Attribute<'_>) -> Result<Forwarding, Error> {
    Forwarding::from_number(attribute.u32()?).ok_or(Error::Malformed("unknown forwarding method"))
}
