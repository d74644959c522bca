//! `demo`.
use crate::cli::Demo;
use std::process::ExitCode;
/// Demo.
pub fn demo(_options: &Demo) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
