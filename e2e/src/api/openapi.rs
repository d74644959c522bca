//! Discovery, and just enough `OpenAPI` for `kubectl` to leave validation to the server.

use serde_json::{Value, json};

use super::resource::{RESOURCES, Resource};

/// The answer to a discovery path, if it is one.
pub(super) fn page(path: &str) -> Option<Value> {
    match path.trim_end_matches('/') {
        "/version" => Some(json!({"major": "1", "minor": "33", "gitVersion": "v1.33.0-stand-in"})),
        "/api" => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        "/apis" => Some(groups()),
        "/openapi/v3" => Some(index()),
        other => resource_list(other).or_else(|| document(other)),
    }
}

fn roots() -> Vec<(String, Vec<&'static Resource>)> {
    let mut roots: Vec<(String, Vec<&Resource>)> = Vec::new();
    for resource in &RESOURCES {
        match roots.iter_mut().find(|(root, _)| *root == resource.root()) {
            Some((_, list)) => list.push(resource),
            None => roots.push((resource.root(), vec![resource])),
        }
    }
    roots
}

fn groups() -> Value {
    let groups = roots().into_iter().filter(|(_, list)| !list[0].group.is_empty()).map(|(_, list)| {
        let version = json!({"groupVersion": list[0].api_version(), "version": list[0].version});
        json!({"name": list[0].group, "versions": [version.clone()], "preferredVersion": version})
    });
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups.collect::<Vec<_>>()})
}

fn resource_list(path: &str) -> Option<Value> {
    let (_, list) = roots().into_iter().find(|(root, _)| root == path)?;
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let resources = list.iter().map(|resource| {
        json!({"name": resource.plural, "singularName": resource.kind.to_lowercase(), "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": verbs, "shortNames": resource.short})
    });
    let resources: Vec<Value> = resources.collect();
    Some(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": list[0].api_version(), "resources": resources}),
    )
}

fn index() -> Value {
    let paths = roots().into_iter().map(|(root, _)| {
        let name = root.trim_start_matches('/').to_owned();
        let url = json!({"serverRelativeURL": format!("/openapi/v3{root}")});
        (name, url)
    });
    json!({"paths": paths.collect::<serde_json::Map<_, _>>()})
}

/// Says of each kind that patches can be validated by the server.
fn document(path: &str) -> Option<Value> {
    let (_, list) = roots().into_iter().find(|(root, _)| path == format!("/openapi/v3{root}"))?;
    let paths = list.iter().map(|resource| {
        let kind = json!({"group": resource.group, "version": resource.version, "kind": resource.kind});
        let validation = json!({"name": "fieldValidation", "in": "query", "schema": {"type": "string"}});
        let operation = json!({"parameters": [validation], "responses": {}, "x-kubernetes-group-version-kind": kind,
            "x-kubernetes-action": "patch"});
        let scope = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
        (format!("{}{scope}/{}/{{name}}", resource.root(), resource.plural), json!({"patch": operation}))
    });
    let paths: serde_json::Map<_, _> = paths.collect();
    Some(json!({"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.33.0"}, "paths": paths}))
}
