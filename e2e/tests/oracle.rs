//! Every row of every packet table on paper: what the plans of the nodes say must come of it, and what their tables do in the
//! simulated kernel. Steps follow each other as they do in the daemon: only what changed is planned and committed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Instant;

use clap::Parser;
use kubeweir_cluster::{Store, manifests};
use kubeweir_daemon::cli::Cli;
use kubeweir_daemon::settings::{ProxyMode, Settings};
use kubeweir_e2e::proxy::{all_flags, filled_in};
use kubeweir_e2e::scenario::{self, Row};
use kubeweir_e2e::topology::{Network, Topology};
use kubeweir_e2e::walk::{Fate, Judge, Place, Plans, Source, World};
use kubeweir_ipvs::kernel::Observed;
use kubeweir_netfilter::sim::Simulated;
use kubeweir_netfilter::sim::packet;
use kubeweir_netlink::ipvs::Identity;
use kubeweir_plan::{Changed, Facts, Plan, Planner, Update, lint::lint, oracle::Packet};
use tempfile::TempDir;

/// A node's proxy without a process: the daemon's own parts, in its order.
struct Proxy {
    name: String,
    facts: Facts,
    store: Store,
    planner: Planner,
    mode: Programmer,
}

/// A mode on a simulated kernel.
enum Programmer {
    Nftables(kubeweir_nftables::Mode<Simulated>),
    Ipvs(Box<kubeweir_ipvs::Mode<Simulated, kubeweir_ipvs::sim::Simulated>>),
}

impl Programmer {
    fn new(settings: &Settings) -> Programmer {
        match settings.mode {
            ProxyMode::Nftables => {
                let mut mode = kubeweir_nftables::Mode::new(Simulated::default(), settings.nftables());
                mode.observe().unwrap();
                Programmer::Nftables(mode)
            }
            ProxyMode::Ipvs => {
                let kernel = kubeweir_ipvs::sim::Simulated::default();
                let (settings, schedulers) = settings.servers();
                let mut mode = kubeweir_ipvs::Mode::new(Simulated::default(), kernel, settings, schedulers);
                mode.observe().unwrap();
                Programmer::Ipvs(Box::new(mode))
            }
        }
    }

    fn program(&mut self, plan: &Plan, update: &Update) {
        match self {
            Programmer::Nftables(mode) => {
                let difference = mode.difference(plan, &update.services, update.node);
                mode.apply(difference).unwrap();
            }
            Programmer::Ipvs(mode) => {
                let difference = mode.difference(plan, &update.services, update.node, Instant::now());
                mode.apply(difference).unwrap();
            }
        }
    }

    /// What it has programmed, for packets: tables, and virtual servers with the addresses taken on for them.
    fn kernel(&mut self) -> (Simulated, Observed) {
        match self {
            Programmer::Nftables(mode) => (mode.kernel().clone(), Observed::default()),
            Programmer::Ipvs(mode) => (mode.tables().kernel().clone(), mode.kernel().state.clone()),
        }
    }
}

impl Proxy {
    /// The scenario's flags take the way that they take in the daemon.
    fn new(mode: &str, node: &Place, flags: &[String]) -> Proxy {
        let directory = TempDir::with_prefix("kubeweir-oracle-").unwrap();
        let fill_in = |flag: &String| filled_in(flag, directory.path(), mode, Path::new("none"));
        let flags: Vec<String> = flags.iter().map(fill_in).collect();
        let words = ["kubeweir".to_owned()].into_iter().chain(all_flags(mode, &node.name, &flags));
        let settings = Settings::from_flags(&Cli::try_parse_from(words).unwrap().flags).unwrap();
        let mode = Programmer::new(&settings);
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
        self.mode.program(self.planner.plan(), &update);
    }
}

/// What all nodes have programmed as a judge, with each node's own addresses.
struct Kernels(BTreeMap<String, (Simulated, Observed, BTreeSet<IpAddr>)>);

impl Judge for Kernels {
    fn judge(&self, node: &str, packet: &Packet) -> Fate {
        let (kernel, servers, own) = &self.0[node];
        let bound = |address: IpAddr| servers.bound.contains(&address);
        // A node talks to an address that it has taken on from that address.
        let from_bound = packet.interface.is_none() && bound(packet.destination.ip());
        let sent = packet::Packet {
            source: if from_bound { packet.destination.ip() } else { packet.source },
            source_port: 40_000,
            destination: packet.destination.ip(),
            destination_port: packet.destination.port(),
            protocol: packet.protocol.number(),
            interface: packet.interface.clone(),
        };
        let is_local = |address: IpAddr| address.is_loopback() || own.contains(&address) || bound(address);
        let fates = if servers.servers.is_empty() {
            kernel.send(&sent, &is_local)
        } else {
            let real = |protocol, address, port| {
                let server = servers.servers.get(&Identity::Address { protocol, address, port })?;
                let wanted = server.real.values().filter(|real| real.weight > 0);
                Some(wanted.map(|real| (real.address, real.port)).collect())
            };
            kernel.send_to_servers(&sent, &is_local, &real)
        };
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
fn walk_through(mode: &str, mut each: impl FnMut(&World, &[Row], &mut [Proxy])) {
    for directory in scenario::all() {
        let scenario = scenario::load_for(mode, &directory);
        let worlds: Vec<World> =
            scenario.on_paper().into_iter().map(|network| World::new(network, &scenario.addresses)).collect();
        let Some(world) = worlds.first() else { continue };
        let mut proxies: Vec<Proxy> =
            world.nodes().map(|node| Proxy::new(mode, node, &scenario.flags)).collect();
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
    walk_through("nftables", |world, rows, proxies| {
        let plan = |proxy: &Proxy| (proxy.name.clone(), proxy.planner.plan().clone());
        let plans = Plans(proxies.iter().map(plan).collect());
        failures.extend(plans.0.values().flat_map(lint));
        failures.extend(check(world, rows, &plans));
    });
    assert_none(&failures);
}

fn check_programmed(mode: &str) {
    let mut failures = Vec::new();
    walk_through(mode, |world, rows, proxies| {
        let programmed = |proxy: &mut Proxy| {
            let (tables, servers) = proxy.mode.kernel();
            (proxy.name.clone(), (tables, servers, proxy.facts.addresses.clone()))
        };
        failures.extend(check(world, rows, &Kernels(proxies.iter_mut().map(programmed).collect())));
    });
    assert_none(&failures);
}

#[test]
fn every_row_is_what_the_simulated_tables_do() {
    check_programmed("nftables");
}

#[test]
fn every_row_is_what_simulated_virtual_servers_do() {
    check_programmed("ipvs");
}

#[test]
fn few_rows_differ_in_ipvs_mode_and_each_has_a_reason() {
    let differs = scenario::differs::all();
    assert!(differs.len() < 10, "{} rows", differs.len());
    for row in differs {
        assert!(row.reason.len() > 20, "{}: no reason", row.row.place);
    }
}

#[test]
fn the_walk_knows_the_cluster_that_is_built() {
    let (world, topology) = (World::new(Network::Routed, &[]), Topology::build(Network::Routed));
    let built: Vec<_> = topology.members().iter().map(|member| (&member.name, member.addresses)).collect();
    let known: Vec<_> =
        world.members().iter().map(|place| (&place.name, [place.addresses[0], place.addresses[1]])).collect();
    assert_eq!(known, built);
}
