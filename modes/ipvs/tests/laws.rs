//! Laws of IPVS mode on random clusters, against the simulated kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kubeweir_ipvs::kernel::{Observed, ObservedServer};
use kubeweir_ipvs::schedulers::{KNOWN, Schedulers};
use kubeweir_ipvs::sim::Simulated;
use kubeweir_ipvs::{Mode, Settings, render};
use kubeweir_netfilter::sim::Simulated as Tables;
use kubeweir_nftables::Options;
use kubeweir_plan::fixtures::{Event, NODE, World};
use kubeweir_plan::options::{DetectLocal, NodePortOption};
use kubeweir_plan::{Changed, Planner};
use proptest::prelude::*;

fn settings() -> Settings {
    Settings {
        tables: Options::beside_servers(0x4000),
        excluded: Vec::new(),
        patience: Duration::from_secs(60),
    }
}

fn mode(tables: Tables, kernel: Simulated) -> Mode<Tables, Simulated> {
    Mode::new(tables, kernel, settings(), Schedulers::default())
}

fn planner(everywhere: bool) -> Planner {
    let mut options = kubeweir_plan::Options::for_node(NODE);
    options.detect_local = DetectLocal::ClusterCidr(vec!["10.244.0.0/16".parse().unwrap()]);
    options.schedulers = KNOWN;
    options.weights = true;
    if everywhere {
        options.node_port_addresses = NodePortOption::All;
    }
    Planner::new(options)
}

/// Brings a kernel from wherever it is to the plan, as a fresh process would. Returns the operations needed.
fn settle(mode: &mut Mode<Tables, Simulated>, planner: &Planner) -> usize {
    mode.forget();
    mode.observe().unwrap();
    let difference = mode.difference(planner.plan(), &BTreeSet::new(), true, Instant::now());
    mode.apply(difference).unwrap().operations
}

/// What a fresh compilation gives.
fn fresh(planner: &Planner) -> Observed {
    let (servers, bound) = render::servers(planner.plan(), &Schedulers::default(), &settings());
    let observed = |server: kubeweir_ipvs::compile::Server| ObservedServer {
        scheduling: server.scheduling,
        real: server.real,
    };
    Observed { servers: servers.into_iter().map(|(id, server)| (id, observed(server))).collect(), bound }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// The incremental path, a fresh compilation and a restart agree at every step.
    #[test]
    fn after_each_step_a_restart_finds_nothing_to_do(
        numbers in proptest::collection::vec(any::<u64>(), 1..40),
        every in 1_usize..5,
        everywhere in any::<bool>(),
    ) {
        let (mut world, mut planner) = (World::default(), planner(everywhere));
        let mut mode = mode(Tables::default(), Simulated::default());
        let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
        settle(&mut mode, &planner);
        for numbers in numbers.chunks(every) {
            let mut changed = Changed::default();
            for number in numbers {
                changed.merge(world.happen(Event::drawn(*number)));
            }
            let update = planner.update(&world.snapshot, &world.facts, &changed);
            let difference = mode.difference(planner.plan(), &update.services, update.node, Instant::now());
            mode.apply(difference).unwrap();
            prop_assert_eq!(&mode.kernel().state, &fresh(&planner));
            let (tables, kernel) = (mode.tables().kernel().clone(), mode.kernel().clone());
            let mut restarted = self::mode(tables, kernel);
            prop_assert_eq!(settle(&mut restarted, &planner), 0);
        }
    }

    /// Where connections stay open, what is wanted is as it should be, and what is not has weight 0 and is remembered.
    #[test]
    fn with_connections_open_only_what_is_wanted_has_weight(
        numbers in proptest::collection::vec(any::<u64>(), 1..40),
    ) {
        let (mut world, mut planner) = (World::default(), planner(false));
        let mut mode = mode(Tables::default(), Simulated { is_busy: true, ..Simulated::default() });
        let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
        settle(&mut mode, &planner);
        for number in numbers {
            let changed = world.happen(Event::drawn(number));
            let update = planner.update(&world.snapshot, &world.facts, &changed);
            let difference = mode.difference(planner.plan(), &update.services, update.node, Instant::now());
            mode.apply(difference).unwrap();
            let fresh = fresh(&planner);
            let mut draining = 0;
            prop_assert!(mode.kernel().state.servers.keys().eq(fresh.servers.keys()));
            for (identity, server) in &mode.kernel().state.servers {
                let wanted = &fresh.servers[identity].real;
                let (is, left): (BTreeMap<_, _>, BTreeMap<_, _>) =
                    server.real.iter().partition(|(at, _)| wanted.contains_key(*at));
                prop_assert!(is.into_iter().eq(wanted));
                prop_assert!(left.values().all(|real| real.weight == 0));
                draining += left.len();
            }
            prop_assert_eq!(draining, mode.draining());
        }
    }

    /// From any state to any other, and then nothing more.
    #[test]
    fn a_difference_leads_from_any_state_to_any_other(
        first in proptest::collection::vec(any::<u64>(), 0..30),
        second in proptest::collection::vec(any::<u64>(), 0..30),
    ) {
        let mut mode = mode(Tables::default(), Simulated::default());
        for numbers in [first, second] {
            let (mut world, mut planner) = (World::default(), planner(true));
            for number in numbers {
                world.happen(Event::drawn(number));
            }
            let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
            settle(&mut mode, &planner);
            prop_assert_eq!(&mode.kernel().state, &fresh(&planner));
            prop_assert_eq!(settle(&mut mode, &planner), 0);
        }
    }
}
