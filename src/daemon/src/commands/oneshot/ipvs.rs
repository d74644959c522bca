//! `render` and `diff` in IPVS mode.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Instant;

use anyhow::Context;
use kubeweir_ipvs::steps::Step;
use kubeweir_ipvs::{Client, Mode, render};
use kubeweir_netfilter::{diff as table_diff, text};
use kubeweir_nftables::compile;
use kubeweir_plan::Plan;

use crate::settings::Settings;

/// Three parts: what `ipvsadm -R` restores, the addresses on the device, and what `nft -f -` loads.
pub(super) fn script(plan: &Plan, settings: &Settings) -> String {
    let (options, schedulers) = settings.servers();
    let (servers, bound) = render::servers(plan, &schedulers, &options);
    let mut text = format!("--- ipvs\n{}--- addresses\n", render::text(&servers));
    for address in bound {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{}", ipnet::IpNet::from(address));
    }
    text + "--- nftables\n" + &text::script(&compile::tables(plan, options.tables))
}

/// What would have to be done, one step a line.
pub(super) fn difference(plan: &Plan, settings: &Settings) -> anyhow::Result<String> {
    let tables = kubeweir_netfilter::Client::open().context("nf_tables cannot be reached")?;
    let servers = Client::open().context("IPVS cannot be reached")?;
    let (options, schedulers) = settings.servers();
    let mut mode = Mode::new(tables, servers, options, schedulers);
    mode.observe()?;
    Ok(describe(&mode.difference(plan, &BTreeSet::new(), true, Instant::now())))
}

fn describe(difference: &kubeweir_ipvs::Difference) -> String {
    let line = |step: &Step| format!("{}\n", step.change);
    let steps = &difference.servers.steps;
    let before = steps.before.iter().map(line);
    let tables = difference.tables.commits.iter().map(table_diff::describe);
    let claims = difference.tables.claims.iter().map(table_diff::describe);
    before.chain(tables).chain(steps.after.iter().map(line)).chain(claims).collect()
}
