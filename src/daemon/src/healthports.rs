//! Health-check node ports: balancers ask here whether this node has ready endpoints of a Service (`healthCheckNodePort`).
//!
//! [`ledger`] knows what must be open by the plans in force and says what a pass changes of it, pure. [`listeners`] opens and
//! closes sockets, [`page`] is what they answer, [`connection`] how.

mod connection;
pub mod ledger;
mod listeners;
mod page;

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::health::Health;
use crate::recorder::Recorder;
use ledger::Difference;
use listeners::Listeners;

/// How long to wait before an address that could not be listened on is tried again, if no pass comes before.
const RETRY: Duration = Duration::from_secs(5);

/// How many sockets answer, and how many should and do not. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gauges(Family<State, Gauge>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

impl Gauges {
    /// Creates and registers them.
    pub fn new(registry: &mut Registry) -> Gauges {
        let gauges = Gauges::default();
        gauges.stand(0, 0);
        let help = "Sockets for health checks of balancers: open, or failed to be and tried again";
        registry.sub_registry_with_prefix("kubeweir").register(
            "health_check_sockets",
            help,
            gauges.0.clone(),
        );
        gauges
    }

    fn stand(&self, open: usize, failed: usize) {
        for (state, number) in [("open", open), ("failed", failed)] {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.0.get_or_create(&State { state }).set(number);
        }
    }
}

/// Starts to answer. Every successful pass sends what it changed; what failed is tried again then, or after a while.
pub fn start(
    health: watch::Receiver<Health>,
    recorder: Recorder,
    gauges: Gauges,
) -> mpsc::UnboundedSender<Difference> {
    let (sender, differences) = mpsc::unbounded_channel();
    tokio::spawn(work(differences, Listeners::new(health, recorder), gauges));
    sender
}

async fn work(
    mut differences: mpsc::UnboundedReceiver<Difference>,
    mut listeners: Listeners,
    gauges: Gauges,
) {
    loop {
        let received = match listeners.failed() {
            0 => Ok(differences.recv().await),
            _ => timeout(RETRY, differences.recv()).await,
        };
        match received {
            Ok(Some(difference)) => listeners.carry_out(difference).await,
            Ok(None) => return,
            Err(_) => listeners.open_awaited(),
        }
        gauges.stand(listeners.open(), listeners.failed());
    }
}
