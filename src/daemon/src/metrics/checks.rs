//! Health checks by name, as service level indicators: `/metrics/slis`.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Check {
    name: &'static str,
    r#type: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    name: &'static str,
    status: &'static str,
    r#type: &'static str,
}

/// Counts what was checked. Cheap to clone.
#[derive(Clone)]
pub struct Checks {
    latest: Family<Check, Gauge>,
    all: Family<Outcome, Counter>,
    registry: Arc<Registry>,
}

impl Default for Checks {
    fn default() -> Checks {
        let mut registry = Registry::default();
        let (latest, all) = (Family::default(), Family::default());
        registry.register(
            "kubernetes_healthcheck",
            "The latest outcome of a check: 1 is good",
            latest.clone(),
        );
        registry.register("kubernetes_healthchecks", "Outcomes of checks", all.clone());
        Checks { latest, all, registry: Arc::new(registry) }
    }
}

impl Checks {
    /// A check of a page went well. Those that there are cannot fail.
    pub fn passed(&self, name: &'static str, page: &'static str) {
        self.latest.get_or_create(&Check { name, r#type: page }).set(1);
        self.all.get_or_create(&Outcome { name, status: "success", r#type: page }).inc();
    }

    /// Forgets all outcomes.
    pub fn reset(&self) {
        self.latest.clear();
        self.all.clear();
    }

    /// What was counted.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }
}
