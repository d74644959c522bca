use std::collections::BTreeMap;
use std::ops::Range;

use kubeweir_netlink::batch::{Batch, Failure, Refusal};
use kubeweir_netlink::dump::{self, Request};
use kubeweir_netlink::nfnl::{self, PROTOCOL, SUBSYSTEM_NFTABLES};
use kubeweir_netlink::socket::Socket;
use kubeweir_netlink::wire::{Message, Writer};
use kubeweir_netlink::{Errno, Error};

use crate::encode::{self, Origin, attribute as a, message};
use crate::kernel::{CommitError, Kernel, Observation, ObserveError, Refused};
use crate::set::{Counter, Element, Elements, Set};
use crate::{Chain, Commit, DataType, Family, Key, Operation, Table, datatype, decode};

/// Batches beyond this many bytes are cut in parts, where they may be: the kernel copies a batch into one allocation.
const BATCH_LIMIT: usize = 16 * 1024 * 1024;
/// How often all tables are read again for want of a quiet moment.
const ATTEMPTS: u32 = 5;
/// How often, if something was gone before it could be read.
const ATTEMPTS_AFTER_ERRORS: u32 = 50;

/// The kernel's `nf_tables` in the network namespace of the thread that opened it.
pub struct Client {
    socket: Socket,
    /// Bytes beyond which a batch is cut, where it may be.
    limit: usize,
    /// Key types of the sets seen so far, to name refused elements.
    keys: BTreeMap<(Family, String, String), Vec<DataType>>,
}

impl Client {
    /// Opens the resident netlink socket.
    pub fn open() -> Result<Client, Error> {
        Ok(Client { socket: Socket::open(PROTOCOL)?, limit: BATCH_LIMIT, keys: BTreeMap::new() })
    }

    /// Cuts batches beyond so many bytes, instead of 16 MiB: for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_limit(self, limit: usize) -> Client {
        Client { limit, ..self }
    }

    /// The current generation: a number that every commit by anybody in this namespace changes.
    pub fn generation(&mut self) -> Result<u32, Error> {
        let body = |w: &mut Writer| w.raw(&nfnl::header(0, 0));
        let request = Request { kind: kind(message::GET_GENERATION), body: &body };
        let mut generation = None;
        dump::ask(&mut self.socket, &request, &mut |message| {
            generation = generation.or(decode::generation(message)?);
            Ok(())
        })?;
        generation.ok_or(Error::Malformed("generation without a number"))
    }

    fn handle(&mut self, family: Family, name: &str) -> Result<Option<u64>, Error> {
        let body = |w: &mut Writer| in_table(family, name, w);
        let request = Request { kind: kind(message::GET_TABLE), body: &body };
        let mut handle = None;
        let asked = dump::ask(&mut self.socket, &request, &mut |message| {
            handle = decode::handle(message)?;
            Ok(())
        });
        match asked {
            Ok(()) => handle.map(Some).ok_or(Error::Malformed("table without a handle")),
            Err(Error::Refused { errno: Errno::ENOENT, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the elements of a set have counted; `None` if there is no such set. A dump that others' commits interrupt is begun again
    /// a few times and then given up as [`Error::Unstable`]: it may be long, and nobody depends on it.
    pub fn counters(
        &mut self,
        family: Family,
        table: &str,
        set: &str,
    ) -> Result<Option<Vec<(Key, Counter)>>, ObserveError> {
        let body = |w: &mut Writer| {
            in_table(family, table, w);
            w.string(a::ELEMENTS_SET, set);
        };
        let request = Request { kind: kind(message::GET_ELEMENT), body: &body };
        let each = |counted: &mut Vec<_>, message: &Message<'_>| decode::counters(message, counted);
        match dump::dump_few_times(&mut self.socket, &request, ATTEMPTS, Vec::new, each) {
            Ok(counted) => Ok(Some(counted)),
            Err(Error::Refused { errno: Errno::ENOENT, .. }) => Ok(None),
            Err(source) => Err(unreadable("counters", family, table, source)),
        }
    }

    fn read(&mut self, family: Family, name: &str) -> Result<Option<Table>, ObserveError> {
        let fail = |what| move |source| unreadable(what, family, name, source);
        if self.handle(family, name).map_err(fail("the handle"))?.is_none() {
            return Ok(None);
        }
        let mut table = Table::new(family, name);
        table.sets = self.sets(family, name).map_err(fail("sets"))?;
        table.chains = self.chains(family, name).map_err(fail("chains"))?;
        Ok(Some(table))
    }

    fn sets(&mut self, family: Family, name: &str) -> Result<BTreeMap<String, Set>, Error> {
        let kinds = self.list(message::GET_SET, family, name, decode::set)?;
        let mut sets = BTreeMap::new();
        for named in kinds.into_iter().filter(|named| named.table == name) {
            let is_ours = !named.object.is_dynamic();
            let elements =
                if is_ours { self.elements(family, name, &named.name)? } else { Elements::default() };
            self.keys.insert((family, name.to_owned(), named.name.clone()), named.object.key.clone());
            sets.insert(named.name, Set { kind: named.object, elements });
        }
        Ok(sets)
    }

    fn elements(&mut self, family: Family, table: &str, set: &str) -> Result<Elements, Error> {
        let body = |w: &mut Writer| {
            in_table(family, table, w);
            w.string(a::ELEMENTS_SET, set);
        };
        let request = Request { kind: kind(message::GET_ELEMENT), body: &body };
        let elements: Vec<Element> =
            dump::dump(&mut self.socket, &request, Vec::new, |elements, message| {
                decode::elements(message, elements)
            })?;
        Ok(elements.into_iter().collect())
    }

    fn chains(&mut self, family: Family, name: &str) -> Result<BTreeMap<String, Chain>, Error> {
        let hooks = self.list(message::GET_CHAIN, family, name, decode::chain)?;
        let mine = hooks.into_iter().filter(|named| named.table == name);
        let mut chains: BTreeMap<_, _> =
            mine.map(|named| (named.name, Chain { hook: named.object, rules: Vec::new() })).collect();
        for named in self.list(message::GET_RULE, family, name, decode::rule)? {
            if let (true, Some(chain)) = (named.table == name, chains.get_mut(&named.name)) {
                chain.rules.push(named.object);
            }
        }
        Ok(chains)
    }

    /// All objects of a kind, of one table or, if it has no name, of all; where the kernel does not choose, of all of the family.
    pub(crate) fn list<T>(
        &mut self,
        message: u8,
        family: Family,
        table: &str,
        decode: impl Fn(&Message<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        let body = |w: &mut Writer| in_table(family, table, w);
        let request = Request { kind: kind(message), body: &body };
        dump::dump(&mut self.socket, &request, Vec::new, |list, message| {
            list.push(decode(message)?);
            Ok(())
        })
    }
}

impl Kernel for Client {
    fn observe(&mut self, tables: &[(Family, &str)]) -> Result<Observation, ObserveError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let before = self.generation().map_err(generation_error)?;
            let read: Result<Vec<_>, _> =
                tables.iter().map(|(family, name)| self.read(*family, name)).collect();
            let quiet = self.generation().map_err(generation_error)? == before;
            match read {
                Ok(tables) if quiet || attempt >= ATTEMPTS => {
                    return Ok(Observation { tables, generation: quiet.then_some(before) });
                }
                // What is not found any more may have gone while it was read.
                Err(error) if quiet || attempt >= ATTEMPTS_AFTER_ERRORS => return Err(error),
                Ok(_) | Err(_) => {}
            }
        }
    }

    fn handles(&mut self, tables: &[(Family, &str)]) -> Result<Vec<Option<u64>>, ObserveError> {
        let handle = |&(family, name): &(Family, &str)| {
            self.handle(family, name).map_err(|source| unreadable("the handle", family, name, source))
        };
        tables.iter().map(handle).collect()
    }

    fn commit(&mut self, commits: &[Commit], generation: Option<u32>) -> Result<(), CommitError> {
        let mut part = Part::new(generation);
        for commit in commits {
            self.remember(commit);
            let cuts = Cuts::of(commit);
            for (index, operation) in commit.operations.iter().enumerate() {
                for range in encode::parts(operation) {
                    if part.batch.bytes() > self.limit && cuts.may_be_before(index) {
                        self.send(part)?;
                        part = Part::new(None);
                    }
                    part.push(commit, index, &range);
                }
            }
        }
        self.send(part)
    }
}

impl Client {
    fn remember(&mut self, commit: &Commit) {
        for operation in &commit.operations {
            if let Operation::AddSet(name, kind) = operation {
                self.keys.insert((commit.family, commit.table.clone(), name.clone()), kind.key.clone());
            }
        }
    }

    fn send(&mut self, part: Part<'_>) -> Result<(), CommitError> {
        let origins = part.origins;
        part.batch.commit(&mut self.socket).map_err(|failure| match failure {
            Failure::Outdated => CommitError::Outdated,
            Failure::Refused { refused, .. } => {
                CommitError::Refused(refused.iter().map(|refusal| self.explain(refusal, &origins)).collect())
            }
            other => CommitError::Failed(other),
        })
    }

    /// A refusal in the words of the operation it was about.
    fn explain(&self, refusal: &Refusal, origins: &[(&Commit, Origin)]) -> Refused {
        let operation = match origins.get(refusal.operation) {
            Some((commit, origin)) => self.describe(commit, *origin, refusal),
            None => format!("operation {}", refusal.operation),
        };
        Refused { operation, errno: refusal.errno, message: refusal.message.clone() }
    }

    fn describe(&self, commit: &Commit, origin: Origin, refusal: &Refusal) -> String {
        let operation = &commit.operations[origin.operation];
        let text = format!("{operation} in table {} {}", commit.family, commit.table);
        let Some((set, elements)) = operation.elements() else { return text };
        let position = refusal.attribute.get(1).map(|step| origin.first_element + step.position);
        let Some(element) = position.and_then(|position| elements.get(position)) else { return text };
        let types = self.keys.get(&(commit.family, commit.table.clone(), set.to_owned()));
        let mut key = String::new();
        datatype::print(types.map_or(&[], Vec::as_slice), element.key.as_slice(), &mut key);
        format!("{text}, element {key} {}", element.comment.as_deref().unwrap_or_default())
    }
}

/// Where a commit may be cut: between elements, but not where chains have been emptied whose rules are still to come.
struct Cuts<'a> {
    operations: &'a [Operation],
    first_flush: usize,
    last_rule: usize,
}

impl Cuts<'_> {
    fn of(commit: &Commit) -> Cuts<'_> {
        let operations = commit.operations.as_slice();
        let is_flush = |operation: &Operation| matches!(operation, Operation::FlushChain(_));
        let is_rule = |operation: &Operation| matches!(operation, Operation::AddRule(..));
        Cuts {
            operations,
            first_flush: operations.iter().position(is_flush).unwrap_or(usize::MAX),
            last_rule: operations.iter().rposition(is_rule).unwrap_or(0),
        }
    }

    fn may_be_before(&self, index: usize) -> bool {
        let between = self.first_flush < index && index < self.last_rule;
        self.operations[index].elements().is_some() && !between
    }
}

/// One batch and where its messages came from.
struct Part<'a> {
    batch: Batch,
    origins: Vec<(&'a Commit, Origin)>,
}

impl<'a> Part<'a> {
    fn new(generation: Option<u32>) -> Part<'a> {
        Part { batch: Batch::new(SUBSYSTEM_NFTABLES, generation), origins: Vec::new() }
    }

    fn push(&mut self, commit: &'a Commit, index: usize, range: &Range<usize>) {
        let mut origins = Vec::new();
        encode::part(commit, index, range, &mut self.batch, &mut origins);
        self.origins.extend(origins.into_iter().map(|origin| (commit, origin)));
    }
}

fn in_table(family: Family, table: &str, w: &mut Writer) {
    w.raw(&nfnl::header(family.number(), 0));
    if !table.is_empty() {
        w.string(a::TABLE, table);
    }
}

const fn kind(message: u8) -> u16 {
    nfnl::kind(SUBSYSTEM_NFTABLES, message)
}

fn unreadable(what: &'static str, family: Family, table: &str, source: Error) -> ObserveError {
    ObserveError { what, family, table: table.to_owned(), source }
}

fn generation_error(source: Error) -> ObserveError {
    ObserveError { what: "the generation", family: Family::Ip, table: String::new(), source }
}

/// The bytes of one batch with these operations, before sequence numbers are set: for tests against recordings.
#[doc(hidden)]
pub fn batch_bytes(commits: &[Commit]) -> Vec<u8> {
    let mut part = Part::new(None);
    for commit in commits {
        for (index, operation) in commit.operations.iter().enumerate() {
            for range in encode::parts(operation) {
                part.push(commit, index, &range);
            }
        }
    }
    part.batch.as_bytes().to_vec()
}
