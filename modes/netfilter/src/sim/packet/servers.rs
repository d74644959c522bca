//! Virtual servers between the hooks of tables, where IPVS sits (`ip_vs_ops` in `net/netfilter/ipvs/ip_vs_core.c`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::state::State;
use super::{Fate, Packet, Simulated, Way};
use crate::chain::HookPoint;

/// Tells where the virtual server of a protocol, address and port sends packets; `None` if there is none.
pub type Servers<'a> = dyn Fn(u8, IpAddr, u16) -> Option<Vec<(IpAddr, u16)>> + 'a;

/// At local output, behind destination NAT and before the filter.
const OUTPUT: i32 = -98;
/// At local input, before source NAT and behind the filter.
const INPUT: i32 = 99;

impl Simulated {
    /// As [`Simulated::send`], on a host with these virtual servers.
    pub fn send_to_servers(
        &self,
        packet: &Packet,
        is_local: &dyn Fn(IpAddr) -> bool,
        servers: &Servers<'_>,
    ) -> BTreeSet<Fate> {
        let mut way = Way { kernel: self, is_local, fates: BTreeSet::new() };
        let new = BTreeSet::from([State::new(packet)]);
        if packet.interface.is_none() {
            let passed = way.pass_some(HookPoint::Output, new, i32::MIN..OUTPUT);
            let passed = way.schedule(passed, servers);
            for state in way.pass_some(HookPoint::Output, passed, OUTPUT..i32::MAX) {
                way.leave(state);
            }
            return way.fates;
        }
        for state in way.pass(HookPoint::Prerouting, new) {
            if !is_local(state.destination) {
                let states = way.pass(HookPoint::Forward, BTreeSet::from([state]));
                for state in states {
                    way.leave(state);
                }
                continue;
            }
            let passed = way.pass_some(HookPoint::Input, BTreeSet::from([state]), i32::MIN..INPUT);
            let here = way.schedule(passed, servers);
            let here = way.pass_some(HookPoint::Input, here, INPUT..i32::MAX);
            way.fates.extend(here.into_iter().map(State::passed));
        }
        way.fates
    }
}

impl Way<'_> {
    /// Sends what is for a virtual server to each of its real servers, through local output once more; returns the rest.
    fn schedule(&mut self, states: BTreeSet<State>, servers: &Servers<'_>) -> BTreeSet<State> {
        let mut rest = BTreeSet::new();
        for state in states {
            let Some(real) = servers(state.protocol, state.destination, state.destination_port) else {
                rest.insert(state);
                continue;
            };
            if real.is_empty() {
                self.fates.insert(Fate::Rejected);
            }
            let sent: BTreeSet<State> = real.into_iter().map(|to| state.clone().scheduled(to)).collect();
            for state in self.pass(HookPoint::Output, sent) {
                self.leave(state);
            }
        }
        rest
    }

    fn leave(&mut self, state: State) {
        let states = self.pass(HookPoint::Postrouting, BTreeSet::from([state]));
        self.fates.extend(states.into_iter().map(State::passed));
    }
}
