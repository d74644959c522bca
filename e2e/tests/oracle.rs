//! Every row of every packet table on paper: what the plans of the nodes say must come of it.

use std::path::Path;

use clap::Parser;
use kubeweir_cluster::{Store, manifests};
use kubeweir_daemon::cli::Cli;
use kubeweir_daemon::settings::Settings;
use kubeweir_e2e::proxy::common_flags;
use kubeweir_e2e::scenario::{self, Scenario, Step};
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_e2e::walk::{Place, Plans, World};
use kubeweir_plan::{Changed, Facts, Plan, Planner, lint::lint};
use tempfile::TempDir;

/// The settings of a node's proxy, by the way that its flags take.
fn settings(node: &str, flags: &[String]) -> Settings {
    let arguments =
        ["kubeweir".to_owned()].into_iter().chain(common_flags(node)).chain(flags.iter().cloned());
    Settings::from_flags(&Cli::try_parse_from(arguments).unwrap().flags).unwrap()
}

/// What the node's proxy must make of these objects.
fn plan(node: &Place, settings: &Settings, objects: &Path) -> Plan {
    let mut store = Store::default();
    for event in manifests::load(objects, &node.name).unwrap() {
        store.apply(event);
    }
    let facts = Facts { addresses: node.addresses.iter().copied().collect() };
    let mut planner = Planner::new(settings.plan.clone());
    let _ = planner.update(store.snapshot().unwrap(), &facts, &Changed::default());
    planner.plan().clone()
}

fn plans(world: &World, scenario: &Scenario, step: &Step) -> Plans {
    let objects = TempDir::with_prefix("kubeweir-oracle-").unwrap();
    std::fs::write(objects.path().join("all.yaml"), &step.objects).unwrap();
    let of = |node: &Place| plan(node, &settings(&node.name, &scenario.flags), objects.path());
    Plans(world.nodes().map(|node| (node.name.clone(), of(node))).collect())
}

#[test]
fn every_row_is_what_the_oracle_says() {
    let mut failures = Vec::new();
    for directory in scenario::all() {
        let scenario = scenario::load(&directory);
        let world = World::new(&scenario.addresses);
        for (number, step) in (1..).zip(&scenario.steps) {
            let plans = plans(&world, &scenario, step);
            let breaches = plans.0.values().flat_map(lint);
            failures.extend(breaches.map(|breach| format!("{}/{number}: {breach}", directory.display())));
            failures.extend(step.rows.iter().filter_map(|row| world.check(&plans, row).err()));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn the_walk_knows_the_cluster_that_is_built() {
    let (world, topology) = (World::new(&[]), Topology::build(Network::Routed));
    let built: Vec<_> = topology.members().iter().map(|member| (&member.name, member.addresses)).collect();
    let known: Vec<_> =
        world.members().iter().map(|place| (&place.name, [place.addresses[0], place.addresses[1]])).collect();
    assert_eq!(known, built);
}
