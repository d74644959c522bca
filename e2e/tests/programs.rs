//! The daemon runs no other program, in whichever mode: `strace` is witness.

use std::fs;
use std::time::Instant;

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::{Ours, PATIENCE, Proxy};
use kubeweir_playground::Namespace;
use nix::sys::signal::Signal;
use tempfile::TempDir;

const OPERATIONS: &str = "kubeweir_sync_operations_total";

#[test]
fn nothing_is_executed_from_the_start_to_the_end() {
    let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
    generate::write(manifests.path(), 20, 3);
    let trace = manifests.path().join("trace");
    let flags = vec![format!("--manifests={}", manifests.path().display())];
    let proxy = Proxy::traced(&node, &Ours { flags, name: "node-1" }, "execve,execveat", &trace);
    proxy.wait_for_log("synced everything");
    proxy.wait_for_log("judged the host");
    let before = proxy.count(OPERATIONS);
    generate::write_slice(manifests.path(), [0, 1, 7]);
    proxy.wait("a change", |proxy| (proxy.count(OPERATIONS) > before).then_some(()));
    generate::write(manifests.path(), 21, 3);
    proxy.wait("another Service", |proxy| (proxy.count("kubeweir_services") == 21).then_some(()));
    let told = || fs::read_to_string(&trace).unwrap();
    let (code, log) = proxy.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{log}");
    // The tracer is nobody's child here: its last words may come after the end.
    let begun = Instant::now();
    while !told().contains("+++ exited with 0 +++") {
        assert!(begun.elapsed() < PATIENCE, "{}", told());
        std::thread::yield_now();
    }
    let told = told();
    let executed: Vec<&str> = told.lines().filter(|line| line.contains("execve")).collect();
    assert_eq!(executed.len(), 1, "{told}");
    assert!(executed[0].contains("/kubeweir\", [\""), "{told}");
}
