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

/// Objects by kind and name, without what may differ.
fn comparable(objects: Vec<Value>) -> BTreeMap<String, Value> {
    objects
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
            (format!("{} {}", object["kind"], object["metadata"]["name"]), object)
        })
        .collect()
}

/// What files say, whatever comments are in them and whatever they need not say.
fn meaning(data: &Value) -> Value {
    let text = |file: &str| data[file].as_str().unwrap();
    assert_eq!(data.as_object().map(serde_json::Map::len), Some(2));
    let configuration = Configuration::from_text(text("config.conf")).unwrap();
    assert_eq!(configuration.passed_over(), None);
    let access: Value = serde_saphyr::from_str(text("kubeconfig.conf")).unwrap();
    json!({"config.conf": format!("{:#?}", configuration.configuration), "kubeconfig.conf": access})
}

#[test]
fn the_chart_renders_the_objects_of_each_overlay() {
    for mode in ["nftables", "ipvs"] {
        let ours = comparable(overlay(mode));
        assert_eq!(ours.len(), 5);
        assert_eq!(comparable(helm::rendered(&format!("ci/{mode}-values.yaml"))), ours, "{mode}");
    }
}
