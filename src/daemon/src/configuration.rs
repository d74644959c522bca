//! `KubeProxyConfiguration` (`kubeproxy.config.k8s.io/v1alpha1`): every field, whether it has an effect here or not.
//!
//! A configuration is read as written, from a file ([`decode`]) or from flags ([`flags`]); zero values and null mean that nothing
//! is said, since kubeadm writes files like that. [`Configuration::effective`] then fills in defaults. [`fields`] knows of each
//! field whether it counts and whether it can change while we run.

pub mod decode;
mod defaults;
mod documents;
pub mod fields;
pub mod flags;
pub mod gates;
#[cfg(test)]
pub(crate) mod samples;
pub mod sections;
pub mod validate;
pub mod values;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use decode::Decoded;
pub use sections::{
    ClientConnection, Conntrack, DetectLocal, FeatureGates, Iptables, Ipvs, Logging, Nftables, Winkernel,
};
pub use validate::{Complaint, Complaints};
use values::GoDuration;

const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";
pub(crate) const KIND: &str = "KubeProxyConfiguration";
/// As a bind address: the server is not wanted. Ours: an empty one means its default, as kubeadm writes it.
pub const OFF: &str = "0";

/// A configuration, as written or in effect.
#[expect(clippy::struct_excessive_bools, reason = "each is a field of its own in kube-proxy's")]
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// `featureGates`.
    pub feature_gates: FeatureGates,
    /// `clientConnection`.
    pub client_connection: ClientConnection,
    /// `logging`.
    pub logging: Logging,
    /// `hostnameOverride`.
    pub hostname_override: String,
    /// `bindAddress`.
    pub bind_address: String,
    /// `healthzBindAddress`; [`OFF`] for none.
    pub healthz_bind_address: String,
    /// `metricsBindAddress`; [`OFF`] for none.
    pub metrics_bind_address: String,
    /// `bindAddressHardFail`.
    pub bind_address_hard_fail: bool,
    /// `enableProfiling`.
    pub enable_profiling: bool,
    /// `showHiddenMetricsForVersion`.
    pub show_hidden_metrics_for_version: String,
    /// `mode`.
    pub mode: String,
    /// `iptables`.
    pub iptables: Iptables,
    /// `ipvs`.
    pub ipvs: Ipvs,
    /// `nftables`.
    pub nftables: Nftables,
    /// `winkernel`.
    pub winkernel: Winkernel,
    /// `detectLocalMode`.
    pub detect_local_mode: String,
    /// `detectLocal`.
    pub detect_local: DetectLocal,
    /// `clusterCIDR`.
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: String,
    /// `nodePortAddresses`.
    pub node_port_addresses: Vec<String>,
    /// `oomScoreAdj`.
    pub oom_score_adj: Option<i32>,
    /// `conntrack`.
    pub conntrack: Conntrack,
    /// `configSyncPeriod`.
    pub config_sync_period: GoDuration,
    /// `portRange`.
    pub port_range: String,
    /// `windowsRunAsService`.
    pub windows_run_as_service: bool,
    /// `serviceCounters`: ours.
    pub service_counters: bool,
}

/// The configuration could not be read, or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a configuration.
    #[error("{path}: {reason}")]
    Invalid {
        /// The file.
        path: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// A flag has a value that makes no sense.
    #[error("--{flag}: {reason}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The configuration has no form as text.
    #[error("the configuration cannot be written: {0}")]
    Unwritable(String),
}

impl Configuration {
    /// As an object with its kind, every field in it.
    pub fn object(&self) -> Value {
        let mut object = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = object.as_object_mut() {
            fields.insert("apiVersion".to_owned(), API_VERSION.into());
            fields.insert("kind".to_owned(), KIND.into());
        }
        object
    }

    /// As a file that [`Configuration::from_text`] and kube-proxy read.
    pub fn text(&self) -> Result<String, Error> {
        serde_saphyr::to_string(&self.object()).map_err(|error| Error::Unwritable(error.to_string()))
    }
}
