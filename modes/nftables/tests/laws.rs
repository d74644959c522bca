//! Laws of nftables mode on random clusters, against the simulated kernel.

use std::collections::BTreeSet;

use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::{Data, Element, Elements, Family, Set, Table};
use kubeweir_nftables::names::{List, Place, SetId, TABLE};
use kubeweir_nftables::{Mode, Options, compile};
use kubeweir_plan::fixtures::{Event, NODE, World};
use kubeweir_plan::options::DetectLocal;
use kubeweir_plan::{Changed, Planner};
use proptest::prelude::*;

const OPTIONS: Options = Options::rules(0x4000);

fn planner() -> Planner {
    let mut options = kubeweir_plan::Options::for_node(NODE);
    options.detect_local = DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().unwrap()]);
    Planner::new(options)
}

/// Brings a kernel from wherever it is to the plan, as a fresh process would. Returns the operations needed.
fn settle(mode: &mut Mode<Simulated>, planner: &Planner) -> usize {
    mode.forget();
    mode.observe().unwrap();
    let difference = mode.difference(planner.plan(), &BTreeSet::new(), true);
    mode.apply(difference).unwrap().operations
}

/// Both tables as a fresh compilation gives them, slots aside.
fn fresh(planner: &Planner) -> Vec<Table> {
    compile::tables(planner.plan(), OPTIONS).map(slots_aside).into()
}

/// Both tables as the kernel has them, slots aside.
fn content(kernel: &Simulated) -> Vec<Table> {
    let tables = Family::ALL.iter().map(|family| kernel.table(*family, TABLE).unwrap());
    tables.cloned().map(slots_aside).collect()
}

/// A table in which every frontend's endpoints sit in their own order. Which slots are taken stays as it was.
fn slots_aside(mut table: Table) -> Table {
    for place in Place::ALL {
        for list in List::ALL {
            for id in [SetId::Endpoints(place, list), SetId::StickySlots(place, list)] {
                if let Some(set) = table.sets.get_mut(&id.to_string()) {
                    set.elements = in_order(set);
                }
            }
        }
    }
    table
}

/// Keys are ordered by frontend and end with the slot.
fn in_order(set: &Set) -> Elements {
    let elements: Vec<&Element> = set.elements.iter().collect();
    let frontend = |element: &Element| element.key.as_slice().split_last_chunk::<4>().unwrap().0.to_vec();
    let of_one = elements.chunk_by(|one, other| frontend(one) == frontend(other));
    let ordered = of_one.flat_map(|elements| {
        let mut data: Vec<Data> = elements.iter().map(|element| element.data).collect();
        data.sort_unstable();
        elements
            .iter()
            .zip(data)
            .map(|(element, data)| Element { data, ..(*element).clone() })
            .collect::<Vec<_>>()
    });
    ordered.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The incremental path, the full path and a restart agree at every step.
    #[test]
    fn after_each_step_a_restart_finds_nothing_to_do(
        numbers in proptest::collection::vec(any::<u64>(), 1..40),
        every in 1_usize..5,
    ) {
        let (mut world, mut planner) = (World::default(), planner());
        let mut mode = Mode::new(Simulated::default(), OPTIONS);
        let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
        settle(&mut mode, &planner);
        for numbers in numbers.chunks(every) {
            let mut changed = Changed::default();
            for number in numbers {
                changed.merge(world.happen(Event::drawn(*number)));
            }
            let update = planner.update(&world.snapshot, &world.facts, &changed);
            let difference = mode.difference(planner.plan(), &update.services, update.node);
            mode.apply(difference).unwrap();
            let mut restarted = Mode::new(mode.kernel().clone(), OPTIONS);
            prop_assert_eq!(settle(&mut restarted, &planner), 0);
            prop_assert_eq!(content(mode.kernel()), fresh(&planner));
        }
    }

    /// From any state to any other in one commit, and then nothing more.
    #[test]
    fn a_difference_leads_from_any_state_to_any_other(
        first in proptest::collection::vec(any::<u64>(), 0..30),
        second in proptest::collection::vec(any::<u64>(), 0..30),
    ) {
        let mut mode = Mode::new(Simulated::default(), OPTIONS);
        for numbers in [first, second] {
            let (mut world, mut planner) = (World::default(), planner());
            for number in numbers {
                world.happen(Event::drawn(number));
            }
            let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
            settle(&mut mode, &planner);
            prop_assert_eq!(settle(&mut mode, &planner), 0);
            prop_assert_eq!(content(mode.kernel()), fresh(&planner));
        }
    }
}
