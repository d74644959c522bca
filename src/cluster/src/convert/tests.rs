use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;

fn read_service(spec: &Value) -> Converted<Service> {
    let object = json!({"metadata": {"name": "web", "namespace": "shop"}, "spec": spec});
    service(&serde_json::from_value(object).unwrap(), &mut Strings::default()).unwrap()
}

fn read_endpoints(kind: &str, addresses: &[&str]) -> (Vec<IpAddr>, Vec<String>) {
    let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    let object = json!({"metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": kind, "ports": [{"name": "http", "port": 8080}], "endpoints": endpoints});
    let (read, _) =
        endpoint_slice(&serde_json::from_value(object).unwrap(), &mut Strings::default()).unwrap();
    (read.object.endpoints.iter().map(|endpoint| endpoint.address).collect(), read.complaints)
}

#[test]
fn an_endpoint_of_another_family_than_its_slice_is_left_out_and_named() {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let (read, complaints) =
        read_endpoints("IPv4", &["10.244.1.2", "fd00::2", "::ffff:10.244.1.3", "banana"]);
    assert_eq!(read, [ip("10.244.1.2"), ip("10.244.1.3")]);
    assert_eq!(
        complaints,
        ["endpoints.addresses: \"fd00::2\" is not valid", "endpoints.addresses: \"banana\" is not valid"]
    );
    assert_eq!(read_endpoints("IPv6", &["fd00::2", "10.244.1.2"]).0, [ip("fd00::2")]);
    assert_eq!(read_endpoints("FQDN", &["a.example"]), (vec![], vec![]));
}

#[test]
fn what_makes_no_sense_is_named_and_the_rest_counts() {
    let read = read_service(&json!({
        "clusterIPs": ["::ffff:10.96.0.1"], "type": "Loadbalancer", "externalTrafficPolicy": "local",
        "externalIPs": ["203.0.113.1", "10.96.0.300"], "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}},
        "ports": [{"name": "none", "port": 0}, {"name": "ok", "port": 80}, {"name": "odd", "port": 81, "protocol": "ICMP"}],
    }));
    let ports: Vec<&str> = read.object.ports.iter().map(|port| &*port.name).collect();
    assert_eq!(ports, ["ok"]);
    assert_eq!(read.object.cluster_ips, [IpAddr::from([10, 96, 0, 1])].into());
    assert_eq!(read.object.external_ips.len(), 1);
    assert_eq!(
        (read.object.kind, read.object.external_policy),
        (ServiceKind::ClusterIp, TrafficPolicy::Cluster)
    );
    assert_eq!(
        read.object.affinity,
        Some(AFFINITY_SECONDS),
        "no time at all is no affinity that anybody wants"
    );
    let fields: Vec<&str> = read.complaints.iter().filter_map(|text| text.split(':').next()).collect();
    assert_eq!(fields, ["type", "externalIPs", "port", "protocol", "externalTrafficPolicy"]);
}

#[test]
fn annotations_are_taken_without_blanks_and_not_judged() {
    let object = |annotations: &Value| {
        json!({"metadata": {"name": "web", "labels": {"kubernetes.io/service-name": "web"}, "annotations": annotations},
            "spec": {"clusterIP": "10.96.0.1"}, "addressType": "IPv4", "endpoints": []})
    };
    let read = |annotations: Value| {
        let object = object(&annotations);
        let mut strings = Strings::default();
        let service = service(&serde_json::from_value(object.clone()).unwrap(), &mut strings).unwrap();
        let (slice, _) = endpoint_slice(&serde_json::from_value(object).unwrap(), &mut strings).unwrap();
        assert_eq!((service.complaints, slice.complaints), (vec![], vec![]));
        (service.object.scheduler, slice.object.weight)
    };
    let taken = |scheduler: &str, weight: &str| (Some(scheduler.into()), Some(weight.into()));
    let both = |scheduler: &str, weight: &str| json!({"kubeweir.io/scheduler": scheduler, "kubeweir.io/weight": weight});
    assert_eq!(read(both(" mh\n", " 50 ")), taken("mh", "50"));
    assert_eq!(read(both("No Such", "many")), taken("No Such", "many"));
    assert_eq!(read(both("", "  ")), (None, None));
    assert_eq!(read(json!({"kubeweir.io/schedule": "rr"})), (None, None));
    assert_eq!(read(Value::Null), (None, None));
}

#[test]
fn addresses_of_another_node_are_its_internal_and_external_ones() {
    let addresses = json!([
        {"type": "ExternalIP", "address": "203.0.113.5"}, {"type": "Hostname", "address": "node-2"},
        {"type": "InternalIP", "address": "192.0.2.5"}, {"type": "InternalIP", "address": "banana"},
    ]);
    let object =
        serde_json::from_value(json!({"metadata": {"name": "node-2"}, "status": {"addresses": addresses}}));
    let read = node_addresses(&object.unwrap());
    assert_eq!(*read.object, [IpAddr::from([192, 0, 2, 5]), IpAddr::from([203, 0, 113, 5])]);
    assert_eq!(read.complaints, ["status.addresses: \"banana\" is not valid"]);
    assert!(node_addresses(&core::Node::default()).object.is_empty());
}
