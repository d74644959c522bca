//! A valid value for every field that is not its default: for tests that must not forget one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::Configuration;
use super::fields::{FIELDS, put};

/// A value of a field in a mode, other than its default.
pub(crate) fn sample(path: &str, mode: &str) -> Value {
    match path {
        "featureGates" => json!({"AllowServiceExternalIPs": false, "ContextualLogging": false}),
        "clientConnection.qps" => json!(0.1),
        "clientConnection.burst" => json!(7),
        "logging.format" => json!("json"),
        "logging.verbosity" => json!(4),
        "logging.vmodule" => json!([{"filePattern": "core", "verbosity": 6}]),
        "hostnameOverride" => json!(" Node-2 "),
        "bindAddress" => json!("192.0.2.01"),
        "healthzBindAddress" => json!("0"),
        "metricsBindAddress" => json!("127.0.0.1:99"),
        "showHiddenMetricsForVersion" => json!("1.35"),
        "mode" => json!(if mode == "ipvs" { "nftables" } else { "ipvs" }),
        "iptables.masqueradeBit" | "nftables.masqueradeBit" => json!(3),
        "iptables.localhostNodePorts" => json!(false),
        "ipvs.scheduler" => json!("lc"),
        "ipvs.excludeCIDRs" => json!(["10.0.0.1/8"]),
        "detectLocalMode" => json!("NodeCIDR"),
        "detectLocal.bridgeInterface" | "detectLocal.interfaceNamePrefix" => json!("cni"),
        "clusterCIDR" => json!("10.244.0.001/16, fd00::/64"),
        "nodePortAddresses" => json!(["192.0.2.1/24"]),
        "oomScoreAdj" => json!(-5),
        "conntrack.maxPerCore" | "conntrack.min" => json!(0),
        "clientConnection.kubeconfig" => json!("/a"),
        path if path.starts_with("logging.options.") => Value::Null,
        path if path.ends_with("inSyncPeriod") => json!("2s"),
        path if ["Period", "Timeout", "flushFrequency"].iter().any(|end| path.ends_with(end)) => json!("7s"),
        path if path.ends_with("portRange") || path.contains("Type") || path.starts_with("winkernel") => {
            if matches!(path, "winkernel.enableDSR" | "winkernel.forwardHealthCheckVip") {
                json!(true)
            } else {
                json!("x")
            }
        }
        _ => json!(true),
    }
}

/// With the sample of one field.
pub(crate) fn with(written: &Configuration, path: &str) -> Configuration {
    let mut object = written.object();
    put(&mut object, path, sample(path, &written.mode));
    Configuration::from_text(&object.to_string()).unwrap().configuration
}

/// Configurations with samples of some fields.
pub(crate) fn configurations() -> impl Strategy<Value = Configuration> {
    let mode = prop::sample::select(vec!["", "iptables", "nftables", "ipvs"]);
    (mode, prop::collection::vec(any::<bool>(), FIELDS.len())).prop_map(|(mode, set)| {
        let written = Configuration { mode: mode.to_owned(), ..Configuration::default() };
        let set = FIELDS.iter().zip(set).filter(|((path, _), set)| *set && *path != "mode");
        let mut written = set.fold(written, |written, ((path, _), _)| with(&written, path));
        if written.logging.format == "json" {
            written.logging.vmodule.clear(); // which is for text only
        }
        written
    })
}
