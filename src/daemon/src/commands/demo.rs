//! `demo`: a small cluster of network namespaces in which real connections are balanced; in a guest where the kernel lacks
//! the mode's facility.

mod elsewhere;
mod listing;
mod report;
mod stage;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kubeweir_playground::Answer;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Demo;
use report::Spread;
use stage::{PODS, Stage};

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: u8 = 130;
/// How long anything may take before the demo counts as failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a connection may take before the Service is there.
const BRIEFLY: Duration = Duration::from_millis(20);
/// A share may differ from an even one by this factor: with a few hundred connections chance stays far below it.
const TOLERANCE: f64 = 1.5;

/// Runs the demo. Exit code 0 means that every connection went where it should.
pub fn demo(options: &Demo) -> anyhow::Result<ExitCode> {
    // Kept here, so that it is removed also when the demo is interrupted. Namespaces need nobody to remove them.
    let manifests =
        TempDir::with_prefix("kubeweir-demo-").context("cannot make a directory for manifests")?;
    let (options, directory) = (options.clone(), manifests.path().to_owned());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || end.send(perform(&options, &directory)));
        tokio::select! {
            result = ended => result.context("the demo ended without a result")?,
            _ = term.recv() => Ok(ExitCode::from(INTERRUPTED)),
            _ = interrupt.recv() => Ok(ExitCode::from(INTERRUPTED)),
        }
    })
}

fn perform(options: &Demo, directory: &std::path::Path) -> anyhow::Result<ExitCode> {
    if elsewhere::is_needed(options.proxy_mode)? {
        return elsewhere::demo(options);
    }
    let stage = Stage::build(directory, options.proxy_mode)?;
    report::introduce();
    stage.write_endpoints(&PODS)?;
    let started = Instant::now();
    let _daemon = stage.start_daemon()?;
    first_answer(&stage)?;
    println!("\nfirst connection served {:.0} ms after the daemon was started", millis(started.elapsed()));
    balance(&stage, options.connections)?;
    show(&stage, options)?;
    remove_one(&stage, options.connections)?;
    println!("\nall went right");
    Ok(ExitCode::SUCCESS)
}

/// Connects until the Service answers.
fn first_answer(stage: &Stage) -> anyhow::Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Answer::Reached { .. } = stage.connect_within(BRIEFLY)? {
            return Ok(());
        }
    }
    bail!("the Service did not answer within {PATIENCE:?}")
}

fn balance(stage: &Stage, connections: u32) -> anyhow::Result<()> {
    let spread = count(stage, connections)?;
    println!("\n{connections} connections from the client to {}:", stage::SERVICE);
    print!("{spread}");
    spread.check(&PODS, TOLERANCE)
}

fn count(stage: &Stage, connections: u32) -> anyhow::Result<Spread> {
    let mut spread = Spread::default();
    for _ in 0..connections {
        match stage.connect()? {
            Answer::Reached { server, .. } => spread.add(&server),
            other => bail!("a connection failed: {other}"),
        }
    }
    Ok(spread)
}

fn show(stage: &Stage, options: &Demo) -> anyhow::Result<()> {
    println!("\nwhat the kernel holds for it:");
    match &options.witness {
        Some(program) => stage.witness(program),
        None => stage.own_listing(),
    }
}

/// Takes one endpoint away while connections go on, and finds out how long some still reached it.
fn remove_one(stage: &Stage, connections: u32) -> anyhow::Result<()> {
    let (gone, staying) = PODS.split_last().context("no pods")?;
    let changed = Instant::now();
    stage.write_endpoints(staying)?;
    let mut last = Duration::ZERO;
    let mut without = 0;
    while without < connections {
        if changed.elapsed() > PATIENCE {
            bail!("connections still reach {} after {PATIENCE:?}", gone.name);
        }
        match stage.connect()? {
            Answer::Reached { server, .. } if server == gone.name => (last, without) = (changed.elapsed(), 0),
            Answer::Reached { .. } => without += 1,
            other => bail!("a connection failed: {other}"),
        }
    }
    println!(
        "\n{} removed: the last connection to it came {:.1} ms after the change was written;",
        gone.name,
        millis(last)
    );
    println!("the {connections} connections since then:");
    let spread = count(stage, connections)?;
    print!("{spread}");
    spread.check(staying, TOLERANCE)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
