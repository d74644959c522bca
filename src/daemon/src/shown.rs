//! What the process says about itself: its configuration in effect and its flags, as `/configz` and `/flagz` show them.

use std::collections::BTreeMap;

/// Replaced as a whole when the configuration is read again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    /// The configuration in effect, defaults filled in, as a `KubeProxyConfiguration` of `kubeproxy.config.k8s.io/v1alpha1`.
    pub configuration: serde_json::Value,
    /// Each flag of the command line by its name without dashes, and its value in effect.
    pub flags: BTreeMap<String, String>,
}
