//! Tests under other kernels: which kernels, which tests, and what becomes of them.
//!
//! A *suite* is tests of a binary that are run in a guest. They keep their names; before them stands the kernel's and the
//! suite's: `guest-6.1::ipvs_guest::a_virtual_server_is_listed`.

mod report;
mod suite;

use std::path::PathBuf;

use kubeweir_playground::{GuestError, Kernel};

pub use report::{Report, Verdict};
pub use suite::{Binary, Choice, Often, SUITES, Suite, build};

/// The kernels that `kernels.sh` knows: name, Debian suite, when.
const KERNELS: &str = include_str!("../guest/kernels.txt");

/// Names of the kernels that every run of tests uses.
pub fn every_kernel() -> Vec<&'static str> {
    named(|when| when == "always")
}

/// Names of the kernels that are used if asked for.
pub fn kernels_if_asked() -> Vec<&'static str> {
    named(|when| when != "always")
}

fn named(which: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let lines = KERNELS.lines().filter(|line| !line.starts_with('#'));
    let words = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    words.filter(|words| words.len() == 3 && which(words[2])).map(|words| words[0]).collect()
}

/// A kernel that was fetched into `guest` beside the directory of this program or above.
pub fn kernel(name: &str) -> Result<Kernel, GuestError> {
    let program = std::env::current_exe().unwrap_or_default();
    let above = program.ancestors().map(|directory| directory.join("guest"));
    let found = above.clone().find(|directory| directory.join(name).is_dir());
    Kernel::find(&found.unwrap_or_else(|| PathBuf::from("target/guest")), name)
}
