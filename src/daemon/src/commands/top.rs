//! `top`: how busy Services are.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::explain::ask_daemon;
use crate::cli::Top;
use crate::counters::Page;
use crate::settings::Settings;
use crate::state::table;

const HEADER: [&str; 6] = ["SERVICE", "CONN/S", "PACKETS/S IN", "OUT", "BYTES/S IN", "OUT"];

/// Prints the rates between two readings of the running daemon's counters: once, or again and again.
pub fn top(options: &Top) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_flags(&options.flags)?;
    let interval = Duration::from_secs(options.interval);
    let mut before = read(settings.metrics)?;
    loop {
        wait(interval);
        let now = read(settings.metrics)?;
        // The daemon reads less often the longer it takes.
        if now.at <= before.at {
            continue;
        }
        let rows: Vec<Vec<String>> = now.rates_since(&before).into_iter().map(cells).collect();
        write!(std::io::stdout().lock(), "{}", table(&HEADER, &rows)).context("cannot write")?;
        if !options.follow {
            return Ok(ExitCode::SUCCESS);
        }
        before = now;
    }
}

#[expect(clippy::disallowed_methods, reason = "a command that waits by the clock, and does nothing besides")]
fn wait(interval: Duration) {
    std::thread::sleep(interval);
}

fn cells((name, rates): (String, [f64; 5])) -> Vec<String> {
    std::iter::once(name).chain(rates.map(|rate| format!("{rate:.1}"))).collect()
}

fn read(metrics: Option<SocketAddr>) -> anyhow::Result<Page> {
    let text = ask_daemon(metrics, "/metrics")?;
    Page::read(&text).context(
        "the daemon does not count: set serviceCounters in its configuration file, or without one start it with --service-counters",
    )
}
