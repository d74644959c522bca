//! Wiring: the source, the host, the loop on a thread of its own, and the servers.

use std::convert::Infallible;
use std::future::Future;
use std::ops::ControlFlow;
use std::sync::{Arc, mpsc as blocking};
use std::thread;
use std::time::{Instant, SystemTime};

use anyhow::{Context, anyhow};
use kubeweir_netfilter::Client;
use kubeweir_nftables::Mode as Nftables;
use kubeweir_plan::FlowCheck;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinError;
use tracing::{info, warn};

use crate::Event;
use crate::conntrack;
use crate::core::Core;
use crate::counters;
use crate::health::Health;
use crate::healthports::{self, ledger::Difference};
use crate::host;
use crate::http::{BindError, Pages};
use crate::init;
use crate::ipvs;
use crate::leftovers::Takeover;
use crate::metrics::{Checks, Component, Metrics};
use crate::mode::Mode;
use crate::oom;
use crate::pace::Pace;
use crate::publisher::{Publisher, not_started};
use crate::recorder::Recorder;
use crate::reload::Reloader;
use crate::settings::{ProxyMode, Settings, Source};
use crate::source;
use crate::sysctl::{self, Unset};

/// Events that may wait for the loop before sources are held back.
const QUEUE: usize = 4096;
/// Events folded at most before the loop looks at the clock again.
const FOLD: usize = 16_384;

/// Runs the daemon until `stop` resolves or something fails that cannot be retried. What is programmed stays.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    run_reloading(settings, None, stop).await
}

/// The same, while somebody follows the configuration file.
pub async fn run_reloading(
    settings: Settings,
    reloader: Option<Reloader>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    if settings.init_only {
        return init::run(&settings);
    }
    let mut unset = sysctl::conntrack::go_on(sysctl::conntrack::start(&settings.conntrack));
    match settings.mode {
        ProxyMode::Nftables => run_with(nftables(&settings)?, unset, settings, reloader, stop).await,
        ProxyMode::Ipvs => {
            let (mode, also) = ipvs::start::mode(&settings)?;
            unset.extend(also);
            run_with(mode, unset, settings, reloader, stop).await
        }
    }
}

async fn run_with<M: Mode + Send + 'static>(
    mode: M,
    unset: Vec<Unset>,
    settings: Settings,
    reloader: Option<Reloader>,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    tokio::spawn(oom::adjust(settings.oom_score_adj));
    for advice in &settings.advice {
        warn!(advice);
    }
    let (replace_shown, shown) = watch::channel(Arc::clone(&settings.shown));
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry, settings.mode);
    registry.register_collector(Box::new(Component::new(shown.clone())));
    let gauges = healthports::Gauges::new(&mut registry);
    let (recorder, notices) = match settings.source {
        Source::Api { .. } => {
            let (recorder, notices) = Recorder::new(metrics.clone());
            (recorder, Some(notices))
        }
        Source::Manifests(_) => (Recorder::silent(metrics.clone()), None),
    };
    let (events, queue) = mpsc::channel(QUEUE);
    let counters = counters::start(&settings)?;
    let core = Core::new(settings.plan.clone(), mode, pace(&settings), SystemTime::now());
    let core = core.followed_by(counters.clone());
    let (health, published) =
        watch::channel(Health { last_sync: None, standing: core.standing(), patience: settings.sync_period });
    let health_ports = healthports::start(published.clone(), recorder.clone(), gauges);
    let pages = Pages {
        health: published,
        registry: Arc::new(registry),
        metrics: metrics.clone(),
        mode: settings.mode,
        counters,
        events: events.clone(),
        shown,
        checks: Checks::default(),
    };
    let healthz = pages.clone().serve_health(settings.healthz, settings.bind_hard_fail);
    let metricsz = pages.serve_metrics(settings.metrics, settings.bind_hard_fail);
    // On tasks of their own, before anything else: they answer while nothing is known, and whatever else is slow.
    let (mut healthz, mut metricsz) = (tokio::spawn(healthz), tokio::spawn(metricsz));
    let checker = conntrack::start(metrics.clone(), events.clone())?;
    let requests = metrics.requests();
    let teller = Publisher::new(metrics, health, recorder.clone());
    teller.starts();
    let mut ended = start_loop(core, queue, checker, teller, Takeover::of(&settings), health_ports)?;
    let source = source::start(&settings, events.clone(), notices, requests)?;
    tokio::spawn(host::wiring::watch(events.clone(), unset));
    tokio::spawn(host::watch(events.clone()));
    if let Some(reloader) = reloader {
        reloader.start(events.clone(), replace_shown);
    }
    info!(node = %settings.plan.node_name, mode = %settings.mode, "running");
    let outcome = tokio::select! {
        () = stop => Ok(()),
        failed = &mut healthz => no_return(failed, &recorder, "FailedToStartProxierHealthcheck").await,
        failed = &mut metricsz => no_return(failed, &recorder, "FailedToStartMetricServer").await,
        _ = &mut ended => return Err(anyhow!("the loop ended")),
        failed = source => failed.unwrap_or_else(|_| Err(anyhow!("the source ended"))),
    };
    // The loop must not outlive the runtime whose clock it waits by.
    if events.send(Event::Stop).await.is_ok() {
        let _ = ended.await;
    }
    outcome
}

/// Servers end only by failing, which is said under the reason that kube-proxy has for it.
async fn no_return(
    ended: Result<Result<Infallible, BindError>, JoinError>,
    recorder: &Recorder,
    reason: &'static str,
) -> anyhow::Result<()> {
    match ended? {
        Ok(never) => match never {},
        Err(error) => {
            recorder.tell_last(not_started(reason, error.to_string())).await;
            Err(error.into())
        }
    }
}

fn nftables(settings: &Settings) -> anyhow::Result<Nftables<Client>> {
    Ok(Nftables::new(init::nftables()?, settings.nftables()))
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
    takeover: Takeover,
    health_ports: mpsc::UnboundedSender<Difference>,
) -> anyhow::Result<oneshot::Receiver<()>> {
    let (end, ended) = oneshot::channel();
    let runtime = Handle::current();
    let work = move || {
        runtime.block_on(drive(core, queue, checker, publisher, takeover, health_ports));
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
    mut takeover: Takeover,
    health_ports: mpsc::UnboundedSender<Difference>,
) {
    loop {
        let now = Instant::now();
        let due =
            [core.due(now), core.tend_due(now), core.check_due(now), takeover.due(now), core.glance_due(now)];
        let received = match due.into_iter().flatten().min() {
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
        if due.is_some_and(|due| due <= Instant::now()) {
            // A pass that hangs must be seen by those who ask for health.
            publisher.stand(core.standing());
            if let Some(report) = core.sync(Instant::now) {
                publisher.report(&report);
                takeover.passed(&report);
                if report.outcome.is_ok() && health_ports.send(report.health_ports).is_err() {
                    return; // its task is gone, and so will the process be
                }
            }
        }
        publisher.cleaned(takeover.act(Instant::now()));
        if let Some(report) = core.tend(Instant::now) {
            publisher.tended(&report);
        }
        publisher.glanced(&core.glance(Instant::now()));
        if let Some(check) = core.take_check(Instant::now())
            && checker.send(check).is_err()
        {
            return; // its thread is gone, and so will the process be
        }
        if let Some(news) = core.host_news() {
            publisher.tell(&news);
        }
        publisher.stand(core.standing());
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
        if let Event::Settings(settings) = &event {
            publisher.patience(settings.sync_period);
        }
        asks_for_sync |= !matches!(event, Event::Wiring(_));
        publisher.seen(core.take(event, Instant::now()));
    }
    if asks_for_sync {
        publisher.queued(SystemTime::now());
    }
    ControlFlow::Continue(())
}
