//! Rules that keep clients to their endpoint.
//!
//! A client that is remembered goes where it went before, if the identity it is remembered with is still one of the
//! frontend's. If not, it is forgotten; then an identity is drawn, remembered, and the packet sent to the endpoint of what *is*
//! remembered: where two first connections of a client draw at the same time on two processors, the first one's draw counts
//! for both. Of the draws of one packet the last that hits a slot counts, since no draw can end the rules before the client
//! is remembered. Nothing is remembered where nothing was drawn: a packet that is dropped afterwards takes no room.

use kubeweir_netfilter::{Chain, Field, Match, Rule, Statement};

use super::{Build, THROWS, frontend_in, jump, plain};
use crate::affinity::IDENTITY_BITS;
use crate::names::{
    List, Place, SetId, client_fields, is_exact, slot, slot_fields, sticky_chain, sticky_throw_chain,
};

impl Build<'_> {
    /// The chains for frontends with affinity; none where no frontend has.
    pub(super) fn sticky_chains(&self, place: Place, list: List) -> Vec<(String, Chain)> {
        if self.used.affinities_of(place).next().is_none() {
            return Vec::new();
        }
        let mut chains = Vec::new();
        let mut rules: Vec<Rule> =
            self.used.affinities_of(place).map(|seconds| self.known(place, list, seconds)).collect();
        let stale = self.rule([has_identity(), forget(place), Statement::ClearPriority]);
        rules.push(stale.comment("the endpoint is gone"));
        for class in self.used.classes_of(place, list) {
            let member = frontend_in(place, SetId::Slots(place, list, class));
            if is_exact(class) {
                rules.push(self.rule([member, draw(place, list, class)]));
            } else {
                let chain = sticky_throw_chain(place, list, class);
                rules.push(self.rule([member, jump(&chain)]));
                chains.push(plain(&chain, self.sticky_throws(place, list, class)));
            }
        }
        rules.extend(self.used.affinities_of(place).map(|seconds| {
            let sticky = frontend_in(place, SetId::Sticky(place, seconds));
            self.rule([sticky, has_identity(), remember(place, seconds)])
        }));
        rules.push(self.rule([recall(place), to_endpoint(place, list)]).comment("or of whoever drew first"));
        rules.push(self.rule([to_endpoint(place, list)]).comment("the memory is full"));
        rules.push(self.rule([draw(place, list, 1), to_endpoint(place, list)]));
        chains.push(plain(&sticky_chain(place, list), rules));
        chains
    }

    fn known(&self, place: Place, list: List, seconds: u32) -> Rule {
        let sticky = frontend_in(place, SetId::Sticky(place, seconds));
        let rule = self.rule([sticky, recall(place), remember(place, seconds), to_endpoint(place, list)]);
        rule.comment("a client comes back")
    }

    /// The first slot, which is always taken, and then whatever other draws hit.
    fn sticky_throws(&self, place: Place, list: List, class: u32) -> Vec<Rule> {
        let first = self.rule([draw(place, list, 1)]);
        let throw = self.rule([draw(place, list, class)]).comment("the last slot hit counts");
        [first].into_iter().chain(std::iter::repeat_n(throw, THROWS)).collect()
    }
}

fn affinity(place: Place) -> String {
    SetId::Affinity(place).to_string()
}

fn has_identity() -> Statement {
    Statement::Match(Match::Priority(IDENTITY_BITS))
}

fn recall(place: Place) -> Statement {
    Statement::SetPriority { key: client_fields(place), map: affinity(place) }
}

fn remember(place: Place, timeout: u32) -> Statement {
    Statement::Remember { key: client_fields(place), map: affinity(place), timeout }
}

fn forget(place: Place) -> Statement {
    Statement::Forget { key: client_fields(place), map: affinity(place) }
}

fn draw(place: Place, list: List, below: u32) -> Statement {
    let map = SetId::StickySlots(place, list).to_string();
    Statement::SetPriority { key: slot_fields(place, slot(below)), map }
}

fn to_endpoint(place: Place, list: List) -> Statement {
    let map = SetId::StickyEndpoints(place, list).to_string();
    Statement::DestinationNat { key: slot_fields(place, Field::Priority), map }
}
