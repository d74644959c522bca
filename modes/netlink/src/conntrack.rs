//! Connection tracking: ends tracked flows, one by one, as a judge decides.
//!
//! The kernel lists flows in pieces of at most 32 KiB, already filtered; each flow is judged and, if need be, deleted before the
//! next piece is asked for. So nothing is collected, however large the kernel's table is. Deletions go over a second socket,
//! since the first is in the middle of a listing. The kernel allows that: it remembers the flow that a piece ended before, and
//! begins that bucket again if the flow is gone (`ctnetlink_dump_table` in `net/netfilter/nf_conntrack_netlink.c`). Flows
//! that are seen twice by it, or because an interrupted listing begins again, are gone by then, which is no error.
//!
//! Reading order: [`Flow`] and how it is decoded (`decode`), the requests (`request`), [`Client`].

mod attribute;
mod decode;
mod request;

use std::net::{Ipv4Addr, SocketAddr};

use crate::dump::{self, Request};
use crate::nfnl::{self, PROTOCOL, SUBSYSTEM_CONNTRACK};
use crate::socket::Socket;
use crate::wire::Message;
use crate::{Errno, Error};

pub use crate::Family;
pub use decode::flow;

const GET: u16 = nfnl::kind(SUBSYSTEM_CONNTRACK, 1);
const DELETE: u16 = nfnl::kind(SUBSYSTEM_CONNTRACK, 2);

/// A tracked flow of a protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The protocol number of the IP header.
    pub protocol: u8,
    /// As its first packet was before any translation.
    pub original: Tuple,
    /// As answers are before they are translated back.
    pub reply: Tuple,
    /// Whether it is tracked in a zone other than the default one: somebody keeps flows of their own there.
    pub is_zoned: bool,
}

/// Both ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to.
    pub destination: SocketAddr,
}

/// Which flows to look at, by the original direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The address family.
    pub family: Family,
    /// The protocol number of the IP header.
    pub protocol: u8,
    /// The destination port; `None` for all.
    pub port: Option<u16>,
    /// The destination address; `None` for all. There is no such filter for IPv6: the kernel compares IPv6 addresses
    /// the wrong way round and would leave out exactly those that are wanted (`ctnetlink_filter_match_tuple`).
    pub address: Option<Ipv4Addr>,
}

/// The kernel's flows in the network namespace of the thread that opened it.
pub struct Client {
    listing: Socket,
    deleting: Socket,
}

impl Client {
    /// Opens two netlink sockets.
    pub fn open() -> Result<Client, Error> {
        Ok(Client { listing: Socket::open(PROTOCOL)?, deleting: Socket::open(PROTOCOL)? })
    }

    /// Deletes the flows within the filter that `ends` decides against. Returns how many were there to be deleted. A flow
    /// that the kernel does not let go (`EBUSY` for one handed to a flowtable, before 6.4) does not save the others: the
    /// first such error is returned when all were seen.
    pub fn end_flows(&mut self, filter: &Filter, mut ends: impl FnMut(&Flow) -> bool) -> Result<u64, Error> {
        let Client { listing, deleting } = self;
        let (mut ended, mut refused) = (0, None);
        list(listing, filter, &mut |message| {
            // A kernel may filter less than it was asked to: it compares no ports of SCTP, and nothing before 5.8.
            if decode::flow(message)?.is_some_and(|flow| filter.admits(&flow) && ends(&flow)) {
                match delete(deleting, message) {
                    Ok(was_there) => ended += u64::from(was_there),
                    Err(error) => refused = refused.take().or(Some(error)),
                }
            }
            Ok(())
        })?;
        refused.map_or(Ok(ended), Err)
    }
}

type Each<'a> = &'a mut dyn FnMut(&Message<'_>) -> Result<(), Error>;

/// Filtered by the kernel if it can, else everything: the judge is asked by us anyway.
fn list(socket: &mut Socket, filter: &Filter, each: Each<'_>) -> Result<(), Error> {
    let filtered = Request { kind: GET, body: &|w| request::list(filter, w) };
    let all = Request { kind: GET, body: &|w| request::list_all(w) };
    let mut list = |request| dump::dump(socket, request, || (), |(), message| each(message));
    let outcome = list(&filtered);
    if is_unsupported(&outcome) { list(&all) } else { outcome }
}

/// Before 5.8 filters are ignored or refused, and a kernel may refuse fields that it cannot compare.
fn is_unsupported(outcome: &Result<(), Error>) -> bool {
    matches!(outcome, Err(Error::Refused { errno: Errno::EOPNOTSUPP, .. }))
}

/// Deletes a listed flow; false if it is gone already.
fn delete(socket: &mut Socket, listed: &Message<'_>) -> Result<bool, Error> {
    let identity = request::identity(listed)?;
    let request = Request { kind: DELETE, body: &|w| identity.write(w) };
    match dump::ask(socket, &request, &mut |_| Ok(())) {
        Ok(()) => Ok(true),
        Err(Error::Refused { errno: Errno::ENOENT, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

impl Filter {
    fn admits(&self, flow: &Flow) -> bool {
        let destination = flow.original.destination;
        flow.protocol == self.protocol
            && destination.is_ipv4() == (self.family == Family::V4)
            && self.port.is_none_or(|port| port == destination.port())
            && self.address.is_none_or(|address| destination.ip() == address)
    }
}

#[cfg(test)]
mod tests;
