//! Somebody who keeps a table to themselves, ours for example, so that nothing can be programmed.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use kubeweir_playground::Namespace;

use crate::proxy::PATIENCE;

/// Flags with which a change has waited too long soon, but not because this machine is busy.
pub const IMPATIENT: [&str; 2] = ["--iptables-sync-period=1s", "--iptables-min-sync-period=1ms"];

/// A process that owns a table: every commit that touches it fails until it goes, and the table with it.
pub struct Owner(Child);

impl Owner {
    /// Takes the table `ip kubeweir` of a network namespace, and what is in it with it.
    pub fn of_our_table(node: &Namespace) -> Owner {
        Owner::of(node, "kubeweir")
    }

    /// Takes the IPv4 table of this name, whether it is there or not.
    pub fn of(node: &Namespace, table: &str) -> Owner {
        let take = format!(
            "add table ip {table}; delete table ip {table}; add table ip {table} {{ flags owner; }}\n"
        );
        let mut command = Command::new("nft");
        let child = node.start(command.arg("-i").stdin(Stdio::piped()).stdout(Stdio::null())).unwrap();
        let mut owner = Owner(child);
        owner.0.stdin.as_mut().unwrap().write_all(take.as_bytes()).unwrap();
        let begun = std::time::Instant::now();
        while !ruleset(node).contains("flags owner") {
            assert!(owner.0.try_wait().unwrap().is_none(), "nft has ended");
            assert!(begun.elapsed() < PATIENCE, "the table is not taken");
        }
        owner
    }

    /// Gives it up.
    pub fn go(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

/// All tables of a network namespace, as `nft` lists them.
pub fn ruleset(node: &Namespace) -> String {
    let mut command = Command::new("nft");
    let child = node.start(command.args(["list", "ruleset"]).stdout(Stdio::piped())).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}
