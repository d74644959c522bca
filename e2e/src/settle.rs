//! Waiting until a proxy has programmed what it was given.
//!
//! For ours that is exact: `kubeweir diff` finds nothing left to do. For others the packets themselves are asked until they
//! are right.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use tempfile::TempDir;

use crate::proxy::{PATIENCE, Proxy, all_flags, filled_in, mode, program};
use crate::scenario::{self, Step};
use crate::topology::{Member, Topology};

/// Waits until the rows hold on a cluster whose nodes run these proxies, or says what does not.
pub fn check_when_settled(
    topology: &Topology,
    proxies: &[Proxy],
    flags: &[String],
    step: &Step,
) -> Vec<String> {
    if Proxy::is_ours() {
        for (node, proxy) in topology.nodes().zip(proxies) {
            wait_until_programmed(node, proxy, flags, &step.objects);
        }
        return scenario::check(topology, &step.rows);
    }
    let begun = Instant::now();
    loop {
        let failures = scenario::check(topology, &step.rows);
        if failures.is_empty() || begun.elapsed() > PATIENCE {
            return failures;
        }
    }
}

/// Waits until the node's kernel has what our proxy should make of these objects.
pub fn wait_until_programmed(node: &Member, proxy: &Proxy, flags: &[String], objects: &str) {
    let manifests = TempDir::with_prefix("kubeweir-settle-").unwrap();
    std::fs::write(manifests.path().join("all.yaml"), objects).unwrap();
    let config = TempDir::with_prefix("kubeweir-settle-").unwrap();
    let fill_in = |flag: &String| filled_in(flag, config.path(), &mode(), Path::new("none"));
    let flags: Vec<String> = flags.iter().map(fill_in).collect();
    proxy.wait("everything programmed", |_| {
        let mut command = Command::new(program());
        command.arg("diff").args(all_flags(&mode(), &node.name, &flags));
        command.arg(format!("--manifests={}", manifests.path().display()));
        let mut child = node.namespace.start(command.stdout(Stdio::null()).stderr(Stdio::null())).unwrap();
        child.wait().unwrap().success().then_some(())
    });
}
