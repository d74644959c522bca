//! Single requests and dumps, with one audited receive loop.

use crate::ack::{self, DONE};
use crate::socket::Socket;
use crate::wire::{self, ACK, DUMP, DUMP_INTERRUPTED, Header, Message, REQUEST, Writer};
use crate::{Errno, Error};

/// How often an interrupted dump is begun again before giving up.
const ATTEMPTS: u32 = 50;
const EINTR: Errno = Errno(libc::EINTR);

/// A request: message type and what follows the header.
pub struct Request<'a> {
    /// Message type with its subsystem.
    pub kind: u16,
    /// Fixed header and attributes.
    pub body: &'a dyn Fn(&mut Writer),
}

/// Lists objects. `each` sees every message of a complete, uninterrupted dump; `restart` is called before
/// each attempt, so that what an interrupted one delivered is thrown away.
pub fn dump<S>(
    socket: &mut Socket,
    request: &Request<'_>,
    fresh: impl Fn() -> S,
    each: impl FnMut(&mut S, &Message<'_>) -> Result<(), Error>,
) -> Result<S, Error> {
    dump_few_times(socket, request, ATTEMPTS, fresh, each)
}

/// As [`dump()`], but given up as [`Error::Unstable`] after so many attempts.
pub fn dump_few_times<S>(
    socket: &mut Socket,
    request: &Request<'_>,
    attempts: u32,
    fresh: impl Fn() -> S,
    mut each: impl FnMut(&mut S, &Message<'_>) -> Result<(), Error>,
) -> Result<S, Error> {
    for _ in 0..attempts {
        let mut state = fresh();
        if attempt(socket, request, &mut |message| each(&mut state, message))? == Outcome::Complete {
            return Ok(state);
        }
    }
    Err(Error::Unstable(attempts))
}

/// Sends one request and hands the answers to `each` until the kernel acknowledges it.
pub fn ask(
    socket: &mut Socket,
    request: &Request<'_>,
    each: &mut dyn FnMut(&Message<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    exchange(socket, request, REQUEST | ACK, each).map(|_| ())
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum Outcome {
    Complete,
    Interrupted,
}

fn attempt(
    socket: &mut Socket,
    request: &Request<'_>,
    each: &mut dyn FnMut(&Message<'_>) -> Result<(), Error>,
) -> Result<Outcome, Error> {
    match exchange(socket, request, REQUEST | DUMP, each) {
        Err(Error::Refused { errno: EINTR, .. }) => Ok(Outcome::Interrupted),
        other => other,
    }
}

fn exchange(
    socket: &mut Socket,
    request: &Request<'_>,
    flags: u16,
    each: &mut dyn FnMut(&Message<'_>) -> Result<(), Error>,
) -> Result<Outcome, Error> {
    let sequence = socket.sequences(1);
    let mut writer = Writer::default();
    writer.message(Header { kind: request.kind, flags, sequence }, request.body);
    socket.send(writer.finish()?)?;
    let mut outcome = Outcome::Complete;
    loop {
        for message in wire::messages(socket.receive()?) {
            let message = message?;
            if message.header.sequence != sequence {
                continue; // left over from an exchange that ended early
            }
            if message.header.flags & DUMP_INTERRUPTED != 0 {
                outcome = Outcome::Interrupted;
            }
            if finished(&message)? {
                return Ok(outcome);
            }
            if message.header.kind != DONE {
                each(&message)?;
            }
        }
    }
}

/// Whether this message ends the exchange; an error answer becomes `Err`.
fn finished(message: &Message<'_>) -> Result<bool, Error> {
    if message.header.kind == DONE {
        return refuse(ack::status(message.payload)?, None).map(|()| true);
    }
    let Some(answer) = ack::answer(message) else { return Ok(false) };
    let answer = answer?;
    refuse(answer.errno, answer.message).map(|()| true)
}

fn refuse(errno: Option<Errno>, message: Option<String>) -> Result<(), Error> {
    errno.map_or(Ok(()), |errno| Err(Error::Refused { errno, message }))
}
