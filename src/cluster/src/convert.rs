//! API objects as the planner's input.
//!
//! `Ok(None)` is an object that is none of our business (headless, served by another proxy, …). A field that makes no sense
//! is left out and named in [`Converted::complaints`]: one bad entry must not cost a Service its other ones.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use k8s_openapi::api::networking::v1 as networking;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kubeweir_plan::input::{
    Endpoint, EndpointSlice, Hints, Ingress, Node, Service, ServiceKind, ServicePort, SlicePort,
    TrafficPolicy,
};
use kubeweir_plan::{Family, ObjectName, Protocol};

use crate::event::Trigger;
use crate::sloppy;

/// Services with this label are served by somebody else.
pub const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Slices with this label belong to headless Services.
pub const HEADLESS: &str = "service.kubernetes.io/headless";
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// How a Service's targets are to be chosen, on a Service.
const SCHEDULER: &str = "kubeweir.io/scheduler";
/// The weight of all endpoints of an EndpointSlice.
const WEIGHT: &str = "kubeweir.io/weight";
const ZONE: &str = "topology.kubernetes.io/zone";
/// The cluster autoscaler's mark of a node that it is about to delete.
const SCALE_DOWN_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// The API server's default for `sessionAffinityConfig.clientIP.timeoutSeconds`.
const AFFINITY_SECONDS: u32 = 10_800;

/// A converted object and what was wrong with the original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted<T> {
    /// The object, without what was wrong.
    pub object: T,
    /// Fields that were left out, for the log.
    pub complaints: Vec<String>,
}

/// Collects complaints while an object is read.
#[derive(Default)]
struct Reader {
    complaints: Vec<String>,
}

impl Reader {
    fn sane<T>(&mut self, field: &str, text: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.complaints.push(format!("{field}: {text:?} is not valid"));
        }
        value
    }

    /// Complains, and is `false`.
    fn refuse(&mut self, field: &str, text: &str) -> bool {
        self.sane::<()>(field, text, None).is_some()
    }

    fn addresses<'a>(&mut self, field: &str, texts: impl IntoIterator<Item = &'a String>) -> Box<[IpAddr]> {
        let texts = texts.into_iter();
        texts.filter_map(|text| self.sane(field, text, sloppy::address(text))).collect()
    }

    fn prefixes<'a>(&mut self, field: &str, texts: impl IntoIterator<Item = &'a String>) -> Box<[IpNet]> {
        let texts = texts.into_iter().filter(|text| !text.trim().is_empty());
        texts.filter_map(|text| self.sane(field, text, sloppy::prefix(text))).collect()
    }

    /// First the internal ones, then the external ones.
    fn node_addresses(&mut self, node: &core::Node) -> Box<[IpAddr]> {
        let status = node.status.as_ref();
        let addresses = || status.and_then(|status| status.addresses.as_ref()).into_iter().flatten();
        let of_type = |kind: &'static str| addresses().filter(move |a| a.type_ == kind).map(|a| &a.address);
        self.addresses("status.addresses", of_type("InternalIP").chain(of_type("ExternalIP")))
    }

    fn port(&mut self, field: &str, number: i32) -> Option<u16> {
        self.sane(field, &number.to_string(), u16::try_from(number).ok())
    }

    fn protocol(&mut self, text: Option<&String>) -> Option<Protocol> {
        match text.map_or("TCP", String::as_str) {
            "TCP" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            other => self.sane("protocol", other, None),
        }
    }

    fn kind(&mut self, text: Option<&String>) -> ServiceKind {
        match text.map_or("ClusterIP", String::as_str) {
            "" | "ClusterIP" => ServiceKind::ClusterIp,
            "NodePort" => ServiceKind::NodePort,
            "LoadBalancer" => ServiceKind::LoadBalancer,
            "ExternalName" => ServiceKind::ExternalName,
            other => self.sane("type", other, None).unwrap_or(ServiceKind::ClusterIp),
        }
    }

    fn policy(&mut self, field: &str, text: Option<&String>) -> TrafficPolicy {
        match text.map_or("Cluster", String::as_str) {
            "" | "Cluster" => TrafficPolicy::Cluster,
            "Local" => TrafficPolicy::Local,
            other => self.sane(field, other, None).unwrap_or(TrafficPolicy::Cluster),
        }
    }

    fn finish<T>(self, object: T) -> Converted<T> {
        Converted { object, complaints: self.complaints }
    }
}

/// Namespace and name; an object in a file may leave the namespace out.
pub fn name(meta: &ObjectMeta, strings: &mut Strings) -> ObjectName {
    let namespace = strings.share(meta.namespace.as_deref().unwrap_or("default"));
    ObjectName { namespace, name: meta.name.as_deref().unwrap_or_default().into() }
}

/// A Service, unless it is headless, an alias, or another proxy's.
pub fn service(source: &core::Service, strings: &mut Strings) -> Option<Converted<Service>> {
    let spec = source.spec.as_ref()?;
    if has_label(&source.metadata, SERVICE_PROXY_NAME) || spec.cluster_ip.as_deref() == Some("None") {
        return None;
    }
    let mut reader = Reader::default();
    let cluster_ips: Vec<&String> = match spec.cluster_ips.as_deref() {
        Some(ips) if !ips.is_empty() => ips.iter().collect(),
        _ => spec.cluster_ip.iter().collect(),
    };
    let service = Service {
        name: name(&source.metadata, strings),
        created: source.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second()),
        kind: reader.kind(spec.type_.as_ref()),
        cluster_ips: reader
            .addresses("clusterIPs", cluster_ips.into_iter().filter(|ip| !ip.is_empty() && *ip != "None")),
        external_ips: reader.addresses("externalIPs", spec.external_ips.iter().flatten()),
        ingress: ingress(source.status.as_ref(), &mut reader),
        source_ranges: reader
            .prefixes("loadBalancerSourceRanges", spec.load_balancer_source_ranges.iter().flatten()),
        ports: spec
            .ports
            .iter()
            .flatten()
            .filter_map(|port| service_port(port, strings, &mut reader))
            .collect(),
        external_policy: reader.policy("externalTrafficPolicy", spec.external_traffic_policy.as_ref()),
        internal_policy: reader.policy("internalTrafficPolicy", spec.internal_traffic_policy.as_ref()),
        affinity: affinity(spec),
        health_check_node_port: spec
            .health_check_node_port
            .and_then(|port| reader.port("healthCheckNodePort", port))
            .unwrap_or(0),
        scheduler: annotation(&source.metadata, SCHEDULER, strings),
    };
    Some(reader.finish(service))
}

fn has_label(meta: &ObjectMeta, label: &str) -> bool {
    meta.labels.as_ref().is_some_and(|labels| labels.contains_key(label))
}

/// An annotation without blanks around it; an empty one is none.
fn annotation(meta: &ObjectMeta, key: &str, strings: &mut Strings) -> Option<Arc<str>> {
    let text = meta.annotations.as_ref()?.get(key)?.trim();
    (!text.is_empty()).then(|| strings.share(text))
}

fn affinity(spec: &core::ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let client_ip = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = client_ip.and_then(|config| config.timeout_seconds);
    let given = seconds.and_then(|seconds| u32::try_from(seconds).ok()).filter(|seconds| *seconds > 0);
    Some(given.unwrap_or(AFFINITY_SECONDS))
}

fn ingress(status: Option<&core::ServiceStatus>, reader: &mut Reader) -> Box<[Ingress]> {
    let balancer = status.and_then(|status| status.load_balancer.as_ref());
    let entries = balancer.and_then(|balancer| balancer.ingress.as_ref()).into_iter().flatten();
    let with_address = entries.filter_map(|entry| entry.ip.as_ref().map(|ip| (ip, entry.ip_mode.as_deref())));
    let read = |(ip, mode): (&String, Option<&str>)| {
        let address = reader.sane("status.loadBalancer.ingress", ip, sloppy::address(ip))?;
        Some(Ingress { address, delivers_address: mode != Some("Proxy") })
    };
    with_address.filter_map(read).collect()
}

fn service_port(port: &core::ServicePort, strings: &mut Strings, reader: &mut Reader) -> Option<ServicePort> {
    Some(ServicePort {
        name: strings.share(port.name.as_deref().unwrap_or_default()),
        protocol: reader.protocol(port.protocol.as_ref())?,
        port: reader.port("port", port.port).filter(|number| *number != 0 || reader.refuse("port", "0"))?,
        node_port: port.node_port.map_or(Some(0), |number| reader.port("nodePort", number))?,
    })
}

/// A slice with the time of the change it reports, unless it belongs to a headless Service or to none.
pub fn endpoint_slice(
    source: &discovery::EndpointSlice,
    strings: &mut Strings,
) -> Option<(Converted<EndpointSlice>, Option<Trigger>)> {
    let name = name(&source.metadata, strings);
    let owner = source.metadata.labels.as_ref()?.get(SERVICE_NAME).filter(|owner| !owner.is_empty())?;
    if has_label(&source.metadata, HEADLESS) {
        return None;
    }
    let mut reader = Reader::default();
    let slice = EndpointSlice {
        service: ObjectName { namespace: name.namespace.clone(), name: owner.as_str().into() },
        name,
        family: match source.address_type.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        },
        ports: source
            .ports
            .iter()
            .flatten()
            .filter_map(|port| slice_port(port, strings, &mut reader))
            .collect(),
        endpoints: endpoints(source, strings, &mut reader),
        weight: annotation(&source.metadata, WEIGHT, strings),
    };
    Some((reader.finish(slice), trigger(&source.metadata)))
}

/// A port without a number would mean all ports: no Service asks for that, so it is left out like one without a name.
fn slice_port(
    port: &discovery::EndpointPort,
    strings: &mut Strings,
    reader: &mut Reader,
) -> Option<SlicePort> {
    Some(SlicePort {
        name: strings.share(port.name.as_deref()?),
        protocol: reader.protocol(port.protocol.as_ref())?,
        port: reader.port("ports.port", port.port?)?,
    })
}

fn endpoints(
    source: &discovery::EndpointSlice,
    strings: &mut Strings,
    reader: &mut Reader,
) -> Box<[Endpoint]> {
    if source.address_type == "FQDN" {
        return [].into();
    }
    let is_of_slice = |address: &IpAddr| Family::of(*address).to_string() == source.address_type;
    let read = |endpoint: &discovery::Endpoint| {
        let text = endpoint.addresses.first()?;
        let address = sloppy::address(text).filter(is_of_slice);
        let address = reader.sane("endpoints.addresses", text, address)?;
        let conditions = endpoint.conditions.as_ref();
        Some(Endpoint {
            address,
            node: endpoint.node_name.as_deref().map(|node| strings.share(node)),
            ready: conditions.and_then(|c| c.ready).unwrap_or(true),
            serving: conditions.and_then(|c| c.serving).unwrap_or(true),
            terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
            hints: endpoint.hints.as_ref().and_then(|hints| self::hints(hints, strings)),
        })
    };
    source.endpoints.iter().filter_map(read).collect()
}

fn hints(source: &discovery::EndpointHints, strings: &mut Strings) -> Option<Arc<Hints>> {
    let hints = Hints {
        nodes: source.for_nodes.iter().flatten().map(|node| strings.share(&node.name)).collect(),
        zones: source.for_zones.iter().flatten().map(|zone| strings.share(&zone.name)).collect(),
    };
    (hints != Hints::default()).then(|| Arc::new(hints))
}

fn trigger(meta: &ObjectMeta) -> Option<Trigger> {
    let text = meta.annotations.as_ref()?.get(TRIGGER_TIME)?;
    let time: k8s_openapi::jiff::Timestamp = text.parse().ok()?;
    Some(Trigger(SystemTime::from(time)))
}

/// The Node.
pub fn node(source: &core::Node) -> Converted<Node> {
    let mut reader = Reader::default();
    let labels = source.metadata.labels.as_ref();
    let zone = labels.and_then(|labels| labels.get(ZONE)).filter(|zone| !zone.is_empty());
    let spec = source.spec.as_ref();
    let pod_cidrs = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    let node = Node {
        addresses: reader.node_addresses(source),
        zone: zone.map(|zone| zone.as_str().into()),
        pod_cidrs: reader.prefixes("spec.podCIDRs", pod_cidrs),
        leaving: is_leaving(source),
    };
    reader.finish(node)
}

/// The addresses of a Node, of which nothing else matters.
pub fn node_addresses(source: &core::Node) -> Converted<Arc<[IpAddr]>> {
    let mut reader = Reader::default();
    let addresses = reader.node_addresses(source);
    reader.finish(addresses.into())
}

fn is_leaving(node: &core::Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref()).into_iter().flatten();
    node.metadata.deletion_timestamp.is_some()
        || taints.into_iter().any(|taint| taint.key == SCALE_DOWN_TAINT)
}

/// The prefixes of a ServiceCIDR.
pub fn service_cidr(source: &networking::ServiceCIDR) -> Converted<Arc<[IpNet]>> {
    let mut reader = Reader::default();
    let spec = source.spec.as_ref();
    let cidrs = spec.and_then(|spec| spec.cidrs.as_ref()).into_iter().flatten();
    let prefixes = reader.prefixes("spec.cidrs", cidrs);
    reader.finish(prefixes.into())
}

/// Shares equal strings: a few node, zone and port names stand in a great many endpoints.
#[derive(Debug, Default)]
pub struct Strings(BTreeMap<Box<str>, Arc<str>>);

impl Strings {
    /// The shared form of a string.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.0.insert(text.into(), Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests;
