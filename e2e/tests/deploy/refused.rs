//! That objects are accepted says something: a server refuses them with mistakes in them.

use serde_json::{Value, json};

use crate::objects::{all, overlay, the};
use crate::server::Server;

const JSON: &str = "application/json";
const TYPO: &str = "kubeweirTypo";
/// Fields whose keys are free.
const FREE: [&str; 7] =
    ["labels", "annotations", "matchLabels", "nodeSelector", "data", "requests", "limits"];

/// Pointers to all objects that have fields of their own, with their path as a server writes it.
fn places(value: &Value, pointer: String, path: String, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter().filter(|(name, _)| !FREE.contains(&name.as_str())) {
                let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                places(value, format!("{pointer}/{name}"), at, found);
            }
            found.push((pointer, path));
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                places(item, format!("{pointer}/{number}"), format!("{path}[{number}]"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn a_field_that_nobody_knows_is_refused_wherever_it_is() {
    let server = Server::start();
    let mut tried = 0;
    for (from, objects) in all() {
        for object in objects {
            let mut found = Vec::new();
            places(&object, String::new(), String::new(), &mut found);
            for (pointer, path) in found {
                let mut wrong = object.clone();
                wrong.pointer_mut(&pointer).unwrap()[TYPO] = json!(true);
                let path = if path.is_empty() { TYPO.to_owned() } else { format!("{path}.{TYPO}") };
                let refusal = server.create(&wrong).expect_err(&format!("{from}: {path}"));
                let expected = format!("strict decoding error: unknown field \"{path}\"");
                assert!(refusal.starts_with("400 ") && refusal.ends_with(&expected), "{from}: {refusal}");
                tried += 1;
            }
        }
    }
    assert!(tried > 200, "{tried}");
}

#[test]
fn mistakes_are_refused_with_the_words_of_an_api_server() {
    let objects = overlay("nftables");
    let server = Server::start();
    let main = "/spec/template/spec/containers/0";
    let decoding = |kind: &str, what: &str| {
        format!("400 {kind} in version \"v1\" cannot be handled as a {kind}: {what}")
    };
    let invalid = |what: &str| format!("422 DaemonSet.apps \"kubeweir\" is invalid: {what}");
    let at = "spec.template.spec.containers[0]";
    for (kind, pointer, value, expected) in [
        ("DaemonSet", format!("{main}/args"), json!("-v=4"), decoding("DaemonSet", &format!("json: cannot unmarshal {at}.args: "))),
        ("ConfigMap", "/data/x".to_owned(), json!(1), decoding("ConfigMap", "json: cannot unmarshal data.x: ")),
        ("DaemonSet", "/spec/template/metadata/labels".to_owned(), json!({}), invalid("spec.template.metadata.labels: Invalid value: `selector`")),
        ("DaemonSet", format!("{main}/volumeMounts/0/name"), json!("lib-modules"), invalid(&format!("{at}.volumeMounts[0].name: Not found: \"lib-modules\""))),
        ("DaemonSet", format!("{main}/securityContext/privileged"), json!(true), invalid(&format!("{at}.securityContext: Invalid value: cannot set"))),
        ("ClusterRole", "/rules/0/verbs".to_owned(), json!([]), "422 ClusterRole.rbac.authorization.k8s.io \"kubeweir\" is invalid: rules[0].verbs: Required value".to_owned()),
        ("ServiceAccount", "/metadata/name".to_owned(), json!(null), "422 ".to_owned()),
    ] {
        let mut wrong = objects.iter().find(|object| object["kind"] == kind).unwrap().clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[field] = value;
        let refusal = server.create(&wrong).expect_err(&pointer);
        assert!(refusal.starts_with(&expected), "{refusal}\n{expected}");
    }
}

#[test]
fn changes_are_decoded_as_strictly_as_what_is_new() {
    let objects = overlay("nftables");
    let server = Server::start();
    let set = the(&objects, "DaemonSet");
    server.create(set).unwrap();
    let mut wrong = set.clone();
    wrong["spec"]["template"]["spec"]["containers"][0]["imagee"] = json!("x");
    let path = "unknown field \"spec.template.spec.containers[0].imagee\"";
    let change =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "kubeweir", "imagee": "x"}]}}}});
    for (method, text, content) in [
        ("PUT", &wrong, JSON),
        ("PATCH", &wrong, "application/apply-patch+yaml"),
        ("PATCH", &change, "application/strategic-merge-patch+json"),
    ] {
        let refusal = server.send(method, set, &text.to_string(), content).unwrap_err();
        assert!(refusal.contains(path), "{method} {content}: {refusal}");
    }
    let text =
        set.to_string().replacen("\"hostNetwork\":true", "\"hostNetwork\":true,\"hostNetwork\":true", 1);
    let refusal = server.send("PUT", set, &text, JSON).unwrap_err();
    assert!(
        refusal.contains("strict decoding error: duplicate field \"spec.template.spec.hostNetwork\""),
        "{refusal}"
    );
    assert_eq!(server.stand_in.objects("daemonsets")[0]["spec"], set["spec"], "nothing was stored");
    server.send("PUT", set, &set.to_string(), JSON).unwrap();
}
