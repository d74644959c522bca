//! The netlink message format (RFC 3549 and `linux/netlink.h`): headers and attributes.
//!
//! Headers and attribute lengths are in host byte order. Attribute payloads have the order their
//! subsystem chose; netfilter's integers are big-endian, hence the `be32` helpers.

use crate::Error;

/// Length of `struct nlmsghdr`.
pub const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
const NESTED: u16 = 0x8000;
const KIND_MASK: u16 = 0x3fff;

/// `NLM_F_REQUEST`: this message asks something of the kernel.
pub const REQUEST: u16 = 0x01;
/// `NLM_F_ACK`: answer even if all went well.
pub const ACK: u16 = 0x04;
/// `NLM_F_DUMP`: list all objects.
pub const DUMP: u16 = 0x300;
/// `NLM_F_EXCL`: fail if the object exists.
pub const EXCLUSIVE: u16 = 0x200;
/// `NLM_F_CREATE`: create the object if it does not exist.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: add at the end of the list.
pub const APPEND: u16 = 0x800;
/// `NLM_F_DUMP_INTR` on an answer: the objects changed while they were listed.
pub const DUMP_INTERRUPTED: u16 = 0x10;

/// `struct nlmsghdr` without its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Message type; the subsystem is in the high byte for netfilter.
    pub kind: u16,
    /// `NLM_F_*`.
    pub flags: u16,
    /// Sequence number, echoed in answers.
    pub sequence: u32,
}

/// Appends messages to one growing buffer. An oversized attribute is remembered and reported by
/// [`Writer::finish`], so that callers write without checking each step.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: Vec<u8>,
    oversized: Option<usize>,
}

impl Writer {
    /// Writes one message; `body` appends what follows the header.
    pub fn message(&mut self, header: Header, body: impl FnOnce(&mut Writer)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(&header.kind.to_ne_bytes());
        self.buffer.extend_from_slice(&header.flags.to_ne_bytes());
        self.buffer.extend_from_slice(&header.sequence.to_ne_bytes());
        self.buffer.extend_from_slice(&[0; 4]);
        body(self);
        match u32::try_from(self.buffer.len() - start) {
            Ok(length) => self.buffer[start..start + 4].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.oversized = Some(self.buffer.len() - start),
        }
    }

    /// Appends bytes as they are: a fixed header such as `struct nfgenmsg`.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends an attribute with this payload.
    pub fn bytes(&mut self, kind: u16, payload: &[u8]) {
        self.attribute(kind, |w| w.raw(payload));
    }

    /// Appends a NUL-terminated string.
    pub fn string(&mut self, kind: u16, text: &str) {
        self.attribute(kind, |w| {
            w.raw(text.as_bytes());
            w.raw(&[0]);
        });
    }

    /// Appends a big-endian 32-bit integer.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Appends a big-endian 64-bit integer.
    pub fn be64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// Appends a 16-bit integer in host byte order.
    pub fn u16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Appends a 32-bit integer in host byte order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// Appends an attribute that holds attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        self.attribute(kind | NESTED, body);
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The bytes written so far, fitting or not.
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer
    }

    /// The bytes, or the first attribute that did not fit.
    pub fn finish(&self) -> Result<&[u8], Error> {
        match self.oversized {
            Some(length) => Err(Error::AttributeTooLong(length)),
            None => Ok(&self.buffer),
        }
    }

    fn attribute(&mut self, kind: u16, body: impl FnOnce(&mut Writer)) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 2]);
        self.buffer.extend_from_slice(&kind.to_ne_bytes());
        body(self);
        let length = self.buffer.len() - start;
        match u16::try_from(length) {
            Ok(short) => self.buffer[start..start + 2].copy_from_slice(&short.to_ne_bytes()),
            Err(_) => self.oversized = Some(length),
        }
        self.buffer.resize(start + aligned(length), 0);
    }
}

/// One received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Type, flags and sequence number.
    pub header: Header,
    /// Everything behind the 16-byte header.
    pub payload: &'a [u8],
}

/// Splits a receive buffer into messages; stops after the first malformed one.
pub fn messages(buffer: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Error>> {
    let mut rest = buffer;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let taken = take_message(rest);
        rest = taken.as_ref().map_or(&[], |(_, next)| next);
        Some(taken.map(|(message, _)| message))
    })
}

fn take_message(buffer: &[u8]) -> Result<(Message<'_>, &[u8]), Error> {
    let length = u32_at(buffer, 0).ok_or(Error::Malformed("short message header"))? as usize;
    if length < HEADER || length > buffer.len() {
        return Err(Error::Malformed("message length"));
    }
    let header = Header {
        kind: u16_at(buffer, 4).ok_or(Error::Malformed("message type"))?,
        flags: u16_at(buffer, 6).ok_or(Error::Malformed("message flags"))?,
        sequence: u32_at(buffer, 8).ok_or(Error::Malformed("message sequence"))?,
    };
    let next = aligned(length).min(buffer.len());
    Ok((Message { header, payload: &buffer[HEADER..length] }, &buffer[next..]))
}

/// One attribute of a received message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Attribute type without the nested and byte-order flags.
    pub kind: u16,
    /// The value.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// A big-endian 32-bit integer.
    pub fn be32(&self) -> Result<u32, Error> {
        let bytes = self.payload.try_into().map_err(|_| Error::Malformed("attribute is not 32 bits wide"))?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// A big-endian 64-bit integer.
    pub fn be64(&self) -> Result<u64, Error> {
        let bytes = self.payload.try_into().map_err(|_| Error::Malformed("attribute is not 64 bits wide"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// A big-endian 16-bit integer.
    pub fn be16(&self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes).ok_or(Error::Malformed("attribute is not 16 bits wide"))
    }

    /// A 16-bit integer in host byte order.
    pub fn u16(&self) -> Result<u16, Error> {
        self.array().map(u16::from_ne_bytes).ok_or(Error::Malformed("attribute is not 16 bits wide"))
    }

    /// A 32-bit integer in host byte order.
    pub fn u32(&self) -> Result<u32, Error> {
        self.array().map(u32::from_ne_bytes).ok_or(Error::Malformed("attribute is not 32 bits wide"))
    }

    /// A 64-bit integer in host byte order.
    pub fn u64(&self) -> Result<u64, Error> {
        self.array().map(u64::from_ne_bytes).ok_or(Error::Malformed("attribute is not 64 bits wide"))
    }

    /// The payload, if it has exactly this many bytes.
    pub fn array<const N: usize>(&self) -> Option<[u8; N]> {
        self.payload.try_into().ok()
    }

    /// A string, with or without its NUL.
    pub fn string(&self) -> Result<&'a str, Error> {
        let end = self.payload.iter().position(|&byte| byte == 0).unwrap_or(self.payload.len());
        std::str::from_utf8(&self.payload[..end]).map_err(|_| Error::Malformed("string is not UTF-8"))
    }

    /// The attributes inside.
    pub fn nested(&self) -> Attributes<'a> {
        attributes(self.payload)
    }
}

/// Iterates over attributes; ends after the first malformed one.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

/// The attributes in these bytes.
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { rest: bytes }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < ATTRIBUTE {
            return None;
        }
        let (length, kind) = (u16_at(self.rest, 0)? as usize, u16_at(self.rest, 2)?);
        if length < ATTRIBUTE || length > self.rest.len() {
            self.rest = &[];
            return Some(Err(Error::Malformed("attribute length")));
        }
        let payload = &self.rest[ATTRIBUTE..length];
        self.rest = &self.rest[aligned(length).min(self.rest.len())..];
        Some(Ok(Attribute { kind: kind & KIND_MASK, payload }))
    }
}

/// Rounds up to netlink's 4-byte alignment.
pub const fn aligned(length: usize) -> usize {
    (length + 3) & !3
}

/// Host-order u16 at an offset, if the bytes reach that far.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Host-order u32 at an offset, if the bytes reach that far.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Writer {
        let mut writer = Writer::default();
        writer.message(Header { kind: 0xa0c, flags: REQUEST, sequence: 7 }, |w| {
            w.raw(&[2, 0, 0, 0]);
            w.string(1, "kubeweir");
            w.nest(3, |w| w.be32(1, 0x0a00_0001));
        });
        writer
    }

    #[test]
    fn a_written_message_reads_back() {
        let writer = sample();
        let bytes = writer.finish().unwrap();
        let message = messages(bytes).next().unwrap().unwrap();
        assert_eq!(message.header, Header { kind: 0xa0c, flags: REQUEST, sequence: 7 });
        let found: Vec<_> = attributes(&message.payload[4..]).map(Result::unwrap).collect();
        assert_eq!(found[0].string().unwrap(), "kubeweir");
        assert_eq!(found[1].nested().next().unwrap().unwrap().be32().unwrap(), 0x0a00_0001);
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn an_oversized_attribute_is_an_error_and_not_a_wrapped_length() {
        let mut writer = Writer::default();
        writer.message(Header { kind: 1, flags: 0, sequence: 1 }, |w| w.bytes(1, &vec![0; 70_000]));
        assert!(matches!(writer.finish(), Err(Error::AttributeTooLong(70_004))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes).flatten() {
                for attribute in attributes(message.payload).flatten() {
                    let _ = (attribute.string(), attribute.be32(), attribute.nested().count());
                }
            }
        }
    }
}
