//! Counting costs nothing where it is off, and changes nothing else where it is on.

use std::collections::BTreeSet;

use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::{Family, Table, text};
use kubeweir_nftables::names::{Counted, Place, SetId};
use kubeweir_nftables::{Mode, Options, compile};
use kubeweir_plan::fixtures::{Event, NODE, World};
use kubeweir_plan::{Changed, Planner};
use proptest::prelude::*;

const MODES: [Options; 2] = [Options::rules(0x4000), Options::beside_servers(0x4000)];

fn ours() -> BTreeSet<String> {
    let places = Place::ALL.into_iter();
    let sets = places.flat_map(|place| Counted::ALL.map(|what| SetId::Counted(place, what).to_string()));
    sets.chain([SetId::CountedNodeIps.to_string()]).collect()
}

/// A table without what counts.
fn stripped(mut table: Table) -> Table {
    let sets = ours();
    table.sets.retain(|name, _| !sets.contains(name));
    table.chains.retain(|name, _| !name.starts_with("count-"));
    table
}

fn counts(table: &Table) -> bool {
    table.sets.iter().any(|(name, set)| set.kind.counts() || ours().contains(name))
        || table.chains.keys().any(|name| name.starts_with("count-"))
}

fn planner() -> Planner {
    Planner::new(kubeweir_plan::Options::for_node(NODE))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn off_there_is_nothing_of_it_and_on_nothing_else_differs(
        numbers in proptest::collection::vec(any::<u64>(), 0..40),
    ) {
        let (mut world, mut planner) = (World::default(), planner());
        for number in numbers {
            world.happen(Event::drawn(number));
        }
        let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
        for options in MODES {
            let off = compile::tables(planner.plan(), options.counting(false));
            prop_assert!(!off.iter().any(counts));
            let on = compile::tables(planner.plan(), options.counting(true));
            prop_assert!(on.iter().all(counts));
            prop_assert_eq!(text::script(&on.map(stripped)), text::script(&off));
        }
    }

    /// Step by step and from nothing, elements that count are the same, and a restart leaves them alone.
    #[test]
    fn what_counts_follows_the_frontends(numbers in proptest::collection::vec(any::<u64>(), 1..40)) {
        for options in MODES.map(|options| options.counting(true)) {
            let (mut world, mut planner) = (World::default(), planner());
            let mut mode = Mode::new(Simulated::default(), options);
            for number in &numbers {
                let changed = world.happen(Event::drawn(*number));
                let update = planner.update(&world.snapshot, &world.facts, &changed);
                let difference = mode.difference(planner.plan(), &update.services, update.node);
                let claims = difference.claims.clone();
                mode.apply(difference).unwrap();
                mode.claim(&claims).unwrap();
            }
            let desired = compile::tables(planner.plan(), options);
            for (family, desired) in Family::ALL.into_iter().zip(desired) {
                let table = mode.kernel().table(family, options.table()).unwrap();
                for name in ours() {
                    prop_assert_eq!(&table.sets[&name], &desired.sets[&name], "{}", name);
                }
            }
            let mut restarted = Mode::new(mode.kernel().clone(), options);
            restarted.observe().unwrap();
            let difference = restarted.difference(planner.plan(), &BTreeSet::new(), true);
            prop_assert_eq!(difference.operations(), 0);
        }
    }
}
