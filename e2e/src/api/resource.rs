//! The kinds that the stand-in knows.

/// A kind of objects and where it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Name in objects.
    pub kind: &'static str,
    /// Whether objects live in namespaces.
    pub namespaced: bool,
    /// Abbreviations for `kubectl`.
    pub short: &'static [&'static str],
}

const fn core(
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    short: &'static [&'static str],
) -> Resource {
    Resource { group: "", version: "v1", plural, kind, namespaced, short }
}

const fn grouped(
    group: &'static str,
    plural: &'static str,
    kind: &'static str,
    namespaced: bool,
    short: &'static [&'static str],
) -> Resource {
    Resource { group, version: "v1", plural, kind, namespaced, short }
}

const RBAC: &str = "rbac.authorization.k8s.io";

/// All of them: first what a Service proxy deals with, then what brings one into a cluster.
pub const RESOURCES: [Resource; 11] = [
    core("namespaces", "Namespace", false, &["ns"]),
    core("nodes", "Node", false, &["no"]),
    core("services", "Service", true, &["svc"]),
    grouped("discovery.k8s.io", "endpointslices", "EndpointSlice", true, &[]),
    grouped("events.k8s.io", "events", "Event", true, &["ev"]),
    grouped("networking.k8s.io", "servicecidrs", "ServiceCIDR", false, &[]),
    core("serviceaccounts", "ServiceAccount", true, &["sa"]),
    core("configmaps", "ConfigMap", true, &["cm"]),
    grouped("apps", "daemonsets", "DaemonSet", true, &["ds"]),
    grouped(RBAC, "clusterroles", "ClusterRole", false, &[]),
    grouped(RBAC, "clusterrolebindings", "ClusterRoleBinding", false, &[]),
];

impl Resource {
    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Path of its group and version.
    pub fn root(&self) -> String {
        let prefix = if self.group.is_empty() { "/api" } else { "/apis" };
        format!("{prefix}/{}", self.api_version())
    }
}

/// The kind with this name in paths.
pub(super) fn by_plural(plural: &str) -> Resource {
    *RESOURCES
        .iter()
        .find(|resource| resource.plural == plural)
        .unwrap_or_else(|| panic!("unknown: {plural}"))
}

/// The kind of an object.
pub(super) fn of(api_version: &str, kind: &str) -> Option<Resource> {
    RESOURCES.into_iter().find(|resource| resource.api_version() == api_version && resource.kind == kind)
}

/// The kind that a path is about: the path's root, then what follows it.
pub(super) fn in_path(path: &str) -> Option<(Resource, Vec<&str>)> {
    for resource in RESOURCES {
        let Some(rest) = path.strip_prefix(&resource.root()) else { continue };
        let parts: Vec<&str> = rest.split('/').filter(|part| !part.is_empty()).collect();
        let is_its = match parts.as_slice() {
            ["namespaces", _, plural, ..] => resource.namespaced && *plural == resource.plural,
            [plural, ..] => *plural == resource.plural,
            [] => false,
        };
        if is_its {
            return Some((resource, parts));
        }
    }
    None
}
