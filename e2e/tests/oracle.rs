//! Every row of every packet table on paper: what the plans of the nodes say must come of it, and what their tables do in the
//! simulated kernel. Steps follow each other as they do in the daemon: only what changed is planned and committed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use clap::Parser;
use kubeweir_cluster::{Store, manifests};
use kubeweir_daemon::cli::Cli;
use kubeweir_daemon::settings::Settings;
use kubeweir_e2e::proxy::common_flags;
use kubeweir_e2e::scenario::{self, Row};
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_e2e::walk::{Fate, Judge, Place, Plans, Source, World};
use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::sim::packet;
use kubeweir_nftables::Mode;
use kubeweir_plan::{Changed, Facts, Planner, lint::lint, oracle::Packet};
use tempfile::TempDir;

/// A node's proxy without a process: the daemon's own parts, in its order.
struct Proxy {
    name: String,
    facts: Facts,
    store: Store,
    planner: Planner,
    mode: Mode<Simulated>,
}

impl Proxy {
    /// The scenario's flags take the way that they take in the daemon.
    fn new(node: &Place, flags: &[String]) -> Proxy {
        let words =
            ["kubeweir".to_owned()].into_iter().chain(common_flags(&node.name)).chain(flags.iter().cloned());
        let settings = Settings::from_flags(&Cli::try_parse_from(words).unwrap().flags).unwrap();
        let mut mode = Mode::new(Simulated::default(), settings.nftables());
        mode.observe().unwrap();
        Proxy {
            name: node.name.clone(),
            facts: Facts { addresses: node.addresses.iter().copied().collect() },
            store: Store::default(),
            planner: Planner::new(settings.plan),
            mode,
        }
    }

    /// All objects there are now, as a watch that lists them anew.
    fn take(&mut self, objects: &Path) {
        let mut changed = Changed::default();
        for event in manifests::load(objects, &self.name).unwrap() {
            changed.merge(self.store.apply(event));
        }
        let update = self.planner.update(self.store.snapshot().unwrap(), &self.facts, &changed);
        let difference = self.mode.difference(self.planner.plan(), &update.services, update.node);
        self.mode.apply(difference).unwrap();
    }
}

/// The tables of all nodes as a judge, with each node's own addresses.
struct Tables(BTreeMap<String, (Simulated, BTreeSet<IpAddr>)>);

impl Judge for Tables {
    fn judge(&self, node: &str, packet: &Packet) -> Fate {
        let (kernel, own) = &self.0[node];
        let sent = packet::Packet {
            source: packet.source,
            source_port: 40_000,
            destination: packet.destination.ip(),
            destination_port: packet.destination.port(),
            protocol: packet.protocol.number(),
            interface: packet.interface.clone(),
        };
        let fates = kernel.send(&sent, &|address| address.is_loopback() || own.contains(&address));
        together(&fates).unwrap_or_else(|| panic!("{node} makes of {packet:?}: {fates:?}"))
    }
}

/// What several possible fates are for a row: all translated, or all the same.
fn together(fates: &BTreeSet<packet::Fate>) -> Option<Fate> {
    let one = match fates.first()? {
        packet::Fate::Dropped => Fate::Dropped,
        packet::Fate::Rejected => Fate::Rejected,
        packet::Fate::Passed { translated: false, masqueraded: false, .. } => Fate::Untouched,
        packet::Fate::Passed { .. } => {
            let targets: Vec<(SocketAddr, Source)> = fates.iter().map(target).collect::<Option<_>>()?;
            let forwarded: BTreeMap<_, _> = targets.iter().copied().collect();
            return (forwarded.len() == targets.len()).then_some(Fate::Forwarded(forwarded));
        }
    };
    (fates.len() == 1).then_some(one)
}

fn target(fate: &packet::Fate) -> Option<(SocketAddr, Source)> {
    match fate {
        packet::Fate::Passed { destination, translated: true, masqueraded, .. } => {
            let source = if *masqueraded { Source::Replaced } else { Source::Kept };
            Some(((*destination).into(), source))
        }
        _ => None,
    }
}

/// Calls `each` after every step of every scenario that can be walked on paper.
fn walk_through(mut each: impl FnMut(&World, &[Row], &mut [Proxy])) {
    for directory in scenario::all() {
        let scenario = scenario::load(&directory);
        let worlds: Vec<World> =
            scenario.on_paper().into_iter().map(|network| World::new(network, &scenario.addresses)).collect();
        let Some(world) = worlds.first() else { continue };
        let mut proxies: Vec<Proxy> = world.nodes().map(|node| Proxy::new(node, &scenario.flags)).collect();
        for (number, step) in scenario.steps.iter().enumerate() {
            let objects = TempDir::with_prefix("kubeweir-oracle-").unwrap();
            std::fs::write(objects.path().join("all.yaml"), &step.objects).unwrap();
            for proxy in &mut proxies {
                proxy.take(objects.path());
            }
            for world in &worlds {
                each(world, &scenario.steps[number].rows, &mut proxies);
            }
        }
    }
}

fn check(world: &World, rows: &[Row], judge: &dyn Judge) -> Vec<String> {
    rows.iter().filter_map(|row| world.check(judge, row).err()).collect()
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_row_is_what_the_oracle_says() {
    let mut failures = Vec::new();
    walk_through(|world, rows, proxies| {
        let plan = |proxy: &Proxy| (proxy.name.clone(), proxy.planner.plan().clone());
        let plans = Plans(proxies.iter().map(plan).collect());
        failures.extend(plans.0.values().flat_map(lint));
        failures.extend(check(world, rows, &plans));
    });
    assert_none(&failures);
}

#[test]
fn every_row_is_what_the_simulated_tables_do() {
    let mut failures = Vec::new();
    walk_through(|world, rows, proxies| {
        let tables = |proxy: &mut Proxy| {
            let tables = (proxy.mode.kernel().clone(), proxy.facts.addresses.clone());
            (proxy.name.clone(), tables)
        };
        let tables = Tables(proxies.iter_mut().map(tables).collect());
        failures.extend(check(world, rows, &tables));
    });
    assert_none(&failures);
}

#[test]
fn the_walk_knows_the_cluster_that_is_built() {
    let (world, topology) = (World::new(Network::Routed, &[]), Topology::build(Network::Routed));
    let built: Vec<_> = topology.members().iter().map(|member| (&member.name, member.addresses)).collect();
    let known: Vec<_> =
        world.members().iter().map(|place| (&place.name, [place.addresses[0], place.addresses[1]])).collect();
    assert_eq!(known, built);
}
