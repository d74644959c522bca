//! The `kubeweir` program.

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::ExitCode;

use clap::Parser;
use kubeweir_daemon::cli::{Cli, Command, Flags};
use kubeweir_daemon::settings::Settings;
use kubeweir_daemon::{commands, logging, run};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match &cli.command {
        None if cli.cleanup == Some(true) => quietly(&cli.flags, || commands::cleanup(&cli.flags)),
        None => daemon(&cli.flags),
        Some(Command::Render(flags)) => quietly(flags, || commands::render(flags)),
        Some(Command::Diff(flags)) => quietly(flags, || commands::diff(flags)),
        Some(Command::Explain(options)) => quietly(&options.flags, || commands::explain(options)),
        Some(Command::List(flags)) => quietly(flags, || commands::list(flags)),
        Some(Command::Top(options)) => quietly(&options.flags, || commands::top(options)),
        Some(Command::Demo(options)) => commands::demo(options),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("kubeweir: {error:#}");
        ExitCode::FAILURE
    })
}

/// Runs a command that says on standard error what is wrong with its input, and nothing else.
fn quietly(flags: &Flags, command: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    logging::start(flags, "warn");
    command()
}

fn daemon(flags: &Flags) -> anyhow::Result<ExitCode> {
    logging::start(flags, "info");
    let settings = Settings::from_flags(flags)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        run::run(settings, stop).await
    });
    // Threads that wait for files or the kernel must not hold the process up.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}
