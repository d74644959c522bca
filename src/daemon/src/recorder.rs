//! Tells the cluster, through Events, without ever holding up whoever has something to tell.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kubeweir_cluster::notice::{self, Notice, Posted};
use tokio::sync::{
    mpsc::{self, Receiver, Sender},
    oneshot,
};
use tracing::debug;

use crate::metrics::Metrics;

/// Notices that may wait; more are dropped. They are in the log in any case.
const QUEUE: usize = 256;
/// Pause after each. Thousands of nodes may have the same to tell, and hundreds of things each.
const PAUSE: Duration = Duration::from_secs(1);
/// How long what a process has to say at its end may hold that up.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Takes notices. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: Option<Sender<Told>>,
    metrics: Metrics,
}

/// Where notices wait to be posted.
pub struct Waiting {
    queue: Receiver<Told>,
    metrics: Metrics,
}

/// A notice, and who waits for it to be posted, or not.
struct Told {
    notice: Notice,
    done: Option<oneshot::Sender<()>>,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// There is a new Event.
    Posted,
    /// There was such an Event already, from another node or another day.
    Known,
    /// What it was about was gone.
    Moot,
    /// Too many waited.
    Dropped,
    /// The API server did not take it.
    Failed,
}

impl Recorder {
    /// A recorder, and what [`Waiting::post_all`] works off.
    pub fn new(metrics: Metrics) -> (Recorder, Waiting) {
        let (sender, queue) = mpsc::channel(QUEUE);
        (Recorder { queue: Some(sender), metrics: metrics.clone() }, Waiting { queue, metrics })
    }

    /// Where there is no API server to tell.
    pub fn silent(metrics: Metrics) -> Recorder {
        Recorder { queue: None, metrics }
    }

    /// Leaves a notice to be posted. Never waits.
    pub fn tell(&self, notice: Notice) {
        self.leave(Told { notice, done: None });
    }

    /// The same at the end of the process: waits until it is posted, or cannot be, or five seconds have passed.
    pub async fn tell_last(&self, notice: Notice) {
        let (done, posted) = oneshot::channel();
        self.leave(Told { notice, done: Some(done) });
        let _ = tokio::time::timeout(LAST_WORDS, posted).await;
    }

    fn leave(&self, told: Told) {
        if self.queue.as_ref().is_some_and(|queue| queue.try_send(told).is_err()) {
            self.metrics.event_ended(Fate::Dropped);
        }
    }
}

impl Waiting {
    /// Posts one after the other, as the node with this name, as long as there is a recorder.
    pub async fn post_all(mut self, client: Client, node: Arc<str>) {
        let mut failing = false;
        while let Some(Told { notice, done }) = self.queue.recv().await {
            let outcome = notice::post(&client, &node, &notice).await;
            if let Err(error) = &outcome
                && !failing
            {
                debug!(%error, reason = notice.reason, "an Event was not posted; the next failures go unmentioned");
            }
            failing = outcome.is_err();
            self.metrics.event_ended(Fate::of(&outcome));
            // Whoever waited may have given up.
            let _ = done.map(|done| done.send(()));
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Fate {
    fn of(outcome: &Result<Posted, kube::Error>) -> Fate {
        match outcome {
            Ok(Posted::New) => Fate::Posted,
            Ok(Posted::Known) => Fate::Known,
            Ok(Posted::Moot) => Fate::Moot,
            Err(_) => Fate::Failed,
        }
    }

    /// For the metric.
    pub const fn name(self) -> &'static str {
        match self {
            Fate::Posted => "posted",
            Fate::Known => "known",
            Fate::Moot => "moot",
            Fate::Dropped => "dropped",
            Fate::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use kubeweir_cluster::notice::{About, Reach, Severity};
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::settings::ProxyMode;

    #[test]
    fn what_does_not_fit_is_dropped_and_counted() {
        let mut registry = Registry::default();
        let (recorder, mut waiting) = Recorder::new(Metrics::new(&mut registry, ProxyMode::Nftables));
        let notice = |number: usize| Notice {
            about: About::Node,
            severity: Severity::Warning,
            reach: Reach::Node,
            reason: "Test",
            action: "Test",
            note: number.to_string(),
        };
        (0..QUEUE + 3).for_each(|number| recorder.tell(notice(number)));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("kubeweir_events_total{outcome=\"dropped\"} 3\n"), "{text}");
        let kept = std::iter::from_fn(|| waiting.queue.try_recv().ok()).map(|told| told.notice.note);
        assert!(kept.eq((0..QUEUE).map(|number| number.to_string())));
    }

    #[test]
    fn a_silent_recorder_drops_nothing() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, ProxyMode::Nftables);
        let notice = Notice {
            about: About::Node,
            severity: Severity::Normal,
            reach: Reach::Occasion,
            reason: "Test",
            action: "Test",
            note: String::new(),
        };
        Recorder::silent(metrics).tell(notice);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(!text.contains("dropped"), "{text}");
    }
}
