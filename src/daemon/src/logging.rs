//! Structured logs on standard error.

use tracing_subscriber::EnvFilter;

use crate::cli::Flags;

/// From this `-v` on every commit is logged.
const DEBUG_VERBOSITY: u8 = 4;
const TRACE_VERBOSITY: u8 = 6;

/// Sets logging up for the whole process, at this level unless `-v` asks for more. `RUST_LOG` overrides both.
pub fn start(flags: &Flags, level: &str) {
    let verbosity = flags.verbosity.unwrap_or(0);
    let level = match verbosity {
        TRACE_VERBOSITY.. => "trace",
        DEBUG_VERBOSITY.. => "debug",
        _ => level,
    };
    let default = format!("warn,kubeweir={level},kubeweir_daemon={level},kubeweir_cluster={level}");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call, as from tests, changes nothing.
    let _ = match flags.logging_format.as_deref() {
        Some("json") => logs.json().try_init(),
        _ => logs.with_ansi(false).try_init(),
    };
}
