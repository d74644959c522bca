//! A shell under another kernel, with this host's files: `kubeweir-vm 6.12`.

#![forbid(unsafe_code)]

use std::path::PathBuf;

use anyhow::Context;
use kubeweir_e2e::guest;
use kubeweir_playground::{Guest, Shell};

fn main() -> anyhow::Result<()> {
    let name = std::env::args().nth(1).context("usage: kubeweir-vm KERNEL")?;
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let directory: PathBuf = std::env::current_dir()?;
    Ok(Guest::shell(&guest::kernel(&name)?, &Shell { directory, terminal })?)
}
