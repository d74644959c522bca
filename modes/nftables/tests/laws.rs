//! Laws of nftables mode on random clusters, against the simulated kernel.

use std::collections::BTreeSet;

use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::{Family, Table};
use kubeweir_nftables::{Mode, Options, compile, names::TABLE};
use kubeweir_plan::fixtures::{Event, NODE, World};
use kubeweir_plan::options::DetectLocal;
use kubeweir_plan::{Changed, Planner};
use proptest::prelude::*;

const OPTIONS: Options = Options { masquerade_mark: 0x4000 };

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

fn content(kernel: &Simulated) -> Vec<Table> {
    Family::ALL.iter().map(|family| kernel.table(*family, TABLE).unwrap().clone()).collect()
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
            // Slots aside, what is there is what a fresh compilation gives.
            let sizes = |tables: &[Table]| -> Vec<(String, usize)> {
                let sets = tables.iter().flat_map(|table| &table.sets);
                sets.map(|(name, set)| (name.clone(), set.elements.len())).collect()
            };
            let compiled = compile::tables(planner.plan(), OPTIONS);
            prop_assert_eq!(sizes(&content(mode.kernel())), sizes(&compiled));
            prop_assert_eq!(content(mode.kernel())[0].chains.clone(), compiled[0].chains.clone());
        }
    }
}
