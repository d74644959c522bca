//! What pods may do and how they are looked after, in every overlay and however the chart is rendered.

use serde_json::{Value, json};

use crate::helm;
use crate::objects::{
    BASE, KUBEADM, Kustomizations, all, arguments, containers, overlay, overlays, sources, the,
};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Every `DaemonSet` that operators may get.
fn sets() -> Vec<(String, Value)> {
    all().into_iter().map(|(from, objects)| (from, the(&objects, "DaemonSet").clone())).collect()
}

#[test]
fn the_main_container_has_one_capability_and_nothing_else() {
    for (from, set) in sets() {
        let (main, _) = containers(&set);
        let expected = json!({
            "privileged": false,
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        });
        assert_eq!(main["securityContext"], expected, "{from}");
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"], json!({"seccompProfile": {"type": "RuntimeDefault"}}), "{from}");
        for of_the_host in ["hostPID", "hostIPC", "shareProcessNamespace"] {
            assert_eq!(pod[of_the_host], Value::Null, "{from}: {of_the_host}");
        }
        // Nothing of the host's files, and nothing to write to.
        let volumes = pod["volumes"].as_array().unwrap();
        let shown = || volumes.iter().flat_map(sources);
        assert!(shown().all(|source| source["configMap"].is_object()), "{from}: {volumes:?}");
    }
}

#[test]
fn only_the_first_container_is_privileged_and_prepares_what_the_main_one_is_told() {
    for (from, set) in sets() {
        let (main, first) = containers(&set);
        let expected = json!({"privileged": true, "readOnlyRootFilesystem": true});
        assert_eq!(first["securityContext"], expected, "{from}");
        let mut prepares = arguments(main);
        prepares.push("--init-only".to_owned());
        assert_eq!(arguments(first), prepares, "{from}");
        assert_eq!(first["command"][0], main["command"][0], "{from}");
        for same in ["image", "imagePullPolicy", "env", "volumeMounts"] {
            assert!(first[same] == main[same] && !main[same].is_null(), "{from}: {same}");
        }
    }
}

#[test]
fn pods_are_on_every_node_and_in_its_network_and_are_the_last_to_go() {
    for (from, set) in sets() {
        let (main, first) = containers(&set);
        let spec = &set["spec"];
        let pod = &spec["template"]["spec"];
        assert_eq!(pod["hostNetwork"], true, "{from}");
        assert_eq!(pod["nodeSelector"]["kubernetes.io/os"], "linux", "{from}");
        assert_eq!(spec["updateStrategy"]["type"], "RollingUpdate", "{from}");
        if !from.contains("everything") {
            assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]), "{from}");
            assert_eq!(pod["priorityClassName"], "system-node-critical", "{from}");
            assert_eq!(main["image"], format!("ghcr.io/kubeweir/kubeweir:v{VERSION}"), "{from}");
        }
        for container in [main, first] {
            let resources = &container["resources"];
            assert!(
                resources["requests"]["cpu"].is_string() && resources["requests"]["memory"].is_string(),
                "{from}"
            );
            assert_eq!(
                resources["limits"]["cpu"],
                Value::Null,
                "{from}: a busy node needs its Service proxy most"
            );
        }
        // A port would be taken from the whole node, for nobody who needs its name.
        assert_eq!(main["ports"], Value::Null, "{from}");
    }
}

/// Lines that overlays have as comments, for who builds the image.
#[test]
fn another_image_is_named_in_the_overlay_for_both_containers() {
    let kustomizations = Kustomizations::new();
    for name in overlays() {
        let file = format!("{name}/kustomization.yaml");
        for line in ["images:", "- name: ghcr.io", "  newName: ", "  newTag: "] {
            kustomizations.edit(&file, &format!("\n# {line}"), &format!("\n{line}"));
        }
        let objects = kustomizations.build(&name);
        let (main, first) = containers(the(&objects, "DaemonSet"));
        let image = format!("registry.example/kubeweir:v{VERSION}");
        assert_eq!((&main["image"], &first["image"]), (&json!(image), &json!(image)), "{name}");
    }
}

#[test]
fn the_chart_has_the_version_of_the_program() {
    let metadata = helm::metadata();
    assert_eq!((&metadata["version"], &metadata["appVersion"]), (&json!(VERSION), &json!(VERSION)));
}

/// In kubeadm's place, only what has to be: its names, its way to start the program, and its DNS.
#[test]
fn in_place_of_kubeadms_own_pods_are_those_of_the_base() {
    let (ours, theirs) = (overlay(BASE), overlay(KUBEADM));
    assert_eq!(theirs.len(), 1, "everything else is kubeadm's");
    let mut set = the(&theirs, "DaemonSet").clone();
    let (labels, name) = (json!({"app.kubernetes.io/name": "kubeweir"}), json!("kubeweir"));
    assert_eq!(set["metadata"]["labels"], json!({"k8s-app": "kube-proxy"}));
    for at in ["/metadata/labels", "/spec/selector/matchLabels", "/spec/template/metadata/labels"] {
        *set.pointer_mut(at).unwrap() = labels.clone();
    }
    set["metadata"]["name"] = name.clone();
    let pod = &mut set["spec"]["template"]["spec"];
    pod["dnsPolicy"] = json!("Default");
    pod["serviceAccountName"] = name.clone();
    assert_eq!(pod["volumes"], json!([{"name": "kube-proxy", "configMap": {"name": "kube-proxy"}}]));
    pod["volumes"] = the(&ours, "DaemonSet")["spec"]["template"]["spec"]["volumes"].clone();
    pod["containers"][0]["name"] = name;
    for list in ["containers", "initContainers"] {
        let container = &mut pod[list][0];
        container["volumeMounts"][0]["name"] = json!("config");
        let command = container.as_object_mut().unwrap().remove("command").unwrap();
        assert_eq!(command[0], "/usr/local/bin/kube-proxy");
        container["args"] = command.as_array().unwrap()[1..].into();
    }
    assert_eq!(&set, the(&ours, "DaemonSet"));
}
