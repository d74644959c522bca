//! What becomes of a connection's first packet in the simulated kernel's tables.
//!
//! Rules are run as the kernel runs them, expression by expression on registers. Where a number is drawn, every number is
//! tried: the answer is the set of all fates that are possible.

mod machine;
mod servers;
mod state;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;

use super::Simulated;
use crate::chain::{Hook, HookPoint};
use crate::{Chain, Element, Family, Table};

use machine::{End, Machine};
pub use servers::Servers;
pub use state::Learnt;
use state::{State, Translated};

/// A connection's first packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Source port.
    pub source_port: u16,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// The interface it came in through; `None` for a packet made on this host.
    pub interface: Option<String>,
}

/// What can become of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It goes on.
    Passed {
        /// Where to.
        destination: (IpAddr, u16),
        /// Whether the destination was translated.
        translated: bool,
        /// Whether it gets the source address of the interface it leaves through.
        masqueraded: bool,
        /// What rules learnt from it; see [`Simulated::learn`].
        learnt: Vec<Learnt>,
    },
    /// Discarded.
    Dropped,
    /// Refused with an ICMP error.
    Rejected,
}

/// The part of its way that a packet has gone.
struct Way<'a> {
    kernel: &'a Simulated,
    is_local: &'a dyn Fn(IpAddr) -> bool,
    fates: BTreeSet<Fate>,
}

impl Simulated {
    /// Everything that can become of the packet. `is_local` tells this host's own addresses.
    pub fn send(&self, packet: &Packet, is_local: &dyn Fn(IpAddr) -> bool) -> BTreeSet<Fate> {
        let mut way = Way { kernel: self, is_local, fates: BTreeSet::new() };
        let made_here = packet.interface.is_none();
        let first = if made_here { HookPoint::Output } else { HookPoint::Prerouting };
        for state in way.pass(first, BTreeSet::from([State::new(packet)])) {
            let to_here = is_local(state.destination);
            let mut states = BTreeSet::from([state]);
            for point in hooks_behind(made_here, to_here) {
                if *point == HookPoint::Prerouting {
                    states = states.into_iter().map(State::looped_back).collect();
                }
                states = way.pass(*point, states);
            }
            way.fates.extend(states.into_iter().map(State::passed));
        }
        way.fates
    }

    /// Keeps what rules learnt from a packet, for those to come.
    pub fn learn(&mut self, learnt: &[Learnt]) {
        for Learnt { family, table, set, key, data } in learnt {
            let set =
                self.tables.get_mut(&(*family, table.clone())).and_then(|table| table.sets.get_mut(set));
            let Some(set) = set else { continue };
            let others = set.elements.iter().filter(|element| element.key != *key).cloned();
            let new = data.map(|data| Element::of_map(*key, data));
            set.elements = others.chain(new).collect();
        }
    }
}

/// A packet made here for an address of this host comes back in through the loopback interface.
const fn hooks_behind(made_here: bool, to_here: bool) -> &'static [HookPoint] {
    match (made_here, to_here) {
        (true, true) => &[HookPoint::Postrouting, HookPoint::Prerouting, HookPoint::Input],
        (true, false) => &[HookPoint::Postrouting],
        (false, true) => &[HookPoint::Input],
        (false, false) => &[HookPoint::Forward, HookPoint::Postrouting],
    }
}

impl<'a> Way<'a> {
    /// Takes packets through all base chains at a hook; those that end there are entered among the fates.
    fn pass(&mut self, point: HookPoint, states: BTreeSet<State>) -> BTreeSet<State> {
        self.pass_some(point, states, i32::MIN..i32::MAX)
    }

    /// Those of them with a priority in the range.
    fn pass_some(
        &mut self,
        point: HookPoint,
        mut states: BTreeSet<State>,
        priorities: Range<i32>,
    ) -> BTreeSet<State> {
        let chains = self.chains_at(point).into_iter();
        for (table, hook, chain) in chains.filter(|(_, hook, _)| priorities.contains(&hook.priority)) {
            let machine = Machine { table, is_local: self.is_local };
            let (passing, mut behind): (BTreeSet<_>, BTreeSet<_>) =
                states.into_iter().partition(|state| is_for(state, table.family, hook));
            let mut ends = Vec::new();
            behind.extend(machine.run(&chain.rules, passing, &mut ends));
            for (state, end) in ends {
                match end {
                    End::Accept => drop(behind.insert(state)),
                    End::Drop => drop(self.fates.insert(Fate::Dropped)),
                    End::Reject => drop(self.fates.insert(Fate::Rejected)),
                }
            }
            states = behind;
        }
        states
    }

    /// Base chains in the order in which the kernel calls them.
    fn chains_at(&self, point: HookPoint) -> Vec<(&'a Table, &'a Hook, &'a Chain)> {
        let mut found = Vec::new();
        for table in self.kernel.tables.values() {
            let hooked = table.chains.values().filter_map(|chain| Some((chain.hook.as_ref()?, chain)));
            found.extend(
                hooked.filter(|(hook, _)| hook.point == point).map(|(hook, chain)| (table, hook, chain)),
            );
        }
        found.sort_by_key(|(_, hook, _)| hook.priority);
        found
    }
}

/// Whether a base chain sees the packet. Chains that translate are asked only until one has.
fn is_for(state: &State, family: Family, hook: &Hook) -> bool {
    let settled = match hook.point {
        HookPoint::Prerouting | HookPoint::Output => state.translated != Translated::Not || state.is_back,
        HookPoint::Input | HookPoint::Postrouting => state.masqueraded,
        HookPoint::Forward => true,
    };
    Family::of(state.destination) == family && !(hook.translates && settled)
}
