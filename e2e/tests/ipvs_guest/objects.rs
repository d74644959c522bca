//! Objects for manifests and for the API server stand-in.

/// The node that the daemon runs on.
pub(crate) const NODE: &str = "{apiVersion: v1, kind: Node, metadata: {name: node-1}, \
     status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}}";

/// A Service of the namespace `e2e`; annotations and spec in flow style, without the outer braces.
pub(crate) fn service(name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: e2e, annotations: {{{annotations}}}}}, \
         spec: {{{spec}}}}}\n---\n"
    )
}

/// A slice of a Service; the port as `port: 80, protocol: TCP`.
pub(crate) fn slice(service: &str, port: &str, addresses: &[&str]) -> String {
    weighted_slice(service, service, port, addresses, "")
}

/// One of several slices of a Service, with annotations.
pub(crate) fn weighted_slice(
    name: &str,
    service: &str,
    port: &str,
    addresses: &[&str],
    annotations: &str,
) -> String {
    let family = if addresses.iter().any(|address| address.contains(':')) { "IPv6" } else { "IPv4" };
    let endpoints: Vec<String> =
        addresses.iter().map(|address| format!("{{addresses: ['{address}']}}")).collect();
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {{name: {name}-{}, namespace: e2e, \
         labels: {{kubernetes.io/service-name: {service}}}, annotations: {{{annotations}}}}}, addressType: {family}, \
         ports: [{{name: '', {port}}}], endpoints: [{}]}}\n---\n",
        family.to_lowercase(),
        endpoints.join(", ")
    )
}
