//! Clusters by number: as many Services of as many endpoints as wanted.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Value, json};

/// Namespace of all generated objects.
pub const NAMESPACE: &str = "generated";
/// Objects in one file.
const PER_FILE: u32 = 1000;
const SERVICES: u32 = 0x0a60_0000;
const ENDPOINTS: u32 = 0x0ac8_0000;

/// A Service with one port.
pub fn service(number: u32) -> Value {
    let address = Ipv4Addr::from_bits(SERVICES + number).to_string();
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": format!("service-{number}"), "namespace": NAMESPACE},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}})
}

/// The address of an endpoint.
pub fn endpoint(number: u32, position: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(ENDPOINTS + number * 8 + position)
}

/// A Service's slice with endpoints at these positions.
pub fn slice(number: u32, positions: impl IntoIterator<Item = u32>) -> Value {
    let endpoints = positions.into_iter().map(|position| {
        json!({"addresses": [endpoint(number, position).to_string()], "nodeName": format!("node-{}", number % 100),
            "conditions": {"ready": true, "serving": true, "terminating": false}})
    });
    json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": format!("service-{number}-x"), "namespace": NAMESPACE,
            "labels": {"kubernetes.io/service-name": format!("service-{number}")}},
        "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": endpoints.collect::<Vec<_>>()})
}

/// Writes Services 0 to `count` with this many endpoints each. The slice of Service 0 has a file of its own.
pub fn write(directory: &Path, count: u32, endpoints: u32) {
    for first in (0..count).step_by(PER_FILE as usize) {
        let numbers = || first..count.min(first + PER_FILE);
        let services: Vec<Value> = numbers().map(service).collect();
        let slices: Vec<Value> = numbers().filter(|n| *n > 0).map(|n| slice(n, 0..endpoints)).collect();
        let list = |api_version: &str, kind: &str, items: Vec<Value>| {
            json!({"apiVersion": api_version, "kind": kind, "items": items}).to_string()
        };
        put(directory, &format!("services-{first}.json"), &list("v1", "ServiceList", services));
        put(
            directory,
            &format!("slices-{first}.json"),
            &list("discovery.k8s.io/v1", "EndpointSliceList", slices),
        );
    }
    write_slice(directory, 0..endpoints);
}

/// Writes the slice of Service 0 with endpoints at these positions.
pub fn write_slice(directory: &Path, positions: impl IntoIterator<Item = u32>) {
    put(directory, "changing.json", &slice(0, positions).to_string());
}

/// Puts a file in place in one step.
pub fn put(directory: &Path, name: &str, text: &str) {
    let hidden = directory.join(format!(".{name}"));
    fs::write(&hidden, text).unwrap();
    fs::rename(hidden, directory.join(name)).unwrap();
}
