use std::fmt;

use crate::datatype::DataType;
use crate::expr::{CtKey, Expr, MetaKey, NumberSource, PayloadBase};
use crate::register::Register;
use crate::{Family, udata};

/// Something of a packet, or drawn for it, that a rule loads and a set is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `ip saddr` or `ip6 saddr`.
    SourceAddress,
    /// `ip daddr` or `ip6 daddr`.
    DestinationAddress,
    /// `meta l4proto`.
    Protocol,
    /// `th dport`: the destination port of TCP, UDP and SCTP alike.
    DestinationPort,
    /// `ct original ip daddr` or `ct original ip6 daddr`: where the connection's first packet went before it was translated.
    OriginalAddress,
    /// `ct original proto-dst`: its destination port. `nft` reads it only behind a [`Match::Protocol`](crate::Match::Protocol).
    OriginalPort,
    /// `meta priority`: the packet's scheduling priority, which rules can use as a place to keep a number in.
    Priority,
    /// A number from 0 to the modulus, exclusive.
    Number {
        /// How the number is drawn.
        choice: Choice,
        /// One more than the largest number.
        modulus: u32,
    },
}

/// How a [`Field::Number`] is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Choice {
    /// `numgen random`: uniformly, anew for each packet.
    Random,
    /// `numgen inc`: one after the other; each rule has its own counter.
    Turn,
    /// `jhash` of the source address with this seed.
    SourceHash(u32),
}

/// Expression numbers of nftables (`enum expr_types`), as its user data names them.
const EXPR_PAYLOAD: u32 = 7;
const EXPR_META: u32 = 9;
const EXPR_CONCAT: u32 = 13;
const EXPR_NUMGEN: u32 = 23;
/// Protocol descriptions of nftables (`enum proto_desc_id`) and their header fields.
const DESC_TRANSPORT: u32 = 11;
const DESC_IP: u32 = 12;
const DESC_IP6: u32 = 13;
const TRANSPORT_DPORT: u32 = 2;
const META_L4PROTO: u32 = 16;
const META_PRIORITY: u32 = 2;

impl Field {
    /// The data type of the value.
    pub(crate) const fn data_type(self, family: Family) -> DataType {
        match (self, family) {
            (Field::SourceAddress | Field::DestinationAddress | Field::OriginalAddress, Family::Ip) => {
                DataType::Ipv4Address
            }
            (Field::SourceAddress | Field::DestinationAddress | Field::OriginalAddress, Family::Ip6) => {
                DataType::Ipv6Address
            }
            (Field::Protocol, _) => DataType::Protocol,
            (Field::DestinationPort | Field::OriginalPort, _) => DataType::Service,
            (Field::Priority, _) => DataType::ClassId,
            (Field::Number { .. }, _) => DataType::Integer,
        }
    }

    /// Bytes the value takes in registers, padding included.
    fn width(self, family: Family) -> usize {
        match self {
            Field::SourceAddress | Field::DestinationAddress | Field::OriginalAddress => {
                family.address_length()
            }
            Field::Protocol
            | Field::DestinationPort
            | Field::OriginalPort
            | Field::Priority
            | Field::Number { .. } => 4,
        }
    }

    /// Offset of an address in the network header.
    pub(crate) const fn address_offset(self, family: Family) -> u32 {
        match (self, family) {
            (Field::SourceAddress, Family::Ip) => 12,
            (Field::SourceAddress, Family::Ip6) => 8,
            (_, Family::Ip) => 16,
            (_, Family::Ip6) => 24,
        }
    }

    fn load(self, family: Family, dreg: Register, scratch: Register, out: &mut Vec<Expr>) {
        let length = u32::try_from(family.address_length()).unwrap_or_default();
        match self {
            Field::SourceAddress | Field::DestinationAddress => {
                let offset = self.address_offset(family);
                out.push(Expr::Payload { base: PayloadBase::Network, offset, length, dreg });
            }
            Field::OriginalAddress => {
                let key = if family == Family::Ip { CtKey::OriginalAddress } else { CtKey::OriginalAddress6 };
                out.push(Expr::Ct { key, dreg });
            }
            Field::OriginalPort => out.push(Expr::Ct { key: CtKey::OriginalPort, dreg }),
            Field::Protocol => out.push(Expr::Meta { key: MetaKey::L4Protocol, dreg }),
            Field::Priority => out.push(Expr::Meta { key: MetaKey::Priority, dreg }),
            Field::DestinationPort => {
                out.push(Expr::Payload { base: PayloadBase::Transport, offset: 2, length: 2, dreg });
            }
            Field::Number { choice: Choice::SourceHash(seed), modulus } => {
                Field::SourceAddress.load(family, scratch, scratch, out);
                out.push(Expr::Hash { sreg: scratch, dreg, length, modulus, seed });
            }
            Field::Number { choice: Choice::Random, modulus } => {
                out.push(Expr::Number { dreg, modulus, source: NumberSource::Random });
            }
            Field::Number { choice: Choice::Turn, modulus } => {
                out.push(Expr::Number { dreg, modulus, source: NumberSource::Increment });
            }
        }
    }

    /// The field as nftables' `typeof` user data: an expression number and the expression's own entries.
    fn udata(self, family: Family) -> Vec<u8> {
        let mut entries = Vec::new();
        let expression = match self {
            // A set holds addresses and ports, whichever packet of a connection they are looked up for.
            Field::SourceAddress | Field::DestinationAddress | Field::OriginalAddress => {
                udata::put_u32(&mut entries, 0, if family == Family::Ip { DESC_IP } else { DESC_IP6 });
                udata::put_u32(&mut entries, 1, self.header_field(family));
                EXPR_PAYLOAD
            }
            Field::DestinationPort | Field::OriginalPort => {
                udata::put_u32(&mut entries, 0, DESC_TRANSPORT);
                udata::put_u32(&mut entries, 1, TRANSPORT_DPORT);
                EXPR_PAYLOAD
            }
            Field::Protocol => {
                udata::put_u32(&mut entries, 0, META_L4PROTO);
                EXPR_META
            }
            Field::Priority => {
                udata::put_u32(&mut entries, 0, META_PRIORITY);
                EXPR_META
            }
            // A set has no rule whose source or offset would matter: nft names the number by its range.
            Field::Number { modulus, .. } => {
                udata::put_u32(&mut entries, 0, NumberSource::Random.number());
                udata::put_u32(&mut entries, 1, modulus);
                udata::put_u32(&mut entries, 2, 0);
                EXPR_NUMGEN
            }
        };
        wrapped(expression, &entries)
    }

    /// `enum ip_hdr_fields` and `enum ip6_hdr_fields` of nftables.
    const fn header_field(self, family: Family) -> u32 {
        match (self, family) {
            (Field::SourceAddress, Family::Ip) => 11,
            (Field::SourceAddress, Family::Ip6) => 8,
            (_, Family::Ip) => 12,
            (_, Family::Ip6) => 9,
        }
    }

    /// The field as `nft` prints it.
    pub(crate) fn text(self, family: Family) -> String {
        match self {
            Field::SourceAddress => format!("{family} saddr"),
            Field::DestinationAddress => format!("{family} daddr"),
            Field::OriginalAddress => format!("ct original {family} daddr"),
            Field::OriginalPort => "ct original proto-dst".to_owned(),
            Field::Protocol => "meta l4proto".to_owned(),
            Field::DestinationPort => "th dport".to_owned(),
            Field::Priority => "meta priority".to_owned(),
            Field::Number { choice, modulus } => choice.text(family, modulus),
        }
    }
}

impl Choice {
    fn text(self, family: Family, modulus: u32) -> String {
        match self {
            Choice::Random | Choice::Turn => format!("numgen {self} mod {modulus}"),
            Choice::SourceHash(seed) => format!("jhash {family} saddr mod {modulus} seed {seed:#x}"),
        }
    }
}

/// The keyword of `numgen`, or the name of the hash.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Random => "random",
            Choice::Turn => "inc",
            Choice::SourceHash(_) => "jhash",
        })
    }
}

/// Bytes that the fields take side by side.
pub(crate) fn width(fields: &[Field], family: Family) -> usize {
    fields.iter().map(|field| field.width(family)).sum()
}

/// Where `nft` loads what it hashes: this many bytes behind the key.
const SCRATCH_GAP: usize = 16;

/// Loads the fields side by side, the first into [`Register::FIRST`].
pub(crate) fn load(fields: &[Field], family: Family, out: &mut Vec<Expr>) {
    let scratch = Register::FIRST.after(width(fields, family) + SCRATCH_GAP);
    let mut at = Register::FIRST;
    for field in fields {
        field.load(family, at, scratch, out);
        at = at.after(field.width(family));
    }
}

/// The data types of a concatenation.
pub(crate) fn data_types(fields: &[Field], family: Family) -> Vec<DataType> {
    fields.iter().map(|field| field.data_type(family)).collect()
}

/// Fields as `nft` prints a concatenation.
pub(crate) fn text(fields: &[Field], family: Family) -> String {
    fields.iter().map(|field| field.text(family)).collect::<Vec<_>>().join(" . ")
}

/// Fields as `typeof` user data.
pub(crate) fn typeof_udata(fields: &[Field], family: Family) -> Vec<u8> {
    if let [single] = fields {
        return single.udata(family);
    }
    let mut entries = Vec::new();
    for (position, field) in (0u8..).zip(fields) {
        udata::put(&mut entries, position, &field.udata(family));
    }
    wrapped(EXPR_CONCAT, &entries)
}

fn wrapped(expression: u32, entries: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    udata::put_u32(&mut out, 0, expression);
    udata::put(&mut out, 1, entries);
    out
}
