//! Wiring: sources, the host, the loop on a thread of its own, and the servers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, mpsc as blocking};
use std::thread;
use std::time::{Instant, SystemTime};

use anyhow::{Context, anyhow};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kubeweir_cluster::{api, manifests};
use kubeweir_netfilter::Client;
use kubeweir_nftables::Mode as Nftables;
use kubeweir_plan::FlowCheck;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use crate::Event;
use crate::conntrack;
use crate::core::{Core, SyncReport};
use crate::health::Health;
use crate::host;
use crate::http::Pages;
use crate::metrics::Metrics;
use crate::mode::Mode;
use crate::pace::Pace;
use crate::prerequisites::News;
use crate::settings::{Settings, Source};

/// Events that may wait for the loop before sources are held back.
const QUEUE: usize = 4096;
/// Events folded at most before the loop looks at the clock again.
const FOLD: usize = 16_384;
/// Names that a log line shows at most.
const FEW: usize = 4;

/// Runs the daemon until `stop` resolves or something fails that cannot be retried. What is programmed stays.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    for advice in &settings.advice {
        warn!(advice);
    }
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let (events, queue) = mpsc::channel(QUEUE);
    let core = Core::new(settings.plan.clone(), nftables(&settings)?, pace(&settings), SystemTime::now());
    let (health, published) =
        watch::channel(Health { last_sync: None, standing: core.standing(), patience: settings.sync_period });
    let pages = Pages {
        health: published,
        registry: Arc::new(registry),
        metrics: metrics.clone(),
        events: events.clone(),
    };
    let healthz = pages.clone().serve_health(settings.healthz, settings.bind_hard_fail);
    let metricsz = pages.serve_metrics(settings.metrics, settings.bind_hard_fail);
    let checker = conntrack::start(metrics.clone(), events.clone())?;
    let mut ended = start_loop(core, queue, checker, Publisher { metrics, health })?;
    let source = start_source(&settings, events.clone())?;
    tokio::spawn(host::wiring::watch(events.clone()));
    tokio::spawn(host::watch(events.clone()));
    info!(node = %settings.plan.node_name, "running");
    let outcome = tokio::select! {
        () = stop => Ok(()),
        failed = healthz => no_return(failed).map_err(Into::into),
        failed = metricsz => no_return(failed).map_err(Into::into),
        _ = &mut ended => return Err(anyhow!("the loop ended")),
        failed = source => failed.unwrap_or_else(|_| Err(anyhow!("the source ended"))),
    };
    // The loop must not outlive the runtime whose clock it waits by.
    if events.send(Event::Stop).await.is_ok() {
        let _ = ended.await;
    }
    outcome
}

fn no_return<E>(result: Result<Infallible, E>) -> Result<(), E> {
    result.map(|never| match never {})
}

fn nftables(settings: &Settings) -> anyhow::Result<Nftables<Client>> {
    let client = Client::open().context("nf_tables cannot be reached")?;
    Ok(Nftables::new(client, settings.nftables))
}

fn pace(settings: &Settings) -> Pace {
    Pace::new(settings.min_sync_period, settings.sync_period)
}

/// The loop blocks while the kernel commits, so it has a thread of its own.
fn start_loop<M: Mode + Send + 'static>(
    core: Core<M>,
    queue: mpsc::Receiver<Event>,
    checker: blocking::Sender<FlowCheck>,
    publisher: Publisher,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        runtime.block_on(drive(core, queue, checker, publisher));
        drop(end);
    };
    thread::Builder::new().name("sync".to_owned()).spawn(work).context("cannot start the loop")?;
    Ok(ended)
}

async fn drive<M: Mode>(
    mut core: Core<M>,
    mut queue: mpsc::Receiver<Event>,
    checker: blocking::Sender<FlowCheck>,
    publisher: Publisher,
) {
    loop {
        let now = Instant::now();
        let received = match core.due(now).into_iter().chain(core.check_due(now)).min() {
            Some(due) => tokio::time::timeout_at(due.into(), queue.recv()).await.ok(),
            None => Some(queue.recv().await),
        };
        let ends = match received {
            Some(None) => true,
            Some(Some(event)) => fold(&mut core, event, &mut queue, &publisher).is_break(),
            None => false,
        };
        if ends {
            return;
        }
        let due = core.due(Instant::now());
        if due.is_some_and(|due| due <= Instant::now())
            && let Some(report) = core.sync(Instant::now)
        {
            publisher.report(&report);
        }
        if let Some(check) = core.take_check(Instant::now())
            && checker.send(check).is_err()
        {
            return; // its thread is gone, and so will the process be
        }
        if let Some(news) = core.host_news() {
            publisher.tell(&news);
        }
        publisher.stand(&core);
    }
}

/// Folds an event and those that wait behind it. Breaks off when the process ends.
fn fold<M: Mode>(
    core: &mut Core<M>,
    event: Event,
    queue: &mut mpsc::Receiver<Event>,
    publisher: &Publisher,
) -> ControlFlow<()> {
    let more = std::iter::from_fn(|| queue.try_recv().ok()).take(FOLD);
    let mut asks_for_sync = false;
    for event in std::iter::once(event).chain(more) {
        if matches!(event, Event::Stop) {
            return ControlFlow::Break(());
        }
        asks_for_sync |= !matches!(event, Event::Wiring(_));
        publisher.metrics.seen(core.take(event, Instant::now()));
    }
    if asks_for_sync {
        publisher.metrics.queued(SystemTime::now());
    }
    ControlFlow::Continue(())
}

/// Tells the world.
struct Publisher {
    metrics: Metrics,
    health: watch::Sender<Health>,
}

impl Publisher {
    fn report(&self, report: &SyncReport) {
        let now = SystemTime::now();
        self.metrics.synced(report, now);
        let took = report.took.as_secs_f64();
        for (name, finding) in &report.findings {
            warn!(%name, "{finding}");
        }
        match &report.outcome {
            Ok(applied) => {
                self.health.send_modify(|health| health.last_sync = Some(now));
                let (operations, batches, services) = (applied.operations, applied.batches, report.services);
                if report.whole {
                    info!(operations, batches, services, took, "synced everything");
                } else {
                    debug!(operations, batches, services, took, "synced what changed");
                }
            }
            Err(failure) => {
                error!(reason = format!("{:#}", Chain(failure)), took, "sync failed, will be retried");
            }
        }
    }

    fn tell(&self, news: &News) {
        self.metrics.host_judged(news.open);
        for (finding, interfaces) in &news.found {
            let (name, interfaces) = (finding.name(), few(interfaces));
            if finding.is_grave() {
                error!(finding = name, interfaces, "{finding}");
            } else {
                warn!(finding = name, interfaces, "{finding}");
            }
        }
        for finding in &news.mended {
            info!(finding = finding.name(), "mended: {finding}");
        }
        debug!(findings = news.open, "judged the host");
    }

    fn stand<M: Mode>(&self, core: &Core<M>) {
        let standing = core.standing();
        self.metrics.stand(&standing);
        self.health.send_modify(|health| health.standing = standing);
    }
}

/// Some of many names; `None` for none.
fn few(names: &BTreeSet<String>) -> Option<String> {
    let shown: Vec<&str> = names.iter().take(FEW).map(String::as_str).collect();
    let rest = names.len().saturating_sub(FEW);
    let rest = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    (!shown.is_empty()).then(|| shown.join(" ") + &rest)
}

/// An error with its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Starts the source. Resolves only when it fails for good.
fn start_source(
    settings: &Settings,
    events: mpsc::Sender<Event>,
) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
    let (end, ended) = oneshot::channel();
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        while let Some(event) = receiver.recv().await {
            if events.send(Event::Cluster(event)).await.is_err() {
                return;
            }
        }
    });
    let node = Arc::clone(&settings.plan.node_name);
    match settings.source.clone() {
        Source::Manifests(directory) => {
            let work = move || {
                let followed = manifests::follow(&directory, &node, &sender).map_err(anyhow::Error::from);
                drop(end.send(followed));
            };
            thread::Builder::new()
                .name("manifests".to_owned())
                .spawn(work)
                .context("cannot start a thread")?;
        }
        Source::Api { kubeconfig, master } => {
            let options = api::Options { node, all_nodes: settings.all_nodes };
            tokio::spawn(async move {
                match client(kubeconfig.as_deref(), master.as_deref()).await {
                    Ok(client) => Box::pin(api::watch(client, options, sender)).await,
                    Err(error) => drop(end.send(Err(error))),
                }
            });
        }
    }
    Ok(ended)
}

async fn client(kubeconfig: Option<&Path>, master: Option<&str>) -> anyhow::Result<kube::Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file =
                Kubeconfig::read_from(path).with_context(|| format!("cannot read {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("{} is not usable", path.display()))?
        }
        None if master.is_some() => kube::Config::new(hyper::Uri::default()),
        None => kube::Config::incluster().context("no kubeconfig given, and not running in a pod")?,
    };
    if let Some(master) = master {
        config.cluster_url =
            master.parse().with_context(|| format!("--master {master} is not an address"))?;
    }
    kube::Client::try_from(config).context("cannot set up the connection to the API server")
}
