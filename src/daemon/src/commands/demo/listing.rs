//! What the kernel holds for the demo's Service, as other programs and as we list it.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};
use kubeweir_ipvs::DEVICE;
use kubeweir_ipvs::kernel::Kernel as _;
use kubeweir_netfilter::{Client, Family, Kernel};
use kubeweir_nftables::names::TABLE;
use kubeweir_playground::Namespace;

use crate::settings::ProxyMode;

/// Sets of the table that tell most.
const SETS: [(&str, &str); 2] = [("set", "services-3"), ("map", "endpoints")];

/// What another program lists: `nft` or `ipvsadm`.
pub(super) fn witness(node: &Namespace, mode: ProxyMode, program: &Path) -> anyhow::Result<()> {
    match mode {
        ProxyMode::Nftables => {
            SETS.iter().try_for_each(|(kind, name)| run(node, program, &["list", kind, "ip", TABLE, name]))
        }
        ProxyMode::Ipvs => run(node, program, &["-l", "-n"]),
    }
}

fn run(node: &Namespace, program: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new(program);
    command.args(arguments);
    let status = node.start(&mut command)?.wait().context("the witness did not end")?;
    if !status.success() {
        bail!("{} {}: {status}", program.display(), arguments.join(" "));
    }
    Ok(())
}

/// What we list ourselves.
pub(super) fn own(node: &Namespace, mode: ProxyMode) -> anyhow::Result<()> {
    let text = match mode {
        ProxyMode::Nftables => node.run(sets)?,
        ProxyMode::Ipvs => node.run(servers)?,
    };
    print!("{}", text?);
    Ok(())
}

fn sets() -> anyhow::Result<String> {
    let mut observed = Client::open()?.observe(&[(Family::Ip, TABLE)])?;
    let table = observed.tables.pop().flatten().context("the table is not there")?;
    let mut lines = Vec::new();
    for (_, name) in SETS {
        let set = table.sets.get(name).with_context(|| format!("no set {name}"))?;
        lines.push(format!("  {name}\n"));
        lines.extend(set.element_lines().map(|line| format!("    {line}\n")));
    }
    Ok(lines.concat())
}

fn servers() -> anyhow::Result<String> {
    let observed = kubeweir_ipvs::Client::open()?.observe()?;
    let mut lines = Vec::new();
    for (identity, server) in &observed.servers {
        lines.push(format!("  {identity} {}\n", server.scheduling));
        lines.extend(server.real.values().map(|real| format!("    {real}\n")));
    }
    lines.extend(observed.bound.iter().map(|address| format!("  {address} on {DEVICE}\n")));
    Ok(lines.concat())
}
