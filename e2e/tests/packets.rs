//! Every scenario with real packets: real proxies on two nodes, fed by the API server stand-in.

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::scenario::{self, Scenario};
use kubeweir_e2e::settle::check_when_settled;
use kubeweir_e2e::topology::{Member, Network, Topology};

/// Runs all steps, and the last one again after all proxies were killed and started anew.
fn run(scenario: &Scenario, network: Network) {
    let (topology, api) = (Topology::build(network), StandIn::start());
    topology.add_addresses(&scenario.addresses);
    let start = || -> Vec<Proxy> {
        let node = |node: &Member| {
            let kubeconfig = api.listen_in(&node.namespace);
            Proxy::under_test(&node.namespace, &node.name, &kubeconfig, &scenario.flags)
        };
        topology.nodes().map(node).collect()
    };
    let hold = |when: &str, failures: Vec<String>| {
        assert!(failures.is_empty(), "{}, {when}:\n{}", network.name(), failures.join("\n"));
    };
    let mut proxies = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        api.replace_all(&step.objects);
        if number == 0 {
            proxies = start();
        }
        let failures = check_when_settled(&topology, &proxies, &scenario.flags, step);
        hold(&format!("step {}", number + 1), failures);
    }
    drop(proxies);
    let last = &scenario.steps[scenario.steps.len() - 1];
    hold("without a proxy", scenario::check(&topology, &last.rows));
    hold("after a restart", check_when_settled(&topology, &start(), &scenario.flags, last));
}

fn scenario_named(name: &str) {
    let directory = scenario::all().into_iter().find(|path| path.ends_with(name));
    let scenario = scenario::load(&directory.unwrap_or_else(|| unreachable!("no scenario {name}")));
    for network in &scenario.networks {
        run(&scenario, *network);
    }
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

scenarios!(
    affinity,
    basics,
    changes,
    detect_bridge,
    detect_node,
    detect_prefix,
    endpoints,
    externals,
    hairpin,
    leaving,
    masquerade,
    masquerade_all,
    masquerade_all_no_detector,
    masquerade_no_detector,
    nodeports,
    nodeports_everywhere,
    nodeports_one_family,
    nodeports_within,
    policies,
    ranges,
    ranges_one_family,
    rivals,
    service_cidrs,
    slices,
    topology
);
