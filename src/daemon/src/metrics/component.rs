//! What every component of Kubernetes says of itself: which build it is and which feature gates are on.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use crate::http::version::Info;
use crate::shown::Shown;

/// Gates of kube-proxy 1.36 that name something that this program does: with their stage (none for general availability)
/// and whether they are on by default. Others would be no answer to any question.
const GATES: [(&str, &str, bool); 9] = [
    ("AllowServiceExternalIPs", "", true),
    ("ComponentFlagz", "BETA", true),
    ("ComponentStatusz", "BETA", true),
    ("MultiCIDRServiceAllocator", "", true),
    ("NFTablesProxyMode", "", true),
    ("NativeHistograms", "ALPHA", false),
    ("PreferSameTrafficDistribution", "", true),
    ("RelaxedServiceNameValidation", "BETA", true),
    ("WatchListClient", "BETA", true),
];

/// `kubernetes_build_info` and `kubernetes_feature_enabled`.
#[derive(Debug)]
pub struct Component {
    shown: watch::Receiver<Arc<Shown>>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Gate {
    name: &'static str,
    stage: &'static str,
}

impl Component {
    /// Of a configuration that may be replaced.
    pub fn new(shown: watch::Receiver<Arc<Shown>>) -> Component {
        Component { shown }
    }
}

impl Collector for Component {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Always 1: the labels say which build this is.";
        let mut builds = encoder.encode_descriptor("kubernetes_build_info", help, None, MetricType::Gauge)?;
        let version = Info::ours();
        let labels = version.labels();
        ConstGauge::new(1_u64).encode(builds.encode_family(&&labels[..])?)?;
        let help = "Whether a feature gate is on.";
        let mut gates =
            encoder.encode_descriptor("kubernetes_feature_enabled", help, None, MetricType::Gauge)?;
        let shown = Arc::clone(&self.shown.borrow());
        for (name, stage, default) in GATES {
            let is_on = shown.configuration["featureGates"][name].as_bool().unwrap_or(default);
            ConstGauge::new(u64::from(is_on)).encode(gates.encode_family(&Gate { name, stage })?)?;
        }
        Ok(())
    }
}
