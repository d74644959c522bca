//! Another kernel with this host's files: a shell under it, `kubeweir-vm 6.12`, or one command, `kubeweir-vm 6.12 ip link`.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context;
use kubeweir_e2e::guest;
use kubeweir_playground::{Guest, Kernel, Shell};

/// How long a command may say nothing.
const PATIENCE: Duration = Duration::from_secs(3600);

fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let name = words.next().context("usage: kubeweir-vm KERNEL [COMMAND...]")?;
    let kernel = guest::kernel(&name)?;
    let directory: PathBuf = std::env::current_dir()?;
    if let Some(program) = words.next() {
        return run(&kernel, Command::new(program).args(words).current_dir(directory));
    }
    let terminal = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    Guest::shell(&kernel, &Shell { directory, terminal })?;
    Ok(ExitCode::SUCCESS)
}

fn run(kernel: &Kernel, command: &Command) -> anyhow::Result<ExitCode> {
    let mut guest = Guest::boot(kernel)?;
    let code = guest.run(command, PATIENCE, |line| println!("{line}"))?;
    guest.power_off()?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
