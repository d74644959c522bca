//! `--cleanup`: removes what our modes, and kube-proxy's modes of the same names, have left in the kernel.

use std::fs;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use kubeweir_netfilter::{Client, Family};

use crate::cli::Flags;
use crate::leftovers::{Live, Outcome, Scope, remove};
use crate::settings::Settings;

/// How names of kube-proxy's chains begin.
const CHAINS: &str = "KUBE-";
/// Tables in which kube-proxy has chains where `iptables` writes nftables.
const TABLES: [&str; 2] = ["nat", "filter"];
/// Tables of `iptables` as it was before: they are there as long as a module is loaded, chains of ours in them or not.
const OLDER_TABLES: &str = "/proc/net/ip_tables_names";

/// Removes everything, and says what was removed, what stays and what failed.
pub fn cleanup(flags: &Flags) -> anyhow::Result<ExitCode> {
    let scope = Scope::everything(Settings::excluded(flags)?);
    let outcome = remove(&mut Live::open().context("the kernel cannot be reached")?, &scope);
    let text = describe(&outcome, &chains_of_iptables());
    write!(std::io::stdout().lock(), "{text}").context("cannot write")?;
    for failed in &outcome.failed {
        eprintln!("kubeweir: not removed: {failed}");
    }
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(outcome: &Outcome, chains: &[String]) -> String {
    let removed = outcome.removed.iter().map(|removed| format!("removed {removed}\n"));
    let foreign = outcome.foreign.iter().map(|server| format!("left, not ours: virtual server {server}\n"));
    let chains = chains.iter().map(|chains| format!("left, to be removed with iptables: {chains}\n"));
    let lines: String = removed.chain(foreign).chain(chains).collect();
    if lines.is_empty() && outcome.failed.is_empty() { "nothing to remove\n".to_owned() } else { lines }
}

/// Chains of kube-proxy that only `iptables` can remove. Whoever cannot tell says nothing: it is only advice.
fn chains_of_iptables() -> Vec<String> {
    let mut found = Vec::new();
    if let Ok(mut client) = Client::open() {
        for (family, table) in Family::ALL.into_iter().flat_map(|family| TABLES.map(|table| (family, table)))
        {
            let names = client.chain_names(family, table).unwrap_or_default();
            let count = names.iter().filter(|name| name.starts_with(CHAINS)).count();
            if count > 0 {
                found.push(format!("{count} chains {CHAINS}… in table {family} {table}"));
            }
        }
    }
    let older = fs::read_to_string(OLDER_TABLES).unwrap_or_default();
    if older.lines().any(|table| TABLES.contains(&table)) {
        found.push(format!("chains {CHAINS}… of iptables-legacy, if there are any: it is in use here"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leftovers::Removed;

    #[test]
    fn what_was_removed_and_what_stays_is_said() {
        assert_eq!(describe(&Outcome::default(), &[]), "nothing to remove\n");
        let failed = Outcome { failed: vec!["table".to_owned()], ..Outcome::default() };
        assert_eq!(describe(&failed, &[]), "", "something was there");
        let foreign = kubeweir_netlink::ipvs::Identity::at(6, "192.0.2.1:80".parse().unwrap());
        let outcome = Outcome {
            removed: vec![Removed::Device, Removed::Table(Family::Ip, "kubeweir")],
            foreign: vec![foreign],
            failed: Vec::new(),
        };
        let said = "removed device kube-ipvs0 with its addresses\nremoved table ip kubeweir\n\
                    left, not ours: virtual server TCP 192.0.2.1:80\nleft, to be removed with iptables: chains\n";
        assert_eq!(describe(&outcome, &["chains".to_owned()]), said);
    }
}
