//! `list`: Services as programmed.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;

use super::explain::ask_daemon;
use super::oneshot::planned;
use crate::cli::Flags;
use crate::settings::{Settings, Source};
use crate::state::{Listed, Row, rows, table};

/// Prints what the running daemon has programmed, or, by manifests, what one would.
pub fn list(flags: &Flags) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_flags(flags)?;
    let rows = match &settings.source {
        Source::Manifests(_) => {
            let (plan, _) = planned(&settings, None)?;
            let listed = plan.services.iter().map(|(name, plan)| Listed {
                name: name.clone(),
                plan: Arc::clone(plan),
                since: None,
            });
            rows(&listed.collect::<Vec<_>>())
        }
        Source::Api { .. } => serde_json::from_str(&ask_daemon(settings.metrics, "/state?list=true")?)
            .context("the daemon's answer makes no sense")?,
    };
    let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
    write!(std::io::stdout().lock(), "{}", table(&Row::HEADER, &cells)).context("cannot write")?;
    Ok(ExitCode::SUCCESS)
}
