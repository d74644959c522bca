//! What replaces pods and what does not: where the API server is, is read once; the configuration is followed.

use serde_json::{Value, json};

use crate::helm;
use crate::objects::{KUBEADM, Kustomizations, mounted, overlays, the};

/// That what pods find in this file, and in no other, is not what it was; and whether others take their place for it.
fn are_replaced(before: &[Value], after: &[Value], file: &str) -> bool {
    let (old, new) = (mounted(before), mounted(after));
    assert!(old.keys().eq(new.keys()));
    let changed: Vec<&String> = old.keys().filter(|name| old[*name] != new[*name]).collect();
    assert_eq!(changed, [file]);
    let template = |objects| the(objects, "DaemonSet")["spec"]["template"].clone();
    template(before) != template(after)
}

#[test]
fn another_address_of_the_api_server_replaces_pods_of_overlays_and_another_configuration_does_not() {
    for name in overlays().into_iter().filter(|name| name != KUBEADM) {
        let kustomizations = Kustomizations::new();
        let before = kustomizations.build(&name);
        kustomizations.edit(
            &format!("{name}/config.conf"),
            "clusterCIDR: \"\"",
            "clusterCIDR: 10.244.0.0/16",
        );
        let configured = kustomizations.build(&name);
        assert!(!are_replaced(&before, &configured, "config.conf"), "{name}");
        kustomizations.edit("base/kubeconfig.conf", "api-server.invalid", "api-server.example");
        let elsewhere = kustomizations.build(&name);
        assert!(are_replaced(&configured, &elsewhere, "kubeconfig.conf"), "{name}");
        kustomizations.edit("base/kubeconfig.conf", "api-server.example", "api-server.invalid");
        assert_eq!(kustomizations.build(&name), configured, "{name}");
    }
}

#[test]
fn another_address_of_the_api_server_replaces_pods_of_the_chart_and_another_configuration_does_not() {
    for file in helm::values_files() {
        let before = helm::rendered(&file);
        let with = |pointer: &str, value: Value| {
            let mut values = helm::values(&file);
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            values.pointer_mut(parent).unwrap()[field] = value;
            kubeweir_e2e::api::documents(&helm::render(&values).unwrap())
        };
        for (pointer, value) in [("/apiServer/host", json!("192.0.2.1")), ("/apiServer/port", json!(8443))] {
            assert!(are_replaced(&before, &with(pointer, value), "kubeconfig.conf"), "{file}: {pointer}");
        }
        let configured = with("/config/clusterCIDR", json!("10.9.0.0/16"));
        assert!(!are_replaced(&before, &configured, "config.conf"), "{file}");
    }
}
