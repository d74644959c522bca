//! The `kubeweir` program.

#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::ExitCode;

use clap::Parser;
use kubeweir_daemon::cli::{self, Cleanup, Cli, Command, Flags};
use kubeweir_daemon::configuration::Logging;
use kubeweir_daemon::reload::Reloader;
use kubeweir_daemon::settings::Loaded;
use kubeweir_daemon::{commands, logging, run};
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(cli::normalized(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // As kube-proxy; help is no error.
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    let outcome = match &cli.command {
        None => without_command(&cli),
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

fn without_command(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(asked) = &cli.version
        && let Some(code) = commands::version(asked)?
    {
        return Ok(code);
    }
    match (&cli.write_config_to, cli.cleanup.unwrap_or(Cleanup::Nothing)) {
        (Some(path), _) => quietly(&cli.flags, || commands::write_config(&cli.flags, path)),
        (None, Cleanup::Nothing) => daemon(&cli.flags),
        (None, which) => quietly(&cli.flags, || commands::cleanup(&cli.flags, which == Cleanup::Ours)),
    }
}

/// Runs a command that says on standard error what is wrong with its input, and nothing else.
fn quietly(flags: &Flags, command: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let mut logging = Logging::default();
    logging.overlay(&flags.logging)?;
    logging::start(&logging, LevelFilter::WARN);
    command()
}

fn daemon(flags: &Flags) -> anyhow::Result<ExitCode> {
    let loaded = Loaded::from_flags(flags)?;
    let settings = loaded.settings.clone();
    let logs = logging::start(&settings.logging, LevelFilter::INFO);
    if settings.logging.verbosity > 0 {
        for (flag, value) in &settings.shown.flags {
            info!("FLAG: --{flag}={value:?}");
        }
    }
    let reloader = Reloader::new(flags, logs, loaded);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(async {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Box::pin(run::run_reloading(settings, Some(reloader), stop)).await
    });
    // Threads that wait for files or the kernel must not hold the process up.
    runtime.shutdown_background();
    ended.map(|()| ExitCode::SUCCESS)
}
