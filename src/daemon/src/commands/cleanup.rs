//! `--cleanup`: removes what our modes, and kube-proxy's modes of the same names, have left in the kernel.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::Flags;
use crate::leftovers::{Live, Outcome, Scope, advice_on_legacy, remove};
use crate::settings::Settings;

/// Removes everything, or only our tables, and says what was removed, what stays and what failed.
pub fn cleanup(flags: &Flags, only_ours: bool) -> anyhow::Result<ExitCode> {
    let scope = if only_ours { Scope::ours() } else { Scope::everything(Settings::excluded(flags)?) };
    let outcome = remove(&mut Live::open().context("the kernel cannot be reached")?, &scope);
    let legacy = if only_ours { Vec::new() } else { advice_on_legacy() };
    let text = describe(&outcome, &legacy);
    write!(std::io::stdout().lock(), "{text}").context("cannot write")?;
    for failed in &outcome.failed {
        eprintln!("kubeweir: not removed: {failed}");
    }
    Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn describe(outcome: &Outcome, legacy: &[String]) -> String {
    let removed = outcome.removed.iter().map(|removed| format!("removed {removed}\n"));
    let foreign = outcome.foreign.iter().map(|server| format!("left, not ours: virtual server {server}\n"));
    let held = outcome.held.iter().map(|held| format!("left: {held}\n"));
    let legacy = legacy.iter().map(|advice| format!("left by iptables-legacy: {advice}\n"));
    let lines: String = removed.chain(foreign).chain(held).chain(legacy).collect();
    if lines.is_empty() && outcome.failed.is_empty() { "nothing to remove\n".to_owned() } else { lines }
}

#[cfg(test)]
mod tests {
    use kubeweir_netfilter::Family;

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
            held: vec!["chain KUBE-MARK-MASQ".to_owned()],
            failed: Vec::new(),
        };
        let said = "removed device kube-ipvs0 with its addresses\nremoved table ip kubeweir\n\
                    left, not ours: virtual server TCP 192.0.2.1:80\nleft: chain KUBE-MARK-MASQ\n\
                    left by iptables-legacy: chains\n";
        assert_eq!(describe(&outcome, &["chains".to_owned()]), said);
    }
}
