//! What an API server demands of what brings a Service proxy into a cluster (`pkg/apis/{core,apps,rbac}/validation`), as far as
//! mistakes in manifests go. Other kinds are taken as they are: scenarios say about them what they like.

mod pods;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Subject};
use serde::Deserialize;
use serde_json::Value;

use super::resource::Resource;
use super::store::Refusal;

const REQUIRED: &str = "Required value";
const LONGEST_LABEL: usize = 63;
const LONGEST_NAME: usize = 253;

/// What is wrong, each with the path of a field.
#[derive(Debug, Default, PartialEq)]
struct Complaints(Vec<String>);

impl Complaints {
    fn unless(&mut self, fine: bool, field: &str, what: &str) {
        if !fine {
            self.0.push(format!("{field}: {what}"));
        }
    }

    fn one_of(&mut self, value: Option<&str>, known: &[&str], field: &str) {
        let fine = value.is_none_or(|value| known.contains(&value));
        self.unless(fine, field, &format!("Unsupported value: {:?}", value.unwrap_or_default()));
    }
}

/// Refuses an object that is new, or takes the place of one.
pub(super) fn check(object: &Value, resource: &Resource, before: Option<&Value>) -> Result<(), Refusal> {
    let mut complaints = Complaints::default();
    let c = &mut complaints;
    match resource.kind {
        "ClusterRole" => cluster_role(&typed(object), c),
        "ClusterRoleBinding" => cluster_role_binding(&typed(object), before.map(typed).as_ref(), c),
        "ConfigMap" => config_map(&typed(object), c),
        "DaemonSet" => daemon_set(&typed(object), before.map(typed).as_ref(), c),
        "ServiceAccount" => {}
        _ => return Ok(()),
    }
    metadata(object, resource, c);
    if complaints.0.is_empty() {
        return Ok(());
    }
    let dot = if resource.group.is_empty() { "" } else { "." };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let Complaints(complaints) = complaints;
    let message =
        format!("{}{dot}{} {name:?} is invalid: {}", resource.kind, resource.group, complaints.join(", "));
    Err(Refusal::new(422, "Invalid", message))
}

/// What was decoded before, so it can be.
fn typed<'a, T: Deserialize<'a>>(object: &'a Value) -> T {
    T::deserialize(object).unwrap_or_else(|error| panic!("{error}"))
}

fn metadata(object: &Value, resource: &Resource, c: &mut Complaints) {
    let metadata = &object["metadata"];
    let name = metadata["name"].as_str().unwrap_or_default();
    // Names of roles may be more than those of others.
    let fine = if resource.group.starts_with("rbac") { !name.contains(['/', '%']) } else { is_name(name) };
    c.unless(fine && !name.is_empty(), "metadata.name", "Invalid value");
    c.unless(!resource.namespaced || metadata["namespace"].is_string(), "metadata.namespace", REQUIRED);
    labels(&metadata["labels"], "metadata.labels", c);
    for (key, _) in metadata["annotations"].as_object().into_iter().flatten() {
        c.unless(is_qualified(key), "metadata.annotations", &format!("Invalid value: {key:?}"));
    }
}

fn labels(labels: &Value, field: &str, c: &mut Complaints) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let fine = is_qualified(key) && (value.is_empty() || is_word(value));
        c.unless(fine, field, &format!("Invalid value: \"{key}={value}\""));
    }
}

/// Lower case, digits, dashes and dots, none of the latter two at an end of a part.
fn is_name(name: &str) -> bool {
    name.len() <= LONGEST_NAME && name.split('.').all(is_label)
}

fn is_label(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !name.is_empty() && name.len() <= LONGEST_LABEL && name.chars().all(fits) && !at_ends(name, '-')
}

fn is_word(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let ends = ['-', '_', '.'].iter().any(|c| at_ends(word, *c));
    !word.is_empty() && word.len() <= LONGEST_LABEL && word.chars().all(fits) && !ends
}

fn at_ends(text: &str, c: char) -> bool {
    text.starts_with(c) || text.ends_with(c)
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, word)) => is_name(prefix) && is_word(word),
        None => is_word(key),
    }
}

fn config_map(map: &ConfigMap, c: &mut Complaints) {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    for key in map.data.iter().flatten().map(|(key, _)| key) {
        let fine = key.len() <= LONGEST_NAME && key.chars().all(fits) && !key.starts_with("..");
        c.unless(fine && !key.is_empty() && key != ".", &format!("data[{key}]"), "Invalid value");
    }
}

fn cluster_role(role: &ClusterRole, c: &mut Complaints) {
    for (number, rule) in role.rules.iter().flatten().enumerate() {
        let field = |name: &str| format!("rules[{number}].{name}");
        let is_given = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
        c.unless(!rule.verbs.is_empty(), &field("verbs"), REQUIRED);
        if !is_given(&rule.non_resource_urls) {
            c.unless(is_given(&rule.api_groups), &field("apiGroups"), REQUIRED);
            c.unless(is_given(&rule.resources), &field("resources"), REQUIRED);
        }
    }
}

fn cluster_role_binding(
    binding: &ClusterRoleBinding,
    before: Option<&ClusterRoleBinding>,
    c: &mut Complaints,
) {
    let role = &binding.role_ref;
    c.one_of(Some(&role.api_group), &["rbac.authorization.k8s.io"], "roleRef.apiGroup");
    c.one_of(Some(&role.kind), &["ClusterRole"], "roleRef.kind");
    c.unless(!role.name.is_empty(), "roleRef.name", REQUIRED);
    c.unless(
        before.is_none_or(|before| before.role_ref == *role),
        "roleRef",
        "Invalid value: cannot change roleRef",
    );
    for (number, subject) in binding.subjects.iter().flatten().enumerate() {
        self::subject(subject, &format!("subjects[{number}]"), c);
    }
}

fn subject(subject: &Subject, at: &str, c: &mut Complaints) {
    let field = |name: &str| format!("{at}.{name}");
    c.unless(!subject.name.is_empty(), &field("name"), REQUIRED);
    c.one_of(Some(&subject.kind), &["ServiceAccount", "User", "Group"], &field("kind"));
    if subject.kind == "ServiceAccount" {
        c.one_of(subject.api_group.as_deref(), &[""], &field("apiGroup"));
        let namespace = subject.namespace.as_deref().unwrap_or_default();
        c.unless(!namespace.is_empty(), &field("namespace"), REQUIRED);
    }
}

fn daemon_set(set: &DaemonSet, before: Option<&DaemonSet>, c: &mut Complaints) {
    let Some(spec) = &set.spec else { return c.unless(false, "spec", REQUIRED) };
    let selector = spec.selector.match_labels.clone().unwrap_or_default();
    let metadata = spec.template.metadata.clone().unwrap_or_default();
    let given = metadata.labels.unwrap_or_default();
    c.unless(!selector.is_empty(), "spec.selector", "Invalid value: empty selector is invalid for daemonset");
    let matches = selector.iter().all(|(key, value)| given.get(key) == Some(value));
    let why = "Invalid value: `selector` does not match template `labels`";
    c.unless(matches, "spec.template.metadata.labels", why);
    let same =
        before.and_then(|before| before.spec.as_ref()).is_none_or(|before| before.selector == spec.selector);
    c.unless(same, "spec.selector", "Invalid value: field is immutable");
    labels(&serde_json::json!(given), "spec.template.metadata.labels", c);
    if let Some(strategy) = &spec.update_strategy {
        c.one_of(strategy.type_.as_deref(), &["RollingUpdate", "OnDelete"], "spec.updateStrategy.type");
    }
    match &spec.template.spec {
        Some(pod) => pods::check(pod, c),
        None => c.unless(false, "spec.template.spec.containers", REQUIRED),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resource;
    use super::*;

    /// What is said of an object after a change of what a pointer names.
    fn said(plural: &str, object: &Value, at: &str, value: Value) -> Result<(), String> {
        let (mut changed, resource) = (object.clone(), resource::by_plural(plural));
        *changed.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value;
        check(&changed, &resource, Some(object)).map_err(|refusal| refusal.message)
    }

    #[test]
    fn roles_and_bindings_have_what_they_need_and_a_binding_keeps_its_role() {
        let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:a"},
            "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]});
        assert_eq!(said("clusterroles", &role, "/rules/0/verbs", json!(["get"])), Ok(()));
        for field in ["apiGroups", "resources", "verbs"] {
            let refused = said("clusterroles", &role, &format!("/rules/0/{field}"), json!([])).unwrap_err();
            assert!(refused.ends_with(&format!("rules[0].{field}: Required value")), "{refused}");
        }
        let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "a"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "a"},
            "subjects": [{"kind": "ServiceAccount", "name": "a", "namespace": "b"}]});
        assert_eq!(said("clusterrolebindings", &binding, "/subjects/0/name", json!("c")), Ok(()));
        for (at, value, expected) in [
            ("/roleRef/name", json!("b"), "roleRef: Invalid value: cannot change roleRef"),
            ("/roleRef/kind", json!("Role"), "roleRef.kind: Unsupported value: \"Role\""),
            ("/subjects/0/namespace", Value::Null, "subjects[0].namespace: Required value"),
            ("/subjects/0/kind", json!("Pod"), "subjects[0].kind: Unsupported value: \"Pod\""),
            ("/metadata/name", json!("a/b"), "metadata.name: Invalid value"),
        ] {
            let refused = said("clusterrolebindings", &binding, at, value).unwrap_err();
            assert!(refused.contains(expected), "{at}: {refused}");
        }
    }

    #[test]
    fn names_keys_and_labels_have_their_form() {
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a.conf": ""},
            "metadata": {"name": "a.b-c", "namespace": "d", "labels": {"x.y/Z": "A_1"}, "annotations": {"x/y": "any thing"}}});
        let bad = [
            ("/metadata/name", json!("A")),
            ("/metadata/name", json!("-a")),
            ("/metadata/namespace", Value::Null),
            ("/metadata/labels", json!({"x": "a b"})),
            ("/metadata/labels", json!({"x/y/z": "a"})),
            ("/metadata/annotations", json!({"-x": ""})),
            ("/data", json!({"a/b": ""})),
        ];
        assert_eq!(said("configmaps", &map, "/data", json!({})), Ok(()));
        for (at, value) in bad {
            let refused = said("configmaps", &map, at, value.clone()).expect_err(&format!("{at} {value}"));
            assert!(refused.starts_with("ConfigMap \""), "{refused}");
        }
    }

    #[test]
    fn a_daemon_set_selects_its_own_pods_for_good() {
        let set = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a", "namespace": "b"},
            "spec": {"selector": {"matchLabels": {"x": "1"}}, "updateStrategy": {"type": "OnDelete"},
                "template": {"metadata": {"labels": {"x": "1", "y": "1"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        assert_eq!(said("daemonsets", &set, "/spec/template/metadata/labels/y", json!("2")), Ok(()));
        for (at, value, expected) in [
            (
                "/spec/template/metadata/labels",
                json!({"y": "1"}),
                "`selector` does not match template `labels`",
            ),
            ("/spec/selector/matchLabels", json!({}), "empty selector"),
            (
                "/spec/selector/matchLabels",
                json!({"y": "1"}),
                "spec.selector: Invalid value: field is immutable",
            ),
            ("/spec/updateStrategy/type", json!("Never"), "spec.updateStrategy.type: Unsupported value"),
            ("/spec/template/spec/containers", json!([]), "spec.template.spec.containers: Required value"),
        ] {
            let refused = said("daemonsets", &set, at, value).unwrap_err();
            assert!(
                refused.starts_with("DaemonSet.apps \"a\" is invalid: ") && refused.contains(expected),
                "{refused}"
            );
        }
    }
}
