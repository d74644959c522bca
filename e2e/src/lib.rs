//! The test bench: clusters of network namespaces, an API server stand-in, proxies under test, and tables of packets with the
//! outcome that they must have.
//!
//! Reading order: [`topology`] (nodes, pods, the world outside), [`api`] (the stand-in), [`proxy`] (what is under test),
//! [`confined`] (the same as a container without privileges), [`container`] (the same from the image, by a container runtime),
//! [`scenario`] (objects and the packets that must come of them), [`settle`] (waiting until they can), [`walk`] (the same
//! packets on paper), [`offload`] (checksums that somebody looks at), [`owner`] (somebody who is in the way), [`guest`] (tests
//! under other kernels), [`volume`] (a ConfigMap that is mounted), [`metrics`] (all of them, as recorded), [`rivals`] (a cluster
//! with something to tell), [`kubectl`] (a witness).
//!
//! `KUBEWEIR_E2E_PROXY` names another proxy's command line to run in place of ours; see [`proxy`].
//! `KUBEWEIR_E2E_KUBECONFIG` names a real API server for the tests in `tests/api.rs`.

#![forbid(unsafe_code)]
#![expect(clippy::missing_panics_doc, reason = "every function of a test bench may end the test")]

pub mod api;
pub mod confined;
pub mod container;
pub mod flows;
pub mod generate;
pub mod guest;
pub mod http;
pub mod kubectl;
pub mod metrics;
pub mod offload;
pub mod owner;
pub mod proxy;
pub mod rivals;
pub mod scenario;
pub mod settle;
pub mod topology;
pub mod volume;
pub mod walk;

/// Has a command forget what the cargo that runs this test tells of the crate under test: another cargo would run build scripts
/// again.
pub fn forget_outer_cargo(command: &mut std::process::Command) {
    let outer = std::env::vars().map(|(name, _)| name);
    for name in outer.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        command.env_remove(name);
    }
}
