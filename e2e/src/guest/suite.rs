//! Test binaries that are run in guests.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// A test binary and how it is run in a guest.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// The name of the binary, a file of `e2e/tests`.
    pub binary: &'static str,
    /// Whether its tests are those that are ignored on the host.
    pub ignored: bool,
    /// Whether it is run each time; if not, only when its name is asked for.
    pub always: bool,
    /// Variables that it needs.
    pub environment: &'static [(&'static str, &'static str)],
}

/// What has tests be about IPVS mode.
const IPVS: &[(&str, &str)] = &[("KUBEWEIR_E2E_MODE", "ipvs")];

/// All of them.
pub const SUITES: &[Suite] = &[
    Suite { binary: "ipvs_guest", ignored: true, always: true, environment: IPVS },
    Suite { binary: "ipvs_lacking", ignored: false, always: true, environment: IPVS },
    Suite { binary: "programs", ignored: false, always: true, environment: IPVS },
    Suite { binary: "packets", ignored: false, always: true, environment: IPVS },
];

/// A suite that was built.
#[derive(Clone, Debug)]
pub struct Binary {
    /// Which.
    pub suite: Suite,
    /// The program.
    pub program: PathBuf,
    /// Names of its tests.
    pub tests: Vec<String>,
}

/// Has cargo build these suites, as the run of tests that this is part of has done already, and asks each for its tests.
/// Cargo alone knows which of the programs of one name is the one of this source.
pub fn build(suites: &[Suite]) -> anyhow::Result<Vec<Binary>> {
    let mut cargo = Command::new(env!("CARGO"));
    // The same choice of crates as that of `make test`: another would be built with other features, and anew.
    cargo.args(["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    cargo.args(suites.iter().flat_map(|suite| ["--test", suite.binary]));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    // What the outer cargo tells of the crate under test would have build scripts run again.
    let outer = std::env::vars().map(|(name, _)| name);
    for name in outer.filter(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
        cargo.env_remove(name);
    }
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!("cargo cannot build the suites:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let programs = programs(&String::from_utf8(output.stdout)?);
    let binary = |&suite: &Suite| {
        let program =
            programs.get(suite.binary).with_context(|| format!("cargo built no {}", suite.binary))?;
        Ok(Binary { suite, program: program.clone(), tests: tests(suite, program)? })
    };
    suites.iter().map(binary).collect()
}

/// Programs by name, from what cargo says.
fn programs(messages: &str) -> BTreeMap<String, PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = |message: Value| {
        // Other crates have tests of the same names.
        if message["manifest_path"] != concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml") {
            return None;
        }
        let name = message["target"]["name"].as_str()?.to_owned();
        Some((name, PathBuf::from(message["executable"].as_str()?)))
    };
    messages.filter_map(program).collect()
}

fn tests(suite: Suite, program: &PathBuf) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(program);
    command.args(["--list", "--format=terse"]);
    if suite.ignored {
        command.arg("--ignored");
    }
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    let names: Vec<String> =
        text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    if names.is_empty() {
        bail!("{} has no tests for a guest", suite.binary);
    }
    Ok(names)
}
