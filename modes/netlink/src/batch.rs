//! nfnetlink batches: many operations, committed by the kernel all together or not at all.
//!
//! Wire form (`net/netfilter/nfnetlink.c`): `BATCH_BEGIN`, the operations, `BATCH_END`, in one datagram. The kernel
//! checks every operation even after the first refusal, so one answer tells all that is wrong. It answers inside
//! `sendmsg`; what matters is waiting in the queue when that returns. Only the last operation asks for an
//! acknowledgement: its arrival without any refusal means that the commit happened.

use crate::ack::{self, Answer};
use crate::nfnl;
use crate::socket::Socket;
use crate::wire::{self, ACK, Header, REQUEST, Writer};
use crate::{Errno, Error};

/// Operations under construction. Sequence numbers are relative until [`Batch::commit`].
pub struct Batch {
    writer: Writer,
    subsystem: u8,
    operations: u32,
    last: usize,
    generation: Option<u32>,
}

/// Why a batch was not committed. The kernel's state is as it was before, except for
/// [`Failure::Unknown`].
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The kernel refused these operations.
    #[error("the kernel refused {} of {operations} operations", refused.len())]
    Refused {
        /// How many operations the batch had.
        operations: usize,
        /// What was refused and why, in batch order.
        refused: Vec<Refusal>,
    },
    /// Somebody changed the ruleset after the generation that the batch was computed from.
    #[error("the ruleset changed since it was read")]
    Outdated,
    /// The operations were fine but the commit was not (`EMLINK` for a jump loop, for example).
    #[error("the kernel refused to commit: {0}")]
    Commit(Errno),
    /// The batch was sent but the answer was lost: read the state again before the next one.
    #[error("the answer to a batch of {operations} operations was lost")]
    Unknown {
        /// How many operations the batch had.
        operations: usize,
        /// What receiving said, where it failed.
        #[source]
        source: Option<Error>,
    },
    /// Nothing was sent.
    #[error("the batch could not be sent")]
    Unsent(#[source] Error),
}

/// One refused operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Index of the operation, counted from 0 in the order of [`Batch::push`].
    pub operation: usize,
    /// The error number.
    pub errno: Errno,
    /// The kernel's own words, where it had any.
    pub message: Option<String>,
    /// The way from the outermost attribute to the offending one; empty if the kernel named none.
    pub attribute: Vec<Step>,
}

/// One level of attributes on the way to an offending one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Attribute type.
    pub kind: u16,
    /// How many attributes stand before it on the same level.
    pub position: usize,
}

impl Batch {
    /// An empty batch. With a generation, the kernel refuses the batch if it is no longer the current one.
    pub fn new(subsystem: u8, generation: Option<u32>) -> Batch {
        let mut batch = Batch { writer: Writer::default(), subsystem, operations: 0, last: 0, generation };
        batch.fence(nfnl::BATCH_BEGIN, 0);
        batch
    }

    /// Appends one operation and returns its index.
    pub fn push(&mut self, message: u8, flags: u16, family: u8, body: impl FnOnce(&mut Writer)) -> usize {
        self.last = self.writer.len();
        self.operations += 1;
        let kind = nfnl::kind(self.subsystem, message);
        let header = Header { kind, flags: REQUEST | flags, sequence: self.operations };
        self.writer.message(header, |w| {
            w.raw(&nfnl::header(family, 0));
            body(w);
        });
        self.operations as usize - 1
    }

    /// Number of operations so far.
    pub fn operations(&self) -> usize {
        self.operations as usize
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.writer.len()
    }

    /// The operations written so far, with relative sequence numbers.
    pub fn as_bytes(&self) -> &[u8] {
        self.writer.as_bytes()
    }

    /// Sends the batch and waits for the verdict.
    pub fn commit(mut self, socket: &mut Socket) -> Result<(), Failure> {
        if self.operations == 0 {
            return Ok(());
        }
        self.fence(nfnl::BATCH_END, self.operations + 1);
        let first = socket.sequences(self.operations + 2);
        let bytes = self.sealed(first).map_err(Failure::Unsent)?;
        socket.send(&bytes).map_err(Failure::Unsent)?;
        verdict(&bytes, first, self.operations, &collect(socket, first, self.operations)?)
    }

    fn fence(&mut self, kind: u16, sequence: u32) {
        let generation = self.generation.filter(|_| kind == nfnl::BATCH_BEGIN);
        self.writer.message(Header { kind, flags: REQUEST, sequence }, |w| {
            w.raw(&nfnl::header(0, u16::from(self.subsystem)));
            if let Some(generation) = generation {
                w.be32(nfnl::BATCH_GENERATION, generation);
            }
        });
    }

    /// The bytes with absolute sequence numbers and the acknowledgement asked of the last operation.
    fn sealed(&self, first: u32) -> Result<Vec<u8>, Error> {
        let mut bytes = self.writer.finish()?.to_vec();
        let mut at = 0;
        while let Some(length) = wire::u32_at(&bytes, at) {
            let relative = wire::u32_at(&bytes, at + 8).ok_or(Error::Malformed("batch"))?;
            bytes[at + 8..at + 12].copy_from_slice(&first.wrapping_add(relative).to_ne_bytes());
            at += wire::aligned(length as usize);
        }
        let flags = wire::u16_at(&bytes, self.last + 6).ok_or(Error::Malformed("batch"))? | ACK;
        bytes[self.last + 6..self.last + 8].copy_from_slice(&flags.to_ne_bytes());
        Ok(bytes)
    }
}

/// All answers to this batch that are queued; the kernel has finished when `send` returns.
fn collect(socket: &mut Socket, first: u32, operations: u32) -> Result<Vec<Answer>, Failure> {
    let lost = |source| Failure::Unknown { operations: operations as usize, source: Some(source) };
    let mut answers = Vec::new();
    while let Some(datagram) = socket.receive_queued().map_err(lost)? {
        for message in wire::messages(datagram) {
            let Some(answer) = ack::answer(&message.map_err(lost)?) else { continue };
            let answer = answer.map_err(lost)?;
            if answer.sequence.wrapping_sub(first) <= operations + 1 {
                answers.push(answer);
            }
        }
    }
    Ok(answers)
}

fn verdict(bytes: &[u8], first: u32, operations: u32, answers: &[Answer]) -> Result<(), Failure> {
    let mut refused = Vec::new();
    for answer in answers {
        let Some(errno) = answer.errno else { continue };
        match answer.sequence.wrapping_sub(first) {
            0 if errno == Errno::ERESTART => return Err(Failure::Outdated),
            0 => return Err(Failure::Commit(errno)),
            position => refused.push(refusal(bytes, position, answer, errno)),
        }
    }
    let count = operations as usize;
    let done = answers.iter().any(|a| a.errno.is_none() && a.sequence == first.wrapping_add(operations));
    match (refused.is_empty(), done) {
        (false, _) => Err(Failure::Refused { operations: count, refused }),
        (true, true) => Ok(()),
        (true, false) => Err(Failure::Unknown { operations: count, source: None }),
    }
}

fn refusal(bytes: &[u8], position: u32, answer: &Answer, errno: Errno) -> Refusal {
    let path = answer.offset.and_then(|offset| attribute_path(bytes, answer.sequence, offset as usize));
    Refusal {
        operation: position as usize - 1,
        errno,
        message: answer.message.clone(),
        attribute: path.unwrap_or_default(),
    }
}

/// The attributes that lead to the byte at `offset` of the message with this sequence number.
fn attribute_path(bytes: &[u8], sequence: u32, offset: usize) -> Option<Vec<Step>> {
    let message = wire::messages(bytes).flatten().find(|m| m.header.sequence == sequence)?;
    let mut inside = message.payload.get(nfnl::GENERIC_HEADER..)?;
    let mut target = offset.checked_sub(wire::HEADER + nfnl::GENERIC_HEADER)?;
    let mut path = Vec::new();
    loop {
        let (step, payload, relative) = attribute_at(inside, target)?;
        path.push(step);
        match relative.checked_sub(4) {
            None => return Some(path),
            Some(deeper) => (inside, target) = (payload, deeper),
        }
    }
}

/// The attribute that covers an offset: its step, its payload and the offset inside the attribute.
fn attribute_at(bytes: &[u8], target: usize) -> Option<(Step, &[u8], usize)> {
    let mut at = 0;
    for (position, attribute) in wire::attributes(bytes).flatten().enumerate() {
        let length = 4 + attribute.payload.len();
        if target < at + length {
            return Some((Step { kind: attribute.kind, position }, attribute.payload, target - at));
        }
        at += wire::aligned(length);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut batch = Batch::new(nfnl::SUBSYSTEM_NFTABLES, Some(9));
        for name in ["first", "second"] {
            batch.push(0x0c, wire::CREATE, 2, |w| {
                w.string(1, "kubeweir");
                w.nest(3, |w| w.nest(1, |w| w.string(1, name)));
            });
        }
        batch
    }

    fn answer(sequence: u32, errno: Option<i32>, offset: Option<u32>) -> Answer {
        Answer { sequence, errno: errno.map(Errno), message: None, offset }
    }

    #[test]
    fn only_the_last_operation_asks_for_an_acknowledgement() {
        let bytes = batch().sealed(100).unwrap();
        let headers: Vec<_> = wire::messages(&bytes).map(|m| m.unwrap().header).collect();
        assert_eq!(headers.iter().map(|h| h.sequence).collect::<Vec<_>>(), [100, 101, 102]);
        assert_eq!(headers.iter().map(|h| h.flags & ACK != 0).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn a_refusal_names_its_operation_and_the_path_to_the_attribute() {
        let bytes = batch().sealed(100).unwrap();
        // header 16, nfgenmsg 4, table name 4 + 9 rounded to 16, then the nests at 36, 40 and the string at 44
        let answers = [answer(101, Some(2), Some(44)), answer(102, None, None)];
        let Err(Failure::Refused { refused, .. }) = verdict(&bytes, 100, 2, &answers) else { panic!() };
        assert_eq!(refused.len(), 1);
        assert_eq!((refused[0].operation, refused[0].errno), (0, Errno::ENOENT));
        assert_eq!(refused[0].attribute.iter().map(|step| step.kind).collect::<Vec<_>>(), [3, 1, 1]);
        assert_eq!(refused[0].attribute[0].position, 1);
    }

    #[test]
    fn verdicts() {
        let bytes = batch().sealed(100).unwrap();
        let of = |answers: &[Answer]| verdict(&bytes, 100, 2, answers);
        assert!(of(&[answer(102, None, None)]).is_ok());
        assert!(matches!(of(&[]), Err(Failure::Unknown { .. })));
        assert!(matches!(of(&[answer(100, Some(85), None)]), Err(Failure::Outdated)));
        let jump_loop = [answer(100, Some(31), None), answer(102, None, None)];
        assert!(matches!(of(&jump_loop), Err(Failure::Commit(Errno(31)))));
    }
}
