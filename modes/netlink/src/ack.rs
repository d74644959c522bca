//! `NLMSG_ERROR`: the kernel's answer to a request, with its extended acknowledgement.
//!
//! Layout (`linux/netlink.h`): a 32-bit negative errno, the header of the refused message, then attributes:
//! 1 = text, 2 = offset of the offending attribute inside the refused message. We ask for the short form
//! (`NETLINK_CAP_ACK`), which leaves the body of the refused message out.

use crate::wire::{self, Attribute, Message};
use crate::{Errno, Error};

/// Message type `NLMSG_ERROR`.
pub const ERROR: u16 = 2;
/// Message type `NLMSG_DONE`.
pub const DONE: u16 = 3;
const TEXT: u16 = 1;
const OFFSET: u16 = 2;
const CAPPED: u16 = 0x100;
const ERRNO_LENGTH: usize = 4;

/// What the kernel said about one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sequence number of the message answered.
    pub sequence: u32,
    /// `None` is an acknowledgement.
    pub errno: Option<Errno>,
    /// The kernel's own words.
    pub message: Option<String>,
    /// Offset of the offending attribute from the start of the refused message.
    pub offset: Option<u32>,
}

/// Decodes an `NLMSG_ERROR`; `None` for any other message type.
pub fn answer(message: &Message<'_>) -> Option<Result<Answer, Error>> {
    (message.header.kind == ERROR).then(|| decode(message))
}

fn decode(message: &Message<'_>) -> Result<Answer, Error> {
    let code = status(message.payload)?;
    let mut answer = Answer { sequence: message.header.sequence, errno: code, message: None, offset: None };
    let behind = ERRNO_LENGTH + refused_length(message);
    for attribute in wire::attributes(message.payload.get(behind..).unwrap_or_default()) {
        read_attribute(&mut answer, &attribute?)?;
    }
    Ok(answer)
}

/// The leading errno of an `NLMSG_ERROR` or `NLMSG_DONE` payload; `None` when it is zero.
pub fn status(payload: &[u8]) -> Result<Option<Errno>, Error> {
    let code = wire::u32_at(payload, 0).ok_or(Error::Malformed("short answer"))?.cast_signed();
    Ok((code != 0).then(|| Errno(code.saturating_neg())))
}

fn refused_length(message: &Message<'_>) -> usize {
    if message.header.flags & CAPPED != 0 {
        return wire::HEADER;
    }
    let whole = wire::u32_at(message.payload, ERRNO_LENGTH).unwrap_or(0) as usize;
    wire::aligned(whole.max(wire::HEADER))
}

fn read_attribute(answer: &mut Answer, attribute: &Attribute<'_>) -> Result<(), Error> {
    match attribute.kind {
        TEXT => answer.message = Some(attribute.string()?.to_owned()),
        OFFSET => answer.offset = wire::u32_at(attribute.payload, 0),
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Header, Writer};

    fn refusal(flags: u16, refused: &[u8]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.message(Header { kind: ERROR, flags, sequence: 5 }, |w| {
            w.raw(&(-2_i32).to_ne_bytes());
            w.raw(refused);
            w.string(TEXT, "no such set");
            w.bytes(OFFSET, &28_u32.to_ne_bytes());
        });
        writer.finish().unwrap().to_vec()
    }

    fn refused(length: u32) -> Vec<u8> {
        let mut bytes = vec![0; 16];
        bytes[..4].copy_from_slice(&length.to_ne_bytes());
        bytes
    }

    #[test]
    fn words_and_offset_are_read_in_the_short_and_in_the_long_form() {
        let short = refusal(CAPPED, &refused(400));
        let long = refusal(0, &[refused(20), vec![0; 4]].concat());
        for bytes in [short, long] {
            let message = wire::messages(&bytes).next().unwrap().unwrap();
            let answer = answer(&message).unwrap().unwrap();
            assert_eq!(answer.errno, Some(Errno::ENOENT));
            assert_eq!(answer.message.as_deref(), Some("no such set"));
            assert_eq!((answer.sequence, answer.offset), (5, Some(28)));
        }
    }
}
