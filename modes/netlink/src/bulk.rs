//! Many requests in one send, each with an answer of its own.
//!
//! The kernel works through all messages of a datagram inside `sendmsg` (`netlink_rcv_skb` in `net/netlink/af_netlink.c`) and
//! goes on after one that it refuses. Each asks for an acknowledgement, so that nothing is taken for done that was not
//! said to be. All acknowledgements of a datagram are queued before the first can be read: [`CHUNK`] of them fit even
//! the queue that a socket has by default (some 250 of them).

use crate::ack::{self, Answer};
use crate::socket::Socket;
use crate::wire::{self, ACK, Header, REQUEST, Writer};
use crate::{Errno, Error};

/// How many requests one datagram holds.
pub const CHUNK: usize = 128;

/// What became of one request.
pub type Outcome = Result<(), Refusal>;

/// The kernel's refusal of one request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{errno}{}", words(message.as_ref()))]
pub struct Refusal {
    /// The error number.
    pub errno: Errno,
    /// The kernel's own words, where it had any.
    pub message: Option<String>,
}

/// Sends all requests, in order, and returns what became of each, in the same order. `head` gives a request's message type,
/// its flags besides `REQUEST` and `ACK`; `body` appends what follows the header.
///
/// After an error any of the requests may have been carried out: read the kernel's state again.
pub fn execute<R>(
    socket: &mut Socket,
    requests: &[R],
    head: impl Fn(&R) -> (u16, u16),
    body: impl Fn(&R, &mut Writer),
) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = Vec::with_capacity(requests.len());
    for chunk in requests.chunks(CHUNK) {
        let first = socket.sequences(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        socket.send(encode(chunk, first, &head, &body).finish()?)?;
        outcomes.extend(collect(socket, first, chunk.len())?);
    }
    Ok(outcomes)
}

fn encode<R>(
    chunk: &[R],
    first: u32,
    head: &impl Fn(&R) -> (u16, u16),
    body: &impl Fn(&R, &mut Writer),
) -> Writer {
    let mut writer = Writer::default();
    for (request, sequence) in chunk.iter().zip((0..).map(|offset| first.wrapping_add(offset))) {
        let (kind, flags) = head(request);
        writer.message(Header { kind, flags: REQUEST | ACK | flags, sequence }, |w| body(request, w));
    }
    writer
}

/// The answers to a chunk. All are queued already, since the kernel has finished when `send` returns.
fn collect(socket: &mut Socket, first: u32, count: usize) -> Result<Vec<Outcome>, Error> {
    let mut outcomes = vec![None; count];
    let mut missing = count;
    while missing > 0 {
        let Some(datagram) = socket.receive_queued()? else {
            return Err(Error::Unanswered { missing, sent: count });
        };
        for message in wire::messages(datagram) {
            let Some(answer) = ack::answer(&message?) else { continue };
            missing -= usize::from(enter(&mut outcomes, first, answer?));
        }
    }
    Ok(outcomes.into_iter().flatten().collect())
}

/// Puts an answer in its place; false for one that answers something else.
fn enter(outcomes: &mut [Option<Outcome>], first: u32, answer: Answer) -> bool {
    let Some(place) = outcomes.get_mut(answer.sequence.wrapping_sub(first) as usize) else { return false };
    let refusal = answer.errno.map(|errno| Refusal { errno, message: answer.message });
    place.replace(refusal.map_or(Ok(()), Err)).is_none()
}

fn words(message: Option<&String>) -> String {
    message.map(|text| format!(" ({text})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(sequence: u32, errno: Option<Errno>) -> Answer {
        Answer { sequence, errno, message: None, offset: None }
    }

    #[test]
    fn each_request_has_its_own_number_and_asks_for_an_answer() {
        let writer =
            encode(&[7_u8, 8], u32::MAX, &|_| (20, wire::CREATE), &|request, w| w.raw(&[*request; 4]));
        let messages: Vec<_> = wire::messages(writer.as_bytes()).map(Result::unwrap).collect();
        assert_eq!(messages.iter().map(|m| m.header.sequence).collect::<Vec<_>>(), [u32::MAX, 0]);
        assert!(messages.iter().all(|m| m.header.flags == REQUEST | ACK | wire::CREATE));
        assert_eq!(messages[1].payload, [8; 4]);
    }

    #[test]
    fn answers_find_their_requests_and_foreign_or_repeated_ones_do_not_count() {
        let mut outcomes = vec![None; 2];
        assert!(!enter(&mut outcomes, 10, answer(9, None)) && !enter(&mut outcomes, 10, answer(12, None)));
        assert!(enter(&mut outcomes, 10, answer(11, Some(Errno::EEXIST))));
        assert!(!enter(&mut outcomes, 10, answer(11, Some(Errno::EEXIST))));
        assert!(enter(&mut outcomes, 10, answer(10, None)));
        let refused = Err(Refusal { errno: Errno::EEXIST, message: None });
        assert_eq!(outcomes, [Some(Ok(())), Some(refused)]);
    }
}
