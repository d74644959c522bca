//! What came of it all, for metrics, health, logs and Events.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use kubeweir_cluster::notice::{About, Notice, Reach, Severity};
use kubeweir_plan::{Finding, ObjectName};
use tokio::sync::watch;
use tracing::{debug, error, info, warn};

use crate::core::{Counts, Standing, SyncReport, TendReport};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::mode::{Complaint, Failure, Loss};
use crate::prerequisites::News;
use crate::recorder::Recorder;

/// Names that a log line shows at most.
const FEW: usize = 4;

/// Tells the world.
pub(crate) struct Publisher {
    metrics: Metrics,
    health: watch::Sender<Health>,
    recorder: Recorder,
}

impl Publisher {
    pub(crate) fn new(metrics: Metrics, health: watch::Sender<Health>, recorder: Recorder) -> Publisher {
        Publisher { metrics, health, recorder }
    }

    /// The daemon starts.
    pub(crate) fn starts(&self) {
        self.recorder.tell(starting());
        self.metrics.queued(SystemTime::now());
    }

    /// Counts an event that was seen.
    pub(crate) fn seen(&self, counts: Counts) {
        self.metrics.seen(counts);
    }

    /// A pass was asked for.
    pub(crate) fn queued(&self, at: SystemTime) {
        self.metrics.queued(at);
    }

    /// What came of a pass.
    pub(crate) fn report(&self, report: &SyncReport) {
        let now = SystemTime::now();
        self.metrics.synced(report, now);
        let took = report.took.as_secs_f64();
        for (name, finding) in &report.findings {
            warn!(%name, reason = finding.reason(), "{finding}");
            if let Some(notice) = of_finding(name, finding) {
                self.recorder.tell(notice);
            }
        }
        self.complain(&report.complaints);
        match &report.outcome {
            Ok(applied) => {
                self.health.send_modify(|health| health.last_sync = Some(now));
                let (operations, services) = (applied.operations, report.services);
                let (batches, requests) = (applied.batches, applied.requests);
                if report.whole {
                    info!(operations, batches, requests, services, took, "synced everything");
                } else {
                    debug!(operations, batches, requests, services, took, "synced what changed");
                }
            }
            Err(failure) => {
                error!(reason = format!("{:#}", Chain(failure)), took, "sync failed, will be retried");
            }
        }
    }

    /// What came of a glance at what was programmed.
    pub(crate) fn glanced(&self, outcome: &Result<Option<Loss>, Failure>) {
        match outcome {
            Ok(None) => {}
            Ok(Some(loss)) => {
                self.metrics.lost();
                match loss {
                    Loss::Removed(what) => warn!("somebody has removed {what}: looking at everything again"),
                    Loss::TakenOver => {
                        warn!("a daemon in the other mode has taken over, and removed our tables");
                    }
                }
            }
            Err(failure) => {
                let reason = format!("{:#}", Chain(failure));
                debug!(reason, "it cannot be seen whether what was programmed is still there");
            }
        }
    }

    /// What came of tending the mode.
    pub(crate) fn tended(&self, report: &TendReport) {
        self.metrics.tended(report);
        self.complain(&report.complaints);
        let took = report.took.as_secs_f64();
        match &report.outcome {
            Ok(applied) => {
                let (operations, requests) = (applied.operations, applied.requests);
                debug!(operations, requests, took, "tended what was under way");
            }
            Err(failure) => {
                let reason = format!("{:#}", Chain(failure));
                error!(reason, took, "what was under way did not come to its end, all will be synced");
            }
        }
    }

    /// Another mode's leftovers were removed, but for so many.
    pub(crate) fn cleaned(&self, failed: usize) {
        self.metrics.cleaned(failed);
    }

    fn complain(&self, complaints: &[Complaint]) {
        for complaint in complaints {
            let name = complaint.about.as_ref().map(ToString::to_string);
            warn!(name, reason = complaint.reason, "{}", complaint.text);
            self.recorder.tell(of_complaint(complaint));
        }
    }

    /// What is new about the host.
    pub(crate) fn tell(&self, news: &News) {
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

    /// From now on a change may wait this long.
    pub(crate) fn patience(&self, patience: Duration) {
        self.health.send_modify(|health| health.patience = patience);
    }

    /// How things stand.
    pub(crate) fn stand(&self, standing: Standing) {
        self.metrics.stand(&standing);
        self.health.send_modify(|health| health.standing = standing);
    }
}

/// As kube-proxy says it.
fn starting() -> Notice {
    Notice {
        about: About::Node,
        severity: Severity::Normal,
        reach: Reach::Occasion,
        reason: "Starting",
        action: "StartKubeProxy",
        note: String::new(),
    }
}

/// A server that must run and cannot, as kube-proxy says it.
pub(crate) fn not_started(reason: &'static str, note: String) -> Notice {
    Notice {
        about: About::Node,
        severity: Severity::Warning,
        reach: Reach::Occasion,
        reason,
        action: "StartKubeProxy",
        note,
    }
}

/// What is found of a Service every node finds. What is found of the Node, such as that it has one family only, is
/// often meant so: that stays in the log.
fn of_finding(name: &ObjectName, finding: &Finding) -> Option<Notice> {
    let notice = || Notice {
        about: About::Service(name.clone()),
        severity: Severity::Warning,
        reach: Reach::Cluster,
        reason: finding.reason(),
        action: "Plan",
        note: finding.to_string(),
    };
    (!name.namespace.is_empty()).then(notice)
}

/// Kernels differ.
fn of_complaint(complaint: &Complaint) -> Notice {
    Notice {
        about: complaint.about.clone().map_or(About::Node, About::Service),
        severity: Severity::Warning,
        reach: Reach::Node,
        reason: complaint.reason,
        action: "Program",
        note: complaint.text.clone(),
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
pub(crate) struct Chain<'a>(pub(crate) &'a dyn std::error::Error);

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_of_services_is_told_for_the_cluster_and_what_kernels_lack_by_each_node() {
        let of = |notice: Notice| (notice.about, notice.reach, notice.reason);
        let name = ObjectName::new("shop", "web");
        let service = About::Service(name.clone());
        let told = of_finding(&name, &Finding::NoClusterIp).unwrap();
        assert_eq!(of(told), (service.clone(), Reach::Cluster, "NoClusterIP"));
        assert_eq!(of_finding(&ObjectName::new("", "node-1"), &Finding::NodeAddressesUnknown), None);
        let complaint =
            |about| Complaint { about, reason: "SchedulerUnavailable", text: "no sed here".to_owned() };
        let told = of_complaint(&complaint(Some(name)));
        assert_eq!(told.note, "no sed here");
        assert_eq!(of(told), (service, Reach::Node, "SchedulerUnavailable"));
        assert_eq!(of(of_complaint(&complaint(None))), (About::Node, Reach::Node, "SchedulerUnavailable"));
    }
}
