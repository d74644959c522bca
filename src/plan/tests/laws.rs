//! Laws of the planner, on random clusters and random orders of events.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use kubeweir_plan::endpoints::{Here, candidates};
use kubeweir_plan::fixtures::{Event, NODE, World};
use kubeweir_plan::options::{DetectLocal, NodePortOption};
use kubeweir_plan::{Changed, Options, Planner, Target, lint::lint};
use proptest::prelude::*;

fn options(kind: u8) -> Options {
    let mut options = Options::for_node(NODE);
    let pods = ["10.244.0.0/16", "fd00:244::/48"].map(|text| text.parse().unwrap());
    options.detect_local = match kind % 4 {
        0 => DetectLocal::ClusterCidr(pods.to_vec()),
        1 => DetectLocal::NodeCidr,
        2 => DetectLocal::BridgeInterface("cni0".into()),
        _ => DetectLocal::ClusterCidr(Vec::new()),
    };
    options.node_port_addresses = match kind / 4 % 3 {
        0 => NodePortOption::Primary,
        1 => NodePortOption::All,
        _ => NodePortOption::Within(vec!["10.96.250.0/24".parse().unwrap()]),
    };
    options.masquerade_all = kind > 200;
    options.schedulers = if kind.is_multiple_of(2) { &["rr", "lc"] } else { &[] };
    options.weights = kind.is_multiple_of(3);
    options
}

fn everything(world: &World, options: &Options) -> Planner {
    let mut planner = Planner::new(options.clone());
    let _ = planner.update(&world.snapshot, &world.facts, &Changed::default());
    planner
}

proptest! {
    #[test]
    fn step_by_step_and_all_at_once_end_in_the_same_plan(
        numbers in proptest::collection::vec(any::<u64>(), 1..60),
        kind in any::<u8>(),
    ) {
        let options = options(kind);
        let mut world = World::default();
        let mut planner = Planner::new(options.clone());
        for number in numbers {
            let changed = world.happen(Event::drawn(number));
            let before = planner.plan().clone();
            let update = planner.update(&world.snapshot, &world.facts, &changed);
            let after = planner.plan();
            for (name, plan) in &after.services {
                let kept = before.services.get(name).is_some_and(|old| Arc::ptr_eq(old, plan));
                prop_assert_eq!(kept, !update.services.contains(name), "{}", name);
            }
            prop_assert_eq!(lint(after), Vec::<String>::new());
        }
        let fresh = everything(&world, &options);
        prop_assert_eq!(planner.plan(), fresh.plan());
        prop_assert_eq!(planner.unserved(), fresh.unserved());
    }

    #[test]
    fn planning_again_changes_nothing(numbers in proptest::collection::vec(any::<u64>(), 1..40)) {
        let mut world = World::default();
        let mut all = Changed::default();
        for number in numbers {
            all.merge(world.happen(Event::drawn(number)));
        }
        let mut planner = everything(&world, &options(0));
        let update = planner.update(&world.snapshot, &world.facts, &all);
        prop_assert!(update.services.is_empty() && !update.node);
    }

    #[test]
    fn every_endpoint_is_in_a_pool_or_among_the_others(
        numbers in proptest::collection::vec(any::<u64>(), 1..40),
        kind in any::<u8>(),
    ) {
        let options = options(kind);
        let mut world = World::default();
        for number in numbers {
            let _ = world.happen(Event::drawn(number));
        }
        let zone = world.snapshot.node().and_then(|node| node.zone.clone());
        let here = Here { node: NODE.into(), zone };
        for (name, service) in &everything(&world, &options).plan().services {
            for port in &service.ports {
                let slices = world.snapshot.slices_of(name);
                let all = candidates(slices, port.family, &port.key.port, port.key.protocol, &here);
                let all: Vec<SocketAddr> = all.iter().map(|candidate| candidate.socket).collect();
                let pooled = port.pools().into_iter().flat_map(|pool| pool.targets.iter().map(Target::socket));
                let known: BTreeSet<SocketAddr> = pooled.chain(port.others.iter().copied()).collect();
                prop_assert_eq!(known.into_iter().collect::<Vec<_>>(), all, "{}", &port.key);
            }
        }
    }
}
