//! Every scenario with real packets: real proxies on two nodes, fed by the API server stand-in.

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::scenario::{self, Scenario};
use kubeweir_e2e::settle::check_when_settled;
use kubeweir_e2e::topology::{Member, Network, Topology};

/// Runs all steps twice: once with proxies that follow the changes, then each step with proxies that were killed before it and
/// start anew, over what the step before has left in the kernel.
///
/// Over routed networks, which all scenarios that are not about links run over, proxies are confined as in our pods: every table
/// holds with `CAP_NET_ADMIN` alone and nothing to write to.
fn run(scenario: &Scenario, network: Network) {
    let (topology, api) = (build(scenario, network), StandIn::start());
    let start = || -> Vec<Proxy> {
        let node = |node: &Member| {
            let kubeconfig = api.listen_in(&node.namespace);
            let start = if network == Network::Routed { Proxy::under_test_in_pod } else { Proxy::under_test };
            start(&node.namespace, &node.name, &kubeconfig, &scenario.flags)
        };
        topology.nodes().map(node).collect()
    };
    let hold = |when: &str, failures: Vec<String>| {
        assert!(failures.is_empty(), "{}, {when}:\n{}", network.name(), failures.join("\n"));
    };
    let check = |proxies: &[Proxy], step| check_when_settled(&topology, proxies, &scenario.flags, step);
    let mut proxies = Vec::new();
    for (number, step) in (1..).zip(&scenario.steps) {
        api.replace_all(&step.objects);
        if number == 1 {
            proxies = start();
        }
        hold(&format!("step {number}"), check(&proxies, step));
    }
    drop(proxies);
    let last = &scenario.steps[scenario.steps.len() - 1];
    hold("without a proxy", scenario::check(&topology, &last.rows));
    for (number, step) in (1..).zip(&scenario.steps) {
        api.replace_all(&step.objects);
        hold(&format!("step {number} from a fresh start"), check(&start(), step));
    }
}

/// The cluster as the scenario wants it.
fn build(scenario: &Scenario, network: Network) -> Topology {
    let topology = Topology::build(network);
    for node in topology.nodes() {
        for (sysctl, value) in &scenario.sysctls {
            node.namespace.sysctl(sysctl, value).unwrap();
        }
    }
    topology.add_addresses(&scenario.addresses);
    topology
}

fn load(name: &str) -> Scenario {
    let directory = scenario::all().into_iter().find(|path| path.ends_with(name));
    scenario::load(&directory.unwrap_or_else(|| unreachable!("no scenario {name}")))
}

/// A test for each scenario and each network that it is to hold over.
macro_rules! scenarios {
    ($([$($name:ident)*] over $networks:tt;)*) => {
        $($(scenario!($name over $networks);)*)*

        const RUN: &[(&str, &[&str])] = &[$($((stringify!($name), &names!($networks)),)*)*];
    };
}

macro_rules! scenario {
    ($name:ident over [$($network:ident)*]) => {
        mod $name {
            $(#[test]
            fn $network() {
                super::run(&super::load(stringify!($name)), super::Network::named(stringify!($network)));
            })*
        }
    };
}

macro_rules! names {
    ([$($name:ident)*]) => {
        [$(stringify!($name)),*]
    };
}

scenarios! {
    [affinity basics changes endpoints externals hairpin leaving masquerade masquerade_all masquerade_all_no_detector masquerade_no_detector nodeports nodeports_everywhere nodeports_one_family nodeports_within overlaps policies ranges ranges_one_family rivals service_cidrs slices topology]
        over [routed bridge vxlan];
    [pods_by_bridge] over [bridge bridge_own_filter vxlan];
    [strict_return_paths] over [routed bridge];
    [detect_bridge detect_node detect_prefix] over [routed];
    [no_forwarding] over [routed];
    [bridge_no_filter] over [bridge_no_filter];
    [bridge_no_hairpin] over [bridge_no_hairpin];
    [strict_return_paths_tunnel] over [vxlan];
}

#[test]
fn every_scenario_is_run_over_every_network_it_names() {
    for path in scenario::all() {
        let listed = RUN.iter().find(|(name, _)| path.ends_with(name));
        let (_, listed) = listed.unwrap_or_else(|| panic!("{} is not run", path.display()));
        let named: Vec<&str> = scenario::load(&path).networks.iter().map(|network| network.name()).collect();
        assert_eq!(*listed, named, "{}", path.display());
    }
}
