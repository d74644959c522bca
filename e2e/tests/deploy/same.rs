//! The chart and the overlays bring the same objects, however they are written.

use std::collections::BTreeMap;

use kubeweir_daemon::configuration::Configuration;
use serde_json::{Value, json};

use crate::helm;
use crate::objects::overlay;

/// What says who installed an object, which is Helm's to say.
const OF_HELM: [&str; 4] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
];
/// The overlay has it on everything, since that is all that kustomize can do; only on pods it does something.
const MODE: &str = "kubeweir.io/mode";

/// In both it is another one for another kubeconfig: in overlays the name of what holds it, in the chart an annotation of pods.
const ACCESS: &str = "kubeweir-kubeconfig";
const DIGEST: &str = "checksum/kubeconfig";

/// Objects with names as they are without what depends on contents.
fn with_plain_names(objects: &[Value]) -> Vec<Value> {
    let names = objects.iter().filter_map(|object| object["metadata"]["name"].as_str());
    let names: Vec<&str> = names.filter(|name| name.starts_with(ACCESS)).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    serde_json::from_str(&json!(objects).to_string().replace(names[0], ACCESS)).unwrap()
}

/// Objects by kind and name, without what may differ.
fn comparable(objects: &[Value]) -> BTreeMap<String, Value> {
    with_plain_names(objects)
        .into_iter()
        .map(|mut object| {
            let metadata = object["metadata"].as_object_mut().unwrap();
            let labels = metadata.get_mut("labels").and_then(Value::as_object_mut).unwrap();
            labels.retain(|key, _| !OF_HELM.contains(&key.as_str()));
            if let Some(annotations) = metadata.remove("annotations") {
                assert_eq!(annotations.as_object().unwrap().keys().collect::<Vec<_>>(), [MODE]);
            }
            if object["kind"] == "ConfigMap" {
                object["data"] = meaning(&object["data"]);
            }
            if let Some(annotations) = object.pointer_mut("/spec/template/metadata/annotations") {
                annotations.as_object_mut().unwrap().remove(DIGEST);
            }
            (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
        })
        .collect()
}

/// What files say, whatever comments are in them and whatever they need not say.
fn meaning(data: &Value) -> Value {
    let files = data.as_object().unwrap();
    assert_eq!(files.len(), 1, "{files:?}");
    let (name, text) = files.iter().next().map(|(name, text)| (name, text.as_str().unwrap())).unwrap();
    if name == "kubeconfig.conf" {
        return serde_saphyr::from_str(text).unwrap();
    }
    assert_eq!(name, "config.conf");
    let configuration = Configuration::from_text(text).unwrap();
    assert_eq!(configuration.passed_over(), None);
    json!(format!("{:#?}", configuration.configuration))
}

#[test]
fn the_chart_renders_the_objects_of_each_overlay() {
    for mode in ["nftables", "ipvs"] {
        let ours = comparable(&overlay(mode));
        assert_eq!(ours.len(), 6);
        assert_eq!(comparable(&helm::rendered(&format!("ci/{mode}-values.yaml"))), ours, "{mode}");
    }
}
