use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The data types of `nft` that our sets use (`include/datatype.h` of nftables).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DataType {
    /// `integer`: 32 bits in host byte order.
    Integer,
    /// `ipv4_addr`.
    Ipv4Address,
    /// `ipv6_addr`.
    Ipv6Address,
    /// `inet_proto`.
    Protocol,
    /// `inet_service`.
    Service,
    /// `classid`: 32 bits in host byte order.
    ClassId,
}

const BITS_PER_TYPE: u32 = 6;
const TYPE_MASK: u32 = (1 << BITS_PER_TYPE) - 1;
/// `enum byteorder` of nftables.
pub(crate) const ORDER_UNKNOWN: u32 = 0;
pub(crate) const ORDER_HOST: u32 = 1;
pub(crate) const ORDER_BIG_ENDIAN: u32 = 2;

impl DataType {
    const ALL: [DataType; 6] = [
        DataType::Integer,
        DataType::Ipv4Address,
        DataType::Ipv6Address,
        DataType::Protocol,
        DataType::Service,
        DataType::ClassId,
    ];

    const fn number(self) -> u32 {
        match self {
            DataType::Integer => 4,
            DataType::Ipv4Address => 7,
            DataType::Ipv6Address => 8,
            DataType::Protocol => 12,
            DataType::Service => 13,
            DataType::ClassId => 23,
        }
    }

    /// Bytes of a value, without padding.
    pub(crate) const fn length(self) -> usize {
        match self {
            DataType::Integer | DataType::Ipv4Address | DataType::ClassId => 4,
            DataType::Ipv6Address => 16,
            DataType::Protocol => 1,
            DataType::Service => 2,
        }
    }

    const fn padded(self) -> usize {
        self.length().next_multiple_of(4)
    }
}

/// The type number of a concatenation: six bits for each field, first field highest.
pub(crate) fn concatenated(types: &[DataType]) -> u32 {
    types.iter().fold(0, |number, kind| number << BITS_PER_TYPE | kind.number())
}

/// The fields of a concatenated type number, if we know them all.
pub(crate) fn split(mut number: u32) -> Option<Vec<DataType>> {
    let mut types = Vec::new();
    while number != 0 {
        types.push(DataType::ALL.into_iter().find(|kind| kind.number() == number & TYPE_MASK)?);
        number >>= BITS_PER_TYPE;
    }
    types.reverse();
    Some(types)
}

/// Bytes of a key or data value of these fields: a single field is not padded.
pub(crate) fn length(types: &[DataType]) -> usize {
    match types {
        [single] => single.length(),
        several => several.iter().map(|kind| kind.padded()).sum(),
    }
}

/// `enum byteorder` for the set's user data: known for a single field, not for a concatenation.
pub(crate) fn byte_order(types: &[DataType]) -> u32 {
    match types {
        [DataType::Integer | DataType::ClassId] => ORDER_HOST,
        [_] => ORDER_BIG_ENDIAN,
        _ => ORDER_UNKNOWN,
    }
}

/// Writes a value as `nft` prints it: fields joined by ` . `; unknown bytes as hexadecimal.
pub(crate) fn print(types: &[DataType], bytes: &[u8], out: &mut String) {
    let mut rest = bytes;
    for (position, kind) in types.iter().enumerate() {
        if position > 0 {
            out.push_str(" . ");
        }
        let (field, behind) = rest.split_at(kind.padded().min(rest.len()));
        print_field(*kind, field, out);
        rest = behind;
    }
}

/// Writes a range whose ends differ in the last field only.
pub(crate) fn print_range(types: &[DataType], from: &[u8], to: &[u8], out: &mut String) {
    print(types, from, out);
    if let Some(last) = types.last().filter(|_| from != to) {
        out.push('-');
        print_field(*last, &to[to.len().saturating_sub(last.padded())..], out);
    }
}

/// Major and minor number, as `tc` writes them.
fn class_id(id: u32) -> String {
    match (id >> 16, id & 0xffff) {
        (0, 0) => "none".to_owned(),
        (0xffff, 0xffff) => "root".to_owned(),
        (0, minor) => format!(":{minor:x}"),
        (major, 0) => format!("{major:x}:"),
        (major, minor) => format!("{major:x}:{minor:x}"),
    }
}

fn print_field(kind: DataType, bytes: &[u8], out: &mut String) {
    // Writing to a String cannot fail.
    let _ = match (kind, bytes) {
        (DataType::Integer, &[a, b, c, d]) => write!(out, "{}", u32::from_ne_bytes([a, b, c, d])),
        (DataType::ClassId, &[a, b, c, d]) => out.write_str(&class_id(u32::from_ne_bytes([a, b, c, d]))),
        (DataType::Ipv4Address, &[a, b, c, d]) => write!(out, "{}", Ipv4Addr::new(a, b, c, d)),
        (DataType::Ipv6Address, bytes) => match <[u8; 16]>::try_from(bytes) {
            Ok(octets) => write!(out, "{}", Ipv6Addr::from(octets)),
            Err(_) => write!(out, "{bytes:02x?}"),
        },
        (DataType::Protocol, &[6, ..]) => out.write_str("tcp"),
        (DataType::Protocol, &[17, ..]) => out.write_str("udp"),
        (DataType::Protocol, &[132, ..]) => out.write_str("sctp"),
        (DataType::Protocol, &[number, ..]) => write!(out, "{number}"),
        (DataType::Service, &[a, b, ..]) => write!(out, "{}", u16::from_be_bytes([a, b])),
        (_, bytes) => write!(out, "{bytes:02x?}"),
    };
}
