//! All metrics: nothing that is recorded is missing or has another type, other labels or other buckets, and nothing else is there.
//! `ipvs_guest` has the same for IPVS mode.

use std::collections::BTreeSet;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::metrics::{expected, found, page_of_everything, promtool, recorded};
use kubeweir_e2e::proxy::mode;
use kubeweir_playground::Namespace;

/// What kube-proxy 1.36 exports on Linux, in any mode; families that other parts of Kubernetes bring along have a `*`.
const OF_KUBE_PROXY: [&str; 32] = [
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
    "kubeproxy_network_programming_duration_seconds",
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
    "kubeproxy_sync_proxy_rules_service_changes_pending",
    "kubeproxy_sync_proxy_rules_service_changes_total",
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
    "kubeproxy_sync_proxy_rules_nftables_sync_failures_total",
    "kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total",
    "kubeproxy_conntrack_reconciler_sync_duration_seconds",
    "kubeproxy_conntrack_reconciler_deleted_entries_total",
    "kubeproxy_proxy_healthz_total",
    "kubeproxy_proxy_livez_total",
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
    "kubeproxy_sync_proxy_rules_iptables_total",
    "kubeproxy_sync_proxy_rules_iptables_last",
    "kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
    "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
    "kubernetes_build_info",
    "kubernetes_feature_enabled",
    "kubernetes_healthcheck",
    "kubernetes_healthchecks_total",
    "process_*",
    "rest_client_requests_total",
    "rest_client_request_duration_seconds",
    "rest_client_*",
    "go_*",
];

/// Whether a name is this one, or of this family.
fn is_of(name: &str, of: &str) -> bool {
    of == name || of.strip_suffix('*').is_some_and(|family| name.starts_with(family))
}

#[test]
fn every_metric_has_its_type_labels_and_buckets_and_there_is_no_other() {
    let (node, api) = (Namespace::new("metrics").unwrap(), StandIn::start());
    let page = page_of_everything(&node, &api);
    let (found, expected) = (found(&page), expected(&mode()));
    for (name, shape) in &expected {
        assert_eq!(found.get(name), Some(shape), "{name}\n{page}");
    }
    let more: Vec<&String> = found.keys().filter(|name| !expected.contains_key(*name)).collect();
    assert!(more.is_empty(), "not recorded: {more:?}");
    assert_eq!(promtool(&page), (String::new(), Some(0)), "{page}");
}

#[test]
fn every_metric_of_kube_proxy_is_there_or_left_out_for_a_reason() {
    let all = recorded();
    let upstream: BTreeSet<&str> = all.iter().filter(|r| r.is_upstream).map(|r| r.name).collect();
    for name in OF_KUBE_PROXY {
        assert!(upstream.iter().any(|recorded| is_of(recorded, name)), "{name} is not answered");
    }
    for name in &upstream {
        assert!(OF_KUBE_PROXY.iter().any(|of| is_of(name, of)), "{name} is not kube-proxy's");
    }
    for record in &all {
        assert_ne!(record.shape.as_ref().err(), Some(&""), "{}: no reason", record.name);
        let here = all.iter().filter(|other| other.name == record.name).flat_map(|other| other.modes);
        assert_eq!(here.clone().collect::<BTreeSet<_>>().len(), here.count(), "{} twice", record.name);
        let is_family = |other: &&str| record.shape.is_err() && is_of(other, record.name);
        let there = all.iter().filter(|other| other.shape.is_ok()).map(|other| other.name);
        assert_eq!(there.filter(is_family).count(), 0, "{} is there and left out", record.name);
    }
}
