//! Of each field: in which modes it counts, and whether a change takes effect while we run.

use serde_json::Value;

use super::{Configuration, gates};
use crate::settings::ProxyMode;

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At once.
    Live,
    /// With the next start.
    Restart,
}

/// Where a field counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// In every mode.
    Always(When),
    /// In one mode.
    In(ProxyMode, When),
    /// Nowhere: accepted because files have it.
    Never,
}

impl Counts {
    /// When a change takes effect in this mode; `None` if the field does not count.
    pub fn when(self, mode: ProxyMode) -> Option<When> {
        match self {
            Counts::Always(when) => Some(when),
            Counts::In(only, when) => (only == mode).then_some(when),
            Counts::Never => None,
        }
    }
}

use Counts::{Always, In, Never};
use ProxyMode::{Ipvs as IPVS, Nftables as NFTABLES};
use When::{Live, Restart};

/// Every field by its path; maps with free keys, and lists, are one field.
pub const FIELDS: [(&str, Counts); 62] = [
    ("featureGates", Always(Live)),
    ("clientConnection.kubeconfig", Always(Restart)),
    ("clientConnection.acceptContentTypes", Never),
    ("clientConnection.contentType", Never),
    ("clientConnection.qps", Never),
    ("clientConnection.burst", Never),
    ("logging.format", Always(Restart)),
    ("logging.flushFrequency", Never),
    ("logging.verbosity", Always(Live)),
    ("logging.vmodule", Always(Live)),
    ("logging.options.text.splitStream", Never),
    ("logging.options.text.infoBufferSize", Never),
    ("logging.options.json.splitStream", Never),
    ("logging.options.json.infoBufferSize", Never),
    ("hostnameOverride", Always(Restart)),
    ("bindAddress", Always(Restart)),
    ("healthzBindAddress", Always(Restart)),
    ("metricsBindAddress", Always(Restart)),
    ("bindAddressHardFail", Always(Restart)),
    ("enableProfiling", Never),
    ("showHiddenMetricsForVersion", Never),
    ("mode", Always(Restart)),
    ("iptables.masqueradeBit", In(IPVS, Restart)),
    ("iptables.masqueradeAll", In(IPVS, Live)),
    ("iptables.localhostNodePorts", Never),
    ("iptables.syncPeriod", Never),
    ("iptables.minSyncPeriod", Never),
    ("ipvs.syncPeriod", In(IPVS, Live)),
    ("ipvs.minSyncPeriod", In(IPVS, Live)),
    ("ipvs.scheduler", In(IPVS, Live)),
    // Also what a start in another mode leaves alone.
    ("ipvs.excludeCIDRs", Always(Live)),
    ("ipvs.strictARP", In(IPVS, Restart)),
    ("ipvs.tcpTimeout", In(IPVS, Live)),
    ("ipvs.tcpFinTimeout", In(IPVS, Live)),
    ("ipvs.udpTimeout", In(IPVS, Live)),
    ("ipvs.drainTimeout", In(IPVS, Live)),
    ("nftables.masqueradeBit", In(NFTABLES, Restart)),
    ("nftables.masqueradeAll", In(NFTABLES, Live)),
    ("nftables.syncPeriod", In(NFTABLES, Live)),
    ("nftables.minSyncPeriod", In(NFTABLES, Live)),
    ("winkernel.networkName", Never),
    ("winkernel.sourceVip", Never),
    ("winkernel.enableDSR", Never),
    ("winkernel.rootHnsEndpointName", Never),
    ("winkernel.forwardHealthCheckVip", Never),
    ("detectLocalMode", Always(Live)),
    ("detectLocal.bridgeInterface", Always(Live)),
    ("detectLocal.interfaceNamePrefix", Always(Live)),
    ("clusterCIDR", Always(Live)),
    ("nodePortAddresses", Always(Live)),
    ("oomScoreAdj", Always(Restart)),
    ("conntrack.maxPerCore", Always(Restart)),
    ("conntrack.min", Always(Restart)),
    ("conntrack.tcpEstablishedTimeout", Always(Restart)),
    ("conntrack.tcpCloseWaitTimeout", Always(Restart)),
    ("conntrack.tcpBeLiberal", Always(Restart)),
    ("conntrack.udpTimeout", Always(Restart)),
    ("conntrack.udpStreamTimeout", Always(Restart)),
    ("configSyncPeriod", Never),
    ("portRange", Never),
    ("windowsRunAsService", Never),
    ("serviceCounters", Always(Restart)),
];

/// The value at a path; null where there is none.
pub fn at<'a>(object: &'a Value, path: &str) -> &'a Value {
    path.split('.').fold(object, |value, name| value.get(name).unwrap_or(&Value::Null))
}

/// Puts a value at a path that is there.
pub(crate) fn put(object: &mut Value, path: &str, value: Value) {
    let place = path.split('.').try_fold(object, |at, name| at.get_mut(name));
    if let Some(place) = place {
        *place = value;
    }
}

/// Fields of a configuration in effect that are set to something else than their default and do not count in this mode.
pub fn without_effect(effective: &Configuration, mode: ProxyMode) -> Vec<String> {
    let default = Configuration { mode: mode.to_string(), ..Configuration::default() }.effective().0;
    let (given, default) = (effective.object(), default.object());
    let idle = FIELDS.iter().filter(|(_, counts)| counts.when(mode).is_none());
    let set = idle.filter(|(path, _)| at(&given, path) != at(&default, path));
    let gates = gates::without_effect(&effective.feature_gates);
    set.map(|(path, _)| (*path).to_owned()).chain(gates).collect()
}

/// The paths of all fields of an object, leaves only.
#[cfg(test)]
pub(crate) fn leaves(object: &Value) -> Vec<String> {
    fn walk(value: &Value, at: String, found: &mut Vec<String>) {
        match value.as_object().filter(|_| at != "featureGates") {
            None => found.push(at),
            Some(fields) => fields.iter().for_each(|(name, value)| {
                walk(value, if at.is_empty() { name.clone() } else { format!("{at}.{name}") }, found);
            }),
        }
    }
    let mut found = Vec::new();
    walk(object, String::new(), &mut found);
    found.retain(|path| path != "apiVersion" && path != "kind");
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_is_in_the_table_once() {
        let known: BTreeSet<String> = FIELDS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(known.len(), FIELDS.len());
        let there: BTreeSet<String> = leaves(&Configuration::default().object()).into_iter().collect();
        assert_eq!(known, there);
    }

    #[test]
    fn what_does_not_count_in_a_mode_is_named_if_it_is_set() {
        let mut configuration = Configuration { mode: "nftables".into(), ..Configuration::default() };
        assert!(without_effect(&configuration.clone().effective().0, NFTABLES).is_empty());
        configuration.ipvs.scheduler = "lc".into();
        configuration.port_range = "1-2".into();
        configuration.client_connection.qps = 5.0;
        configuration.feature_gates.insert("ContextualLogging".into(), false);
        let named = without_effect(&configuration.clone().effective().0, NFTABLES);
        assert_eq!(named, ["ipvs.scheduler", "portRange", "featureGates.ContextualLogging"]);
        configuration.mode = "ipvs".into();
        let named = without_effect(&configuration.effective().0, IPVS);
        assert_eq!(named, ["portRange", "featureGates.ContextualLogging"]);
    }
}
