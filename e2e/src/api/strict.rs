//! What an API server says of objects that do not have the form of their kind: their way through the kind's own type shows it.
//!
//! Narrower than a real server in one thing: a quantity has to be a string, where YAML and JSON may also have a number.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Node, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kubeweir_cluster::tree::join;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::resource::Resource;
use super::store::Refusal;

/// Refuses an object with values of the wrong type, and with `duplicate`, which are paths of fields given more than once, any
/// of them and all fields that its kind does not have.
pub(super) fn check(
    object: &Value,
    resource: &Resource,
    duplicate: Option<&[String]>,
) -> Result<(), Refusal> {
    let Resource { kind, version, .. } = resource;
    let refused = |why: String| {
        let message = format!("{kind} in version {version:?} cannot be handled as a {kind}: {why}");
        Err(Refusal::new(400, "BadRequest", message))
    };
    let kept = match through_its_type(kind, object) {
        Ok(kept) => kept,
        Err(why) => return refused(why),
    };
    let Some(duplicate) = duplicate else { return Ok(()) };
    let mut unknown = Vec::new();
    lost(object, &kept, "", &mut unknown);
    let duplicate = duplicate.iter().map(|path| format!("duplicate field {path:?}"));
    let wrong: Vec<String> =
        duplicate.chain(unknown.iter().map(|path| format!("unknown field {path:?}"))).collect();
    if wrong.is_empty() { Ok(()) } else { refused(format!("strict decoding error: {}", wrong.join(", "))) }
}

fn through_its_type(kind: &str, object: &Value) -> Result<Value, String> {
    match kind {
        "ClusterRole" => through::<ClusterRole>(object),
        "ClusterRoleBinding" => through::<ClusterRoleBinding>(object),
        "ConfigMap" => through::<ConfigMap>(object),
        "DaemonSet" => through::<DaemonSet>(object),
        "EndpointSlice" => through::<EndpointSlice>(object),
        "Event" => through::<Event>(object),
        "Namespace" => through::<Namespace>(object),
        "Node" => through::<Node>(object),
        "Service" => through::<Service>(object),
        "ServiceAccount" => through::<ServiceAccount>(object),
        "ServiceCIDR" => through::<ServiceCIDR>(object),
        _ => Err("its type is not known here".to_owned()),
    }
}

fn through<T: DeserializeOwned + Serialize>(object: &Value) -> Result<Value, String> {
    let typed: T = serde_path_to_error::deserialize(object)
        .map_err(|error| format!("json: cannot unmarshal {}: {}", error.path(), error.inner()))?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

/// Paths of what did not come through. Null says nothing, so nothing is lost with it.
fn lost(given: &Value, kept: &Value, at: &str, found: &mut Vec<String>) {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                let path = join(at, name);
                match kept.get(name) {
                    Some(kept) => lost(value, kept, &path, found),
                    None => found.push(path),
                }
            }
        }
        (Value::Array(given), Value::Array(kept)) => {
            for (number, (given, kept)) in given.iter().zip(kept).enumerate() {
                lost(given, kept, &format!("{at}[{number}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::resource::{self, RESOURCES};
    use super::*;

    #[test]
    fn every_kind_has_a_type_and_an_empty_object_its_form() {
        for resource in &RESOURCES {
            let object = json!({"apiVersion": resource.api_version(), "kind": resource.kind, "metadata": {"name": "a"}});
            assert_eq!(check(&object, resource, Some(&[])), Ok(()), "{}", resource.kind);
        }
    }

    #[test]
    fn what_does_not_have_the_form_of_its_kind_is_refused_by_its_path() {
        let daemon_set = |container: Value| {
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "a", "labels": null},
                "spec": {"template": {"spec": {"containers": [container]}}}})
        };
        let resource = resource::by_plural("daemonsets");
        let said = |container, duplicate: Option<&[String]>| {
            check(&daemon_set(container), &resource, duplicate).map_err(|refusal| refusal.message)
        };
        let typo = json!({"imagee": "x", "securityContext": {"capabilities": {"droop": []}}});
        assert_eq!(said(typo.clone(), None), Ok(()), "unless asked to be strict");
        assert_eq!(
            said(typo, Some(&["spec.template".to_owned()])).unwrap_err(),
            "DaemonSet in version \"v1\" cannot be handled as a DaemonSet: strict decoding error: \
             duplicate field \"spec.template\", unknown field \"spec.template.spec.containers[0].imagee\", \
             unknown field \"spec.template.spec.containers[0].securityContext.capabilities.droop\""
        );
        for (wrong, path) in [
            (json!({"args": "-v"}), "containers[0].args"),
            (json!({"securityContext": {"privileged": "no"}}), "containers[0].securityContext.privileged"),
        ] {
            assert!(said(wrong, None).unwrap_err().contains(path), "{path}");
        }
    }
}
