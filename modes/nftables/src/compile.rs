//! A whole plan as tables, from nothing: for the first commit, for repair, and for `render`.

use kubeweir_netfilter::{Family, Table};
use kubeweir_plan::Plan;

use crate::elements::{self, Placed};
use crate::handover::HandOver;
use crate::layout::{self, Options};
use crate::seating::Seating;
use crate::tally::{Tally, TallyChange};

/// The tables of a plan whose endpoints sit in the pools' own order, IPv4 first.
pub fn tables(plan: &Plan, options: Options) -> [Table; 2] {
    let hand_over = HandOver::new(&plan.node, options);
    let mut placed = Placed::new();
    for service in plan.services.values() {
        elements::of_service(service, &Seating::default(), &hand_over, &mut placed);
    }
    let mut contents = TallyChange::default();
    contents.count(&placed, 1);
    fill(layouts(plan, &Tally::default(), &contents, options), placed)
}

/// The tables without Services' elements, for what a tally will hold after a change.
pub(crate) fn layouts(plan: &Plan, tally: &Tally, change: &TallyChange, options: Options) -> [Table; 2] {
    Family::ALL.map(|family| layout::table(family, &plan.node, &tally.used(change, family), options))
}

/// Puts elements into the tables made for them.
pub(crate) fn fill(mut tables: [Table; 2], placed: Placed) -> [Table; 2] {
    for ((family, id), elements) in placed {
        if let Some(set) = tables[family as usize].sets.get_mut(&id.to_string()) {
            set.elements = elements.into_iter().collect();
        }
    }
    tables
}
