//! Test binaries that are run in guests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

/// A test binary and how it is run in a guest.
#[derive(Clone, Copy, Debug)]
pub struct Suite {
    /// What it is called.
    pub name: &'static str,
    /// The directory of its crate in the workspace.
    pub room: &'static str,
    /// The name of the binary, a file or directory of the crate's `tests`.
    pub binary: &'static str,
    /// What the names of its tests end with; others are left out.
    pub ending: &'static str,
    /// Which of its tests, as for those that are ignored on the host.
    pub choice: Choice,
    /// How often it is run.
    pub often: Often,
    /// Variables that it needs.
    pub environment: &'static [(&'static str, &'static str)],
}

/// Which tests of a binary run in a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Those that the host runs too.
    Shared,
    /// Those that are ignored on the host.
    Guests,
    /// Both.
    All,
}

impl Choice {
    /// What asks a test program for them.
    pub fn flag(self) -> Option<&'static str> {
        match self {
            Choice::Shared => None,
            Choice::Guests => Some("--ignored"),
            Choice::All => Some("--include-ignored"),
        }
    }
}

/// How often a suite is run. One that is asked for by its name is run wholly, on each kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Often {
    /// Each time, on each kernel: tests of what kernels are asked for, and how they answer.
    OnEach,
    /// Each time, each of its tests on one kernel: tests of what comes of it.
    DealtOut,
    /// When asked for.
    IfAsked,
}

/// What has tests be about IPVS mode.
const IPVS: &[(&str, &str)] = &[("KUBEWEIR_E2E_MODE", "ipvs")];

/// All of them. The packet tables are run over one way of wiring pods each time, and over all of them if asked for.
pub const SUITES: &[Suite] = &[
    Suite { name: "netlink", room: "modes/netlink", choice: Choice::Guests, ..Suite::of("ipvs") },
    Suite { choice: Choice::Guests, ..Suite::of("ipvs_guest") },
    Suite { choice: Choice::Guests, ..Suite::of("ipvs_switch") },
    Suite { choice: Choice::All, ..Suite::dealt_out("leftovers") },
    Suite::of("ipvs_lacking"),
    Suite { choice: Choice::Guests, ..Suite::dealt_out("deploy") },
    Suite::of("programs"),
    Suite::of("confined"),
    Suite::dealt_out("node"),
    Suite { ending: "::routed", ..Suite::dealt_out("packets") },
    Suite { name: "everywhere", often: Often::IfAsked, ..Suite::of("packets") },
    Suite {
        name: "nftables",
        ending: "::routed",
        often: Often::IfAsked,
        environment: &[],
        ..Suite::of("packets")
    },
];

impl Suite {
    /// All tests of a binary that the host runs too, in IPVS mode, each time.
    const fn of(binary: &'static str) -> Suite {
        Suite {
            name: binary,
            room: "e2e",
            binary,
            ending: "",
            choice: Choice::Shared,
            often: Often::OnEach,
            environment: IPVS,
        }
    }

    /// The same, each on one kernel.
    const fn dealt_out(binary: &'static str) -> Suite {
        Suite { often: Often::DealtOut, ..Suite::of(binary) }
    }
}

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
    let binaries: BTreeSet<&str> = suites.iter().map(|suite| suite.binary).collect();
    cargo.args(binaries.into_iter().flat_map(|binary| ["--test", binary]));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    crate::forget_outer_cargo(&mut cargo);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::piped()).output()?;
    if !output.status.success() {
        bail!("cargo cannot build the suites:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let programs = programs(&String::from_utf8(output.stdout)?);
    let binary = |&suite: &Suite| {
        let program = programs.get(&(manifest(suite.room), suite.binary.to_owned()));
        let program =
            program.with_context(|| format!("cargo built no {} of {}", suite.binary, suite.room))?;
        Ok(Binary { suite, program: program.clone(), tests: tests(suite, program)? })
    };
    suites.iter().map(binary).collect()
}

/// The manifest of a crate, by its directory in the workspace.
fn manifest(room: &str) -> String {
    let workspace = env!("CARGO_MANIFEST_DIR").trim_end_matches("e2e");
    format!("{workspace}{room}/Cargo.toml")
}

/// Programs by their crate's manifest and their name, from what cargo says: crates have tests of the same names.
fn programs(messages: &str) -> BTreeMap<(String, String), PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let program = |message: Value| {
        let text = |value: &Value| Some(value.as_str()?.to_owned());
        let of = (text(&message["manifest_path"])?, text(&message["target"]["name"])?);
        Some((of, PathBuf::from(message["executable"].as_str()?)))
    };
    messages.filter_map(program).collect()
}

fn tests(suite: Suite, program: &PathBuf) -> anyhow::Result<Vec<String>> {
    let mut command = Command::new(program);
    command.args(["--list", "--format=terse"]);
    command.args(suite.choice.flag());
    let output = command.output()?;
    let text = String::from_utf8(output.stdout)?;
    let names: Vec<String> =
        text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    let names: Vec<String> = names.into_iter().filter(|name| name.ends_with(suite.ending)).collect();
    if names.is_empty() {
        bail!("{} has no tests for a guest", suite.name);
    }
    Ok(names)
}
