//! Chains, rules and expressions at work on packets.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::state::{Learnt, State, Translated};
use crate::chain::Rule;
use crate::expr::{CtKey, Expr, MetaKey, PayloadBase, SetAction, Verdict};
use crate::register::Register;
use crate::set::Set;
use crate::value::{Data, Key};
use crate::{Table, datatype};

/// Runs the chains of one table.
pub(super) struct Machine<'a> {
    pub(super) table: &'a Table,
    pub(super) is_local: &'a dyn Fn(IpAddr) -> bool,
}

/// How a packet leaves a base chain before its end.
pub(super) enum End {
    Accept,
    Drop,
    Reject,
}

/// What a rule decides.
enum Outcome {
    /// On with the next rule: it did not match, or had nothing to say about the way.
    Next,
    To(Verdict),
    Reject,
}

/// 512 bits of registers.
type Registers = [u8; 64];

const INTERFACE_NAME: usize = 16;
const STATE_NEW: u32 = 8;
const STATUS_DNAT: u32 = 0x20;
const FIB_SOURCE: u32 = 1;
const ROUTE_UNICAST: u32 = 1;
const ROUTE_LOCAL: u32 = 2;

impl Machine<'_> {
    /// Takes packets through rules. Returns those that come out at the end; the others are put into `ends`.
    pub(super) fn run(
        &self,
        rules: &[Rule],
        mut states: BTreeSet<State>,
        ends: &mut Vec<(State, End)>,
    ) -> BTreeSet<State> {
        let mut returned = BTreeSet::new();
        for rule in rules {
            let mut next = BTreeSet::new();
            for state in states {
                for number in 0..numbers(rule) {
                    let mut state = state.clone();
                    match self.rule(rule, &mut state, number) {
                        Outcome::Next => drop(next.insert(state)),
                        Outcome::Reject => ends.push((state, End::Reject)),
                        Outcome::To(Verdict::Drop) => ends.push((state, End::Drop)),
                        Outcome::To(Verdict::Accept) => ends.push((state, End::Accept)),
                        Outcome::To(Verdict::Return) => drop(returned.insert(state)),
                        Outcome::To(Verdict::Jump(chain)) => next.extend(self.chain(&chain, state, ends)),
                        Outcome::To(Verdict::Goto(chain)) => returned.extend(self.chain(&chain, state, ends)),
                    }
                }
            }
            states = next;
        }
        states.extend(returned);
        states
    }

    fn chain(&self, name: &str, state: State, ends: &mut Vec<(State, End)>) -> BTreeSet<State> {
        let rules = self.table.chains.get(name).map_or(&[][..], |chain| &chain.rules);
        self.run(rules, BTreeSet::from([state]), ends)
    }

    /// Runs one rule, with `number` for what it draws. What it changed before it ended stays changed.
    fn rule(&self, rule: &Rule, state: &mut State, number: u32) -> Outcome {
        let mut registers = [0; 64];
        for expression in rule.expressions() {
            let goes_on = match expression {
                Expr::Verdict(verdict) => return Outcome::To(verdict.clone()),
                Expr::Reject { .. } => return Outcome::Reject,
                Expr::DestinationNat { address, port, .. } => {
                    match port {
                        Some(port) => translate(state, &registers, *address, *port),
                        None => state.translated = Translated::ToItself,
                    }
                    return Outcome::To(Verdict::Accept);
                }
                Expr::Masquerade { .. } => {
                    state.masqueraded = true;
                    return Outcome::To(Verdict::Accept);
                }
                Expr::Number { dreg, .. } | Expr::Hash { dreg, .. } => {
                    put(&mut registers, *dreg, &number.to_ne_bytes());
                    true
                }
                Expr::Lookup { set, sreg, dreg, inverted } => {
                    self.lookup(state, &mut registers, set, *sreg, *dreg) != *inverted
                }
                Expr::DynamicSet { action, set, key, data, .. } => {
                    self.change(state, &registers, *action, set, (*key, *data))
                }
                other => self.compute(state, &mut registers, other),
            };
            if !goes_on {
                return Outcome::Next;
            }
        }
        Outcome::Next
    }

    /// Expressions that only move and compare bytes. Returns whether the rule goes on.
    fn compute(&self, state: &mut State, registers: &mut Registers, expression: &Expr) -> bool {
        match expression {
            Expr::Meta { key, dreg } => put(registers, *dreg, &meta(state, *key)),
            Expr::SetMeta { key, sreg } => {
                let value = u32::from_ne_bytes(take(registers, *sreg, 4).try_into().unwrap_or_default());
                match key {
                    MetaKey::Mark => state.mark = value,
                    MetaKey::Priority => state.priority = value,
                    MetaKey::InputName | MetaKey::L4Protocol => return false,
                }
            }
            Expr::Payload { base, offset, length, dreg } => {
                let header = match base {
                    PayloadBase::Network => state.network_header(),
                    PayloadBase::Transport => state.transport_header(),
                };
                let (from, length) = (*offset as usize, *length as usize);
                let Some(bytes) = header.get(from..from + length) else { return false };
                put(registers, *dreg, bytes);
            }
            Expr::Constant { dreg, data } => put(registers, *dreg, data),
            Expr::Ct { key: CtKey::State, dreg } => put(registers, *dreg, &STATE_NEW.to_ne_bytes()),
            // What is sent begins a connection.
            Expr::Ct { key: CtKey::Direction, dreg } => put(registers, *dreg, &[0]),
            Expr::Ct { key: CtKey::OriginalAddress | CtKey::OriginalAddress6, dreg } => {
                match state.original.0 {
                    IpAddr::V4(v4) => put(registers, *dreg, &v4.octets()),
                    IpAddr::V6(v6) => put(registers, *dreg, &v6.octets()),
                }
            }
            Expr::Ct { key: CtKey::OriginalPort, dreg } => {
                put(registers, *dreg, &state.original.1.to_be_bytes());
            }
            Expr::Ct { key: CtKey::Status, dreg } => {
                let status = if state.translated == Translated::ByRule { STATUS_DNAT } else { 0 };
                put(registers, *dreg, &status.to_ne_bytes());
            }
            Expr::FibType { flags, dreg } => {
                let address = if *flags == FIB_SOURCE { state.source } else { state.destination };
                let kind = if (self.is_local)(address) { ROUTE_LOCAL } else { ROUTE_UNICAST };
                put(registers, *dreg, &kind.to_ne_bytes());
            }
            Expr::Compare { equal, sreg, data } => {
                return (take(registers, *sreg, data.len()) == data.as_slice()) == *equal;
            }
            Expr::Bitwise { register, mask, xor } => {
                let operand = take(registers, *register, mask.len()).to_vec();
                let result = operand.iter().zip(mask).zip(xor).map(|((bits, mask), xor)| bits & mask ^ xor);
                put(registers, *register, &result.collect::<Vec<u8>>());
            }
            // An expression that nobody here writes: the simulation knows nothing about it.
            _ => return false,
        }
        true
    }

    fn lookup(
        &self,
        state: &State,
        registers: &mut Registers,
        name: &str,
        sreg: Register,
        dreg: Option<Register>,
    ) -> bool {
        let Some(found) = self.find(state, registers, name, sreg) else { return false };
        if let Some(dreg) = dreg {
            put(registers, dreg, found.as_slice());
        }
        true
    }

    /// The data of the element whose key is in the registers; empty data in a set.
    fn find(&self, state: &State, registers: &Registers, name: &str, sreg: Register) -> Option<Data> {
        let set = self.table.sets.get(name)?;
        let key = key(set, registers, sreg)?;
        let learnt = state.learnt.iter().rev().find(|learnt| self.is_about(learnt, name, &key));
        if let Some(learnt) = learnt {
            return learnt.data;
        }
        if set.kind.is_ranges() {
            let end = |element: &crate::Element| element.end.as_deref().copied().unwrap_or(element.key);
            let around = set.elements.iter().find(|element| element.key <= key && key <= end(element));
            return around.map(|element| element.data);
        }
        set.elements.get(&key).map(|element| element.data)
    }

    fn is_about(&self, learnt: &Learnt, name: &str, key: &Key) -> bool {
        (learnt.family, &*learnt.table, &*learnt.set) == (self.table.family, &*self.table.name, name)
            && learnt.key == *key
    }

    /// Adds what is not there yet, or deletes. Returns whether the rule goes on.
    fn change(
        &self,
        state: &mut State,
        registers: &Registers,
        action: SetAction,
        name: &str,
        (sreg, dreg): (Register, Register),
    ) -> bool {
        let Some(set) = self.table.sets.get(name) else { return false };
        let (Some(key), is_there) = (key(set, registers, sreg), self.find(state, registers, name, sreg))
        else {
            return false;
        };
        let data = match (action, is_there) {
            (SetAction::Update, Some(_)) | (SetAction::Delete, None) => return true,
            (SetAction::Update, None) => {
                let length = datatype::length(&set.kind.data);
                Data::from_bytes(take(registers, dreg, length))
            }
            (SetAction::Delete, Some(_)) => None,
        };
        let (family, table) = (self.table.family, self.table.name.clone());
        state.learnt.push(Learnt { family, table, set: name.to_owned(), key, data });
        true
    }
}

/// How many numbers a rule may draw.
fn numbers(rule: &Rule) -> u32 {
    let drawn = rule.expressions().iter().filter_map(|expression| match expression {
        Expr::Number { modulus, .. } | Expr::Hash { modulus, .. } => Some(*modulus),
        _ => None,
    });
    drawn.max().unwrap_or(1)
}

fn key(set: &Set, registers: &Registers, sreg: Register) -> Option<Key> {
    Key::from_bytes(take(registers, sreg, datatype::length(&set.kind.key)))
}

fn meta(state: &State, key: MetaKey) -> Vec<u8> {
    match key {
        MetaKey::Mark => state.mark.to_ne_bytes().to_vec(),
        MetaKey::Priority => state.priority.to_ne_bytes().to_vec(),
        MetaKey::L4Protocol => vec![state.protocol],
        MetaKey::InputName => {
            let mut name = state.interface.as_deref().unwrap_or_default().as_bytes().to_vec();
            name.resize(INTERFACE_NAME, 0);
            name
        }
    }
}

fn translate(state: &mut State, registers: &Registers, address: Register, port: Register) {
    state.destination = match state.destination {
        IpAddr::V4(_) => {
            Ipv4Addr::from(<[u8; 4]>::try_from(take(registers, address, 4)).unwrap_or_default()).into()
        }
        IpAddr::V6(_) => {
            Ipv6Addr::from(<[u8; 16]>::try_from(take(registers, address, 16)).unwrap_or_default()).into()
        }
    };
    state.destination_port = u16::from_be_bytes(take(registers, port, 2).try_into().unwrap_or_default());
    state.translated = Translated::ByRule;
}

/// Stores bytes; the rest of the last 32-bit register becomes zero, as in the kernel.
fn put(registers: &mut Registers, register: Register, bytes: &[u8]) {
    let from = usize::from(register.0) * 4;
    let padded = bytes.len().next_multiple_of(4);
    let bytes = bytes.iter().copied().chain(std::iter::repeat(0)).take(padded);
    registers.iter_mut().skip(from).zip(bytes).for_each(|(slot, byte)| *slot = byte);
}

fn take(registers: &Registers, register: Register, length: usize) -> &[u8] {
    registers.get(usize::from(register.0) * 4..).and_then(|rest| rest.get(..length)).unwrap_or_default()
}
