//! Metrics, under kube-proxy's names where it has them and as `kubeweir_*` otherwise.

mod checks;
mod component;
mod exposition;
mod process;
mod requests;

use std::time::{Duration, SystemTime};

use kubeweir_plan::{Family as PlanFamily, Scope, Unserved};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;

use crate::core::{Counts, Reasons, Standing, SyncReport, TendReport};
use crate::mode::{Applied, Failure};
use crate::recorder::Fate;
use crate::settings::ProxyMode;

pub use checks::Checks;
pub use component::Component;
pub use exposition::Format;
pub use process::{Process, start_seconds};
pub use requests::{Counting, Requests};

/// Both families are programmed in one pass, so both get each sample.
const FAMILIES: [IpFamily; 2] = [IpFamily { ip_family: "IPv4" }, IpFamily { ip_family: "IPv6" }];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct IpFamily {
    ip_family: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Clients of which policy, by scope.
const POLICIES: [(Scope, &str); 2] = [(Scope::Internal, "internal"), (Scope::External, "external")];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Policy {
    ip_family: &'static str,
    traffic_policy: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;
type Durations = Family<IpFamily, Histogram, fn() -> Histogram>;

/// The daemon's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    sync: Durations,
    sync_full: Durations,
    sync_partial: Durations,
    programming: Durations,
    last_sync: Family<IpFamily, Seconds>,
    last_queued: Family<IpFamily, Seconds>,
    failures: Counter,
    /// The two of nftables mode.
    sync_failures: Option<Family<IpFamily, Counter>>,
    cleanup_failures: Option<Family<IpFamily, Counter>>,
    unserved: Family<Policy, Gauge>,
    requests: Requests,
    flow_checks: Durations,
    flows_ended: Family<IpFamily, Counter>,
    service_changes: Counter,
    slice_changes: Counter,
    service_changes_pending: Gauge,
    slice_changes_pending: Gauge,
    healthz: Family<Code, Counter>,
    livez: Family<Code, Counter>,
    operations: Counter,
    batches: Counter,
    ipvs_requests: Counter,
    findings: Family<Reason, Gauge>,
    events: Family<Outcome, Counter>,
    last_operations: Gauge,
    services: Gauge,
    awaited: Gauge,
    host_findings: Gauge,
    losses: Counter,
}

/// 1 ms to 16.384 s, doubling.
fn sync_buckets() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// 0.25 s to 5 min, the buckets of Kubernetes' network programming latency objective. kube-proxy has one for 0 too
/// (`MergeBuckets` of component-base begins with it).
fn programming_buckets() -> Histogram {
    let fine = [0.0, 0.25, 0.5].into_iter().chain((1..60).map(f64::from));
    let coarse = (60..120).step_by(5).chain((120..=300).step_by(30)).map(f64::from);
    Histogram::new(fine.chain(coarse))
}

impl Metrics {
    /// Creates and registers all metrics that make sense in the mode.
    pub fn new(registry: &mut Registry, mode: ProxyMode) -> Metrics {
        let of_nftables = || (mode == ProxyMode::Nftables).then(Family::default);
        let metrics = Metrics {
            sync: Family::new_with_constructor(sync_buckets),
            sync_full: Family::new_with_constructor(sync_buckets),
            sync_partial: Family::new_with_constructor(sync_buckets),
            programming: Family::new_with_constructor(programming_buckets),
            last_sync: Family::default(),
            last_queued: Family::default(),
            failures: Counter::default(),
            sync_failures: of_nftables(),
            cleanup_failures: of_nftables(),
            unserved: Family::default(),
            requests: Requests::default(),
            flow_checks: Family::new_with_constructor(sync_buckets),
            flows_ended: Family::default(),
            service_changes: Counter::default(),
            slice_changes: Counter::default(),
            service_changes_pending: Gauge::default(),
            slice_changes_pending: Gauge::default(),
            healthz: Family::default(),
            livez: Family::default(),
            operations: Counter::default(),
            batches: Counter::default(),
            ipvs_requests: Counter::default(),
            findings: Family::default(),
            events: Family::default(),
            last_operations: Gauge::default(),
            services: Gauge::default(),
            awaited: Gauge::default(),
            host_findings: Gauge::default(),
            losses: Counter::default(),
        };
        metrics.register_upstream(registry.sub_registry_with_prefix("kubeproxy"));
        metrics.register_flows(registry.sub_registry_with_prefix("kubeproxy_conntrack_reconciler"));
        metrics.register_own(registry.sub_registry_with_prefix("kubeweir"));
        metrics.requests.register(registry);
        registry.register_collector(Box::new(Process));
        metrics
    }

    fn register_upstream(&self, r: &mut Registry) {
        r.register("sync_proxy_rules_duration_seconds", "Duration of a sync", self.sync.clone());
        r.register(
            "sync_full_proxy_rules_duration_seconds",
            "Duration of a full sync",
            self.sync_full.clone(),
        );
        r.register(
            "sync_partial_proxy_rules_duration_seconds",
            "Duration of a partial sync",
            self.sync_partial.clone(),
        );
        let help = "From a change in the cluster to its being in force on this node";
        r.register("network_programming_duration_seconds", help, self.programming.clone());
        r.register(
            "sync_proxy_rules_last_timestamp_seconds",
            "When the last sync succeeded",
            self.last_sync.clone(),
        );
        let help = "When a sync was last asked for";
        r.register("sync_proxy_rules_last_queued_timestamp_seconds", help, self.last_queued.clone());
        if let (Some(sync), Some(cleanup)) = (&self.sync_failures, &self.cleanup_failures) {
            r.register("sync_proxy_rules_nftables_sync_failures", "Syncs that failed", sync.clone());
            let help = "What another mode left could not be removed";
            r.register("sync_proxy_rules_nftables_cleanup_failures", help, cleanup.clone());
        }
        let help = "Service ports of policy Local that have endpoints elsewhere and none on this node";
        r.register("sync_proxy_rules_no_local_endpoints_total", help, self.unserved.clone());
        r.register("sync_proxy_rules_service_changes", "Service events seen", self.service_changes.clone());
        r.register(
            "sync_proxy_rules_endpoint_changes",
            "EndpointSlice events seen",
            self.slice_changes.clone(),
        );
        let help = "Service changes not yet in force";
        r.register("sync_proxy_rules_service_changes_pending", help, self.service_changes_pending.clone());
        let help = "EndpointSlice changes not yet in force";
        r.register("sync_proxy_rules_endpoint_changes_pending", help, self.slice_changes_pending.clone());
        r.register("proxy_healthz", "Answers of /healthz", self.healthz.clone());
        r.register("proxy_livez", "Answers of /livez", self.livez.clone());
    }

    fn register_flows(&self, r: &mut Registry) {
        r.register("sync_duration_seconds", "Duration of a check of tracked flows", self.flow_checks.clone());
        r.register("deleted_entries", "Stale flows ended", self.flows_ended.clone());
    }

    fn register_own(&self, r: &mut Registry) {
        r.register("sync_failures", "Syncs, and what else was under way, that failed", self.failures.clone());
        r.register("sync_operations", "Kernel objects touched by all syncs", self.operations.clone());
        r.register("sync_batches", "Batches sent to the kernel", self.batches.clone());
        r.register(
            "sync_last_operations",
            "Kernel objects touched by the last sync",
            self.last_operations.clone(),
        );
        let help = "Requests sent to IPVS, and for the addresses that it serves";
        r.register("ipvs_requests", help, self.ipvs_requests.clone());
        let help =
            "What an operator should know about Services, the Node and the kernel, by what Events call it";
        r.register("findings", help, self.findings.clone());
        let help =
            "Kubernetes Events: posted, known already, moot since their object is gone, dropped or failed";
        r.register("events", help, self.events.clone());
        r.register("services", "Services in the plan", self.services.clone());
        r.register("lists_awaited", "Kinds whose initial list is not complete", self.awaited.clone());
        let help = "What the host lacks for packets to find their way";
        r.register("host_findings", help, self.host_findings.clone());
        let help = "How often something that was programmed was found to be gone";
        r.register("losses", help, self.losses.clone());
    }

    /// Counts an event that was seen.
    pub fn seen(&self, counts: Counts) {
        self.service_changes.inc_by(counts.services);
        self.slice_changes.inc_by(counts.slices);
    }

    /// The host was judged: so much is missing.
    pub fn host_judged(&self, open: usize) {
        self.host_findings.set(count(open as u64));
    }

    /// Something that was programmed is gone.
    pub fn lost(&self) {
        self.losses.inc();
    }

    /// A sync was asked for.
    pub fn queued(&self, at: SystemTime) {
        for family in &FAMILIES {
            self.last_queued.get_or_create(family).set(unix_seconds(at));
        }
    }

    /// How things stand.
    pub fn stand(&self, standing: &Standing) {
        self.service_changes_pending.set(count(standing.pending.services));
        self.slice_changes_pending.set(count(standing.pending.slices));
        self.awaited.set(count(standing.awaited.len() as u64));
    }

    /// A sync ended.
    pub fn synced(&self, report: &SyncReport, at: SystemTime) {
        let kind = if report.whole { &self.sync_full } else { &self.sync_partial };
        for family in &FAMILIES {
            observe(&self.sync, family, report.took);
            observe(kind, family, report.took);
            if report.outcome.is_ok() {
                self.last_sync.get_or_create(family).set(unix_seconds(at));
            }
            for trigger in &report.triggers {
                observe(&self.programming, family, at.duration_since(trigger.0).unwrap_or_default());
            }
        }
        if let Ok(applied) = &report.outcome {
            self.last_operations.set(count(applied.operations as u64));
            self.not_served(report.unserved);
        }
        self.applied(&report.outcome);
        self.stands(&report.standing);
        self.services.set(count(report.services as u64));
    }

    /// The mode was tended.
    pub fn tended(&self, report: &TendReport) {
        self.applied(&report.outcome);
        self.stands(&report.standing);
    }

    fn applied(&self, outcome: &Result<Applied, Failure>) {
        if let Ok(applied) = outcome {
            self.operations.inc_by(applied.operations as u64);
            self.batches.inc_by(applied.batches as u64);
            self.ipvs_requests.inc_by(applied.requests as u64);
        } else {
            self.failures.inc();
            count_failures(self.sync_failures.as_ref(), 1);
        }
    }

    /// So much of what another mode left could not be removed.
    pub fn cleaned(&self, failed: usize) {
        if failed > 0 {
            count_failures(self.cleanup_failures.as_ref(), failed as u64);
        }
    }

    fn not_served(&self, unserved: Unserved) {
        for ((scope, traffic_policy), family) in
            POLICIES.into_iter().flat_map(|policy| PlanFamily::ALL.map(|family| (policy, family)))
        {
            let ip_family = FAMILIES[family.index()].ip_family;
            let policy = Policy { ip_family, traffic_policy };
            self.unserved.get_or_create(&policy).set(count(unserved.count(scope, family)));
        }
    }

    /// Counts requests to the API server.
    pub fn requests(&self) -> Requests {
        self.requests.clone()
    }

    fn stands(&self, standing: &Reasons) {
        for (reason, number) in standing {
            self.findings.get_or_create(&Reason { reason }).set(count(*number));
        }
    }

    /// Something was to be told through an Event.
    pub fn event_ended(&self, fate: Fate) {
        self.events.get_or_create(&Outcome { outcome: fate.name() }).inc();
    }

    /// Tracked flows of a family were checked, and so many ended.
    pub fn flows_checked(&self, family: PlanFamily, took: Duration, ended: u64) {
        let family = &FAMILIES[family.index()];
        observe(&self.flow_checks, family, took);
        self.flows_ended.get_or_create(family).inc_by(ended);
    }

    /// `/healthz` was answered with this status.
    pub fn healthz_answered(&self, code: u16) {
        self.healthz.get_or_create(&Code { code }).inc();
    }

    /// `/livez` was answered with this status.
    pub fn livez_answered(&self, code: u16) {
        self.livez.get_or_create(&Code { code }).inc();
    }
}

/// Both families are programmed in one transaction, so both have failed.
fn count_failures(failures: Option<&Family<IpFamily, Counter>>, number: u64) {
    for family in &FAMILIES {
        failures.map(|failures| failures.get_or_create(family).inc_by(number));
    }
}

fn observe(durations: &Durations, family: &IpFamily, took: Duration) {
    durations.get_or_create(family).observe(took.as_secs_f64());
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(mode: ProxyMode) -> String {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry, mode);
        metrics.cleaned(0);
        assert!(
            !Format::Classic.encode(&registry).unwrap().contains("cleanup_failures"),
            "before its first use"
        );
        metrics.cleaned(2);
        metrics.applied(&Err(Failure::Commit(kubeweir_netfilter::CommitError::Refused(Vec::new()))));
        Format::Classic.encode(&registry).unwrap()
    }

    #[test]
    fn failures_are_counted_in_each_mode_and_under_the_name_of_nftables_in_that_one_only() {
        let names = [
            ("kubeweir_sync_failures_total 1\n", true),
            ("kubeproxy_sync_proxy_rules_nftables_sync_failures_total{ip_family=\"IPv6\"} 1\n", false),
            ("kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total{ip_family=\"IPv4\"} 2\n", false),
        ];
        let (nftables, ipvs) = (page(ProxyMode::Nftables), page(ProxyMode::Ipvs));
        for (line, in_ipvs) in names {
            assert!(nftables.contains(line), "{line} is not in\n{nftables}");
            assert_eq!(ipvs.contains(line), in_ipvs, "{line}\n{ipvs}");
        }
    }
}
