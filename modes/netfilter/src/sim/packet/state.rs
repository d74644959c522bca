use std::net::IpAddr;

use super::{Fate, Packet};
use crate::Family;
use crate::value::{Data, Key};

/// A change that a rule made to a dynamic set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Learnt {
    /// Family of the table.
    pub family: Family,
    /// The table.
    pub table: String,
    /// The set.
    pub set: String,
    /// The element.
    pub key: Key,
    /// Its data; `None` if it was deleted.
    pub data: Option<Data>,
}

/// Who has translated a packet's destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Translated {
    /// Nobody.
    Not,
    /// A rule, to where it went anyway.
    ToItself,
    /// A rule.
    ByRule,
    /// A virtual server, which does not enter it in the connection's status.
    ByServer,
}

/// A packet under way, with what the kernel keeps beside it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    pub(super) source: IpAddr,
    pub(super) source_port: u16,
    pub(super) destination: IpAddr,
    pub(super) destination_port: u16,
    /// Where it went before it was translated.
    pub(super) original: (IpAddr, u16),
    pub(super) protocol: u8,
    pub(super) interface: Option<String>,
    pub(super) mark: u32,
    pub(super) priority: u32,
    pub(super) translated: Translated,
    /// Whether it has been through the output hook and come in again.
    pub(super) is_back: bool,
    pub(super) masqueraded: bool,
    pub(super) learnt: Vec<Learnt>,
}

impl State {
    pub(super) fn new(packet: &Packet) -> State {
        State {
            source: packet.source,
            source_port: packet.source_port,
            destination: packet.destination,
            destination_port: packet.destination_port,
            original: (packet.destination, packet.destination_port),
            protocol: packet.protocol,
            interface: packet.interface.clone(),
            mark: 0,
            priority: 0,
            translated: Translated::Not,
            is_back: false,
            masqueraded: false,
            learnt: Vec::new(),
        }
    }

    pub(super) fn looped_back(self) -> State {
        State { interface: Some("lo".to_owned()), is_back: true, ..self }
    }

    pub(super) fn scheduled(self, to: (IpAddr, u16)) -> State {
        State { destination: to.0, destination_port: to.1, translated: Translated::ByServer, ..self }
    }

    pub(super) fn passed(self) -> Fate {
        Fate::Passed {
            destination: (self.destination, self.destination_port),
            translated: matches!(self.translated, Translated::ByRule | Translated::ByServer),
            masqueraded: self.masqueraded,
            learnt: self.learnt,
        }
    }

    /// The network header, as far as rules look at it: its two addresses in their places.
    pub(super) fn network_header(&self) -> Vec<u8> {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                [&[0; 12][..], &source.octets(), &destination.octets()].concat()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                [&[0; 8][..], &source.octets(), &destination.octets()].concat()
            }
            _ => Vec::new(),
        }
    }

    /// The first four bytes of the transport header.
    pub(super) fn transport_header(&self) -> Vec<u8> {
        [self.source_port.to_be_bytes(), self.destination_port.to_be_bytes()].concat()
    }
}
