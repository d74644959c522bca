//! Every scenario with real packets: real proxies on two nodes, fed by the API server stand-in.

use std::path::Path;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::scenario;
use kubeweir_e2e::settle::check_when_settled;
use kubeweir_e2e::topology::Topology;

/// Runs all steps, and the last one again after all proxies were killed and started anew.
fn run(directory: &Path) {
    let (topology, api) = (Topology::build(), StandIn::start());
    let start = || -> Vec<Proxy> {
        let node = |node: &kubeweir_e2e::topology::Member| {
            Proxy::under_test(&node.namespace, &node.name, &api.listen_in(&node.namespace))
        };
        topology.nodes().map(node).collect()
    };
    let steps = scenario::load(directory);
    let mut proxies = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        api.replace_all(&step.objects);
        if number == 0 {
            proxies = start();
        }
        let failures = check_when_settled(&topology, &proxies, &step.objects, &step.rows);
        assert!(failures.is_empty(), "step {}:\n{}", number + 1, failures.join("\n"));
    }
    drop(proxies);
    let last = &steps[steps.len() - 1];
    let failures = scenario::check(&topology, &last.rows);
    assert!(failures.is_empty(), "without a proxy:\n{}", failures.join("\n"));
    let proxies = start();
    let failures = check_when_settled(&topology, &proxies, &last.objects, &last.rows);
    assert!(failures.is_empty(), "after a restart:\n{}", failures.join("\n"));
}

fn scenario_named(name: &str) {
    let directory = scenario::all().into_iter().find(|path| path.ends_with(name));
    run(&directory.unwrap_or_else(|| unreachable!("no scenario {name}")));
}

macro_rules! scenarios {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            scenario_named(stringify!($name));
        })*

        #[test]
        fn every_scenario_is_run() {
            let listed = [$(stringify!($name)),*];
            for path in scenario::all() {
                assert!(listed.iter().any(|name| path.ends_with(name)), "{} is not run", path.display());
            }
        }
    };
}

scenarios!(basics, endpoints);
