//! `render` and `diff`: plan once from manifests, without being a daemon.

pub(crate) mod ipvs;

use std::io::Write;
use std::process::ExitCode;

use anyhow::{Context, bail};
use kubeweir_cluster::{Store, manifests};
use kubeweir_netfilter::{Client, Family, Kernel, diff as table_diff, text};
use kubeweir_nftables::{compile, names::TABLE};
use kubeweir_plan::{Changed, Facts, Plan, Planner};

use crate::cli::Flags;
use crate::host;
use crate::settings::{ProxyMode, Settings, Source};

/// Prints a script for `nft -f` that puts our tables in place.
pub fn render(flags: &Flags) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_flags(flags)?;
    let plan = plan(&settings, None)?;
    let text = match settings.mode {
        ProxyMode::Nftables => nftables_script(&plan, settings.nftables()),
        ProxyMode::Ipvs => ipvs::script(&plan, &settings),
    };
    write!(std::io::stdout().lock(), "{text}").context("cannot write")?;
    Ok(ExitCode::SUCCESS)
}

/// Prints what would have to be done, one operation a line.
pub fn diff(flags: &Flags) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_flags(flags)?;
    let plan = plan(&settings, Some(host_facts()?))?;
    let text = match settings.mode {
        ProxyMode::Nftables => nftables_difference(&plan, settings.nftables())?,
        ProxyMode::Ipvs => ipvs::difference(&plan, &settings)?,
    };
    write!(std::io::stdout().lock(), "{text}").context("cannot write")?;
    Ok(if text.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn nftables_script(plan: &Plan, options: kubeweir_nftables::Options) -> String {
    let tables = compile::tables(plan, options);
    if tables[Family::Ip6 as usize].sets.values().any(|set| set.kind.is_dynamic()) {
        eprintln!(
            "kubeweir: nft reads the rules of IPv6 session affinity from version 1.1 on; 1.0 aborts on them"
        );
    }
    text::script(&tables)
}

fn nftables_difference(plan: &Plan, options: kubeweir_nftables::Options) -> anyhow::Result<String> {
    let mut client = Client::open().context("nf_tables cannot be reached")?;
    let observed = client.observe(&Family::ALL.map(|family| (family, TABLE)))?;
    let observed: kubeweir_nftables::programmed::Observed =
        observed.tables.try_into().unwrap_or([const { None }; 2]);
    let difference = kubeweir_nftables::programmed::from_observed(&observed, plan, options);
    Ok(difference.commits.iter().map(table_diff::describe).collect())
}

fn host_facts() -> anyhow::Result<Facts> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(host::read()).context("cannot read the host's addresses")
}

/// Without facts the Node's own addresses stand for the host's, so that the result does not depend on where it is made.
pub(super) fn plan(settings: &Settings, facts: Option<Facts>) -> anyhow::Result<Plan> {
    planned(settings, facts).map(|(plan, _)| plan)
}

/// The plan, and the facts it was made from.
pub(super) fn planned(settings: &Settings, facts: Option<Facts>) -> anyhow::Result<(Plan, Facts)> {
    let Source::Manifests(directory) = &settings.source else { bail!("--manifests is required") };
    let mut store = Store::default();
    for event in manifests::load(directory, &settings.plan.node_name)? {
        store.apply(event);
    }
    let snapshot = store.snapshot().context("the manifests are not complete")?;
    let node_addresses = snapshot.node().into_iter().flat_map(|node| node.addresses.iter().copied());
    let facts = facts.unwrap_or_else(|| Facts { addresses: node_addresses.collect() });
    let mut planner = Planner::new(settings.plan.clone());
    let _ = planner.update(snapshot, &facts, &Changed::default());
    for finding in &planner.plan().node.findings {
        eprintln!("kubeweir: node {}: {finding}", settings.plan.node_name);
    }
    for (name, service) in &planner.plan().services {
        for finding in &service.findings {
            eprintln!("kubeweir: {name}: {finding}");
        }
    }
    Ok((planner.plan().clone(), facts))
}
