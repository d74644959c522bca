//! `--version` and `--write-config-to`.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::cli::Flags;
use crate::settings::Loaded;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Says which version this is. `None` where the value asks for nothing: `false`, and a version to be told to others, which
/// kube-proxy has for tests.
pub fn version(asked: &str) -> anyhow::Result<Option<ExitCode>> {
    let text = match asked {
        "true" => format!("kubeweir {VERSION}"),
        "raw" => {
            let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
            format!("kubeweir {VERSION} {os}/{arch}, in place of kube-proxy 1.36")
        }
        "false" => return Ok(None),
        version if version.starts_with('v') => return Ok(None),
        other => bail!("--version: {other:?} is not true, false, raw or a version such as v1.36.2"),
    };
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write")?;
    Ok(Some(ExitCode::SUCCESS))
}

/// Writes the configuration in effect, which `--config` takes, and says what there is to say about it. Flags that name a port do
/// not count, as in kube-proxy.
pub fn write_config(flags: &Flags, path: &Path) -> anyhow::Result<ExitCode> {
    let flags = Flags { healthz_port: None, metrics_port: None, ..flags.clone() };
    let loaded = Loaded::from_flags(&flags)?;
    for advice in &loaded.settings.advice {
        eprintln!("kubeweir: {advice}");
    }
    let text = loaded.effective.text()?;
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("kubeweir: wrote the configuration to {}", path.display());
    Ok(ExitCode::SUCCESS)
}
