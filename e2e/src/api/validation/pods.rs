//! Pods of a `DaemonSet`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{
    Container, EnvVar, PodSpec, Probe, SecurityContext, Toleration, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, json};

use super::{Complaints, REQUIRED, is_label, is_name};

const AT: &str = "spec.template.spec";
const DUPLICATE: &str = "Duplicate value";
/// What a variable can be told of its pod.
const FIELDS: [&str; 8] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.podIP",
    "status.podIPs",
];
const EFFECTS: [&str; 4] = ["", "NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn check(pod: &PodSpec, c: &mut Complaints) {
    let field = |name: &str| format!("{AT}.{name}");
    c.one_of(pod.restart_policy.as_deref(), &["Always"], &field("restartPolicy"));
    let known = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"];
    c.one_of(pod.dns_policy.as_deref(), &known, &field("dnsPolicy"));
    c.unless(
        pod.termination_grace_period_seconds >= Some(0) || pod.termination_grace_period_seconds.is_none(),
        &field("terminationGracePeriodSeconds"),
        "Invalid value",
    );
    let account = pod.service_account_name.as_deref().unwrap_or("default");
    c.unless(is_name(account), &field("serviceAccountName"), "Invalid value");
    let profile = pod.security_context.as_ref().and_then(|context| context.seccomp_profile.as_ref());
    let known = ["RuntimeDefault", "Unconfined", "Localhost"];
    c.one_of(
        profile.map(|profile| profile.type_.as_str()),
        &known,
        &field("securityContext.seccompProfile.type"),
    );
    for (number, toleration) in pod.tolerations.iter().flatten().enumerate() {
        self::toleration(toleration, &field(&format!("tolerations[{number}]")), c);
    }
    let volumes = volumes(pod.volumes.as_deref().unwrap_or_default(), c);
    c.unless(!pod.containers.is_empty(), &field("containers"), REQUIRED);
    let mut names = BTreeSet::new();
    let first = pod.init_containers.iter().flatten().enumerate();
    let first = first.map(|(number, container)| (format!("initContainers[{number}]"), container));
    let others = pod.containers.iter().enumerate();
    let others = others.map(|(number, container)| (format!("containers[{number}]"), container));
    for (name, container) in first.chain(others) {
        let is_new = names.insert(&container.name);
        c.unless(is_new, &field(&format!("{name}.name")), DUPLICATE);
        self::container(container, &field(&name), &volumes, c);
        let has_probe = container.liveness_probe.is_some() || container.readiness_probe.is_some();
        let fine = !name.starts_with("init") || !has_probe;
        c.unless(
            fine,
            &field(&name),
            "Forbidden: may not be set for init containers without restartPolicy=Always",
        );
    }
}

fn toleration(toleration: &Toleration, at: &str, c: &mut Complaints) {
    c.one_of(toleration.operator.as_deref(), &["", "Equal", "Exists"], &format!("{at}.operator"));
    c.one_of(toleration.effect.as_deref(), &EFFECTS, &format!("{at}.effect"));
    let exists = toleration.operator.as_deref() == Some("Exists");
    let key = toleration.key.as_deref().unwrap_or_default();
    c.unless(
        exists || !key.is_empty(),
        &format!("{at}.operator"),
        "operator must be Exists when `key` is empty",
    );
    let value = toleration.value.as_deref().unwrap_or_default();
    c.unless(
        !exists || value.is_empty(),
        &format!("{at}.operator"),
        "value must be empty when `operator` is 'Exists'",
    );
}

/// Names of volumes.
fn volumes<'a>(volumes: &'a [Volume], c: &mut Complaints) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (number, volume) in volumes.iter().enumerate() {
        let at = format!("{AT}.volumes[{number}]");
        c.unless(is_label(&volume.name), &format!("{at}.name"), "Invalid value");
        c.unless(names.insert(volume.name.as_str()), &format!("{at}.name"), DUPLICATE);
        let sources = json!(volume).as_object().map_or(0, |fields| fields.len() - 1);
        c.unless(sources >= 1, &at, "Required value: must specify a volume type");
        c.unless(sources <= 1, &at, "Forbidden: may not specify more than 1 volume type");
        let projected = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
        for (number, source) in projected.enumerate() {
            self::source(source, &format!("{at}.projected.sources[{number}]"), c);
        }
    }
    names
}

/// What one directory shows beside other things.
fn source(source: &VolumeProjection, at: &str, c: &mut Complaints) {
    let sources = json!(source).as_object().map_or(0, Map::len);
    c.unless(sources >= 1, at, "Required value: must specify a source");
    c.unless(sources <= 1, at, "Forbidden: may not specify more than 1 volume type per source");
    let name = source.config_map.as_ref().map(|map| map.name.as_str());
    c.unless(name != Some(""), &format!("{at}.configMap.name"), REQUIRED);
}

fn container(container: &Container, at: &str, volumes: &BTreeSet<&str>, c: &mut Complaints) {
    c.unless(is_label(&container.name), &format!("{at}.name"), "Invalid value");
    let image = container.image.as_deref().unwrap_or_default();
    c.unless(!image.is_empty() && image.trim() == image, &format!("{at}.image"), REQUIRED);
    let policy = container.image_pull_policy.as_deref();
    c.one_of(policy, &["Always", "IfNotPresent", "Never"], &format!("{at}.imagePullPolicy"));
    let mut paths = BTreeSet::new();
    for (number, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let at = format!("{at}.volumeMounts[{number}]");
        c.unless(
            volumes.contains(mount.name.as_str()),
            &format!("{at}.name"),
            &format!("Not found: {:?}", mount.name),
        );
        c.unless(!mount.mount_path.is_empty(), &format!("{at}.mountPath"), REQUIRED);
        c.unless(
            paths.insert(&mount.mount_path),
            &format!("{at}.mountPath"),
            "Invalid value: must be unique",
        );
    }
    for (number, variable) in container.env.iter().flatten().enumerate() {
        self::variable(variable, &format!("{at}.env[{number}]"), c);
    }
    if let Some(context) = &container.security_context {
        security(context, &format!("{at}.securityContext"), c);
    }
    for (name, probe, once) in [
        ("startupProbe", &container.startup_probe, true),
        ("livenessProbe", &container.liveness_probe, true),
        ("readinessProbe", &container.readiness_probe, false),
    ] {
        if let Some(probe) = probe {
            self::probe(probe, once, &format!("{at}.{name}"), c);
        }
    }
}

fn variable(variable: &EnvVar, at: &str, c: &mut Complaints) {
    c.unless(!variable.name.is_empty(), &format!("{at}.name"), REQUIRED);
    let field = variable.value_from.as_ref().and_then(|source| source.field_ref.as_ref());
    if let Some(field) = field {
        let path = format!("{at}.valueFrom.fieldRef.fieldPath");
        c.one_of(Some(field.field_path.as_str()), &FIELDS, &path);
    }
    let both = variable.value.is_some() && variable.value_from.is_some();
    c.unless(
        !both,
        &format!("{at}.valueFrom"),
        "Invalid value: may not be specified when `value` is not empty",
    );
}

fn security(context: &SecurityContext, at: &str, c: &mut Complaints) {
    let contradicts = context.privileged == Some(true) && context.allow_privilege_escalation == Some(false);
    c.unless(
        !contradicts,
        at,
        "Invalid value: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    );
    let added = context.capabilities.as_ref().and_then(|capabilities| capabilities.add.as_ref());
    let admin =
        added.is_some_and(|added| added.iter().any(|one| one == "CAP_SYS_ADMIN" || one == "SYS_ADMIN"));
    let contradicts = admin && context.allow_privilege_escalation == Some(false);
    c.unless(
        !contradicts,
        at,
        "Invalid value: cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
    );
}

fn probe(probe: &Probe, once: bool, at: &str, c: &mut Complaints) {
    let handlers =
        [probe.exec.is_some(), probe.grpc.is_some(), probe.http_get.is_some(), probe.tcp_socket.is_some()];
    let handlers = handlers.into_iter().filter(|is_given| *is_given).count();
    c.unless(handlers == 1, at, "Required value: must specify one handler type");
    let threshold = probe.success_threshold.unwrap_or(1);
    c.unless(!once || threshold == 1, &format!("{at}.successThreshold"), "Invalid value: must be 1");
    if let Some(get) = &probe.http_get {
        let fine = match &get.port {
            IntOrString::Int(port) => (1..=65_535).contains(port),
            IntOrString::String(name) => !name.is_empty(),
        };
        c.unless(fine, &format!("{at}.httpGet.port"), "Invalid value");
    }
    let times =
        [probe.period_seconds, probe.timeout_seconds, probe.failure_threshold, probe.initial_delay_seconds];
    c.unless(
        times.into_iter().flatten().all(|time| time >= 0),
        at,
        "Invalid value: must be greater than or equal to 0",
    );
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    fn pod() -> Value {
        json!({"tolerations": [{"operator": "Exists"}], "volumes": [{"name": "v", "configMap": {"name": "m"}}],
            "initContainers": [{"name": "i", "image": "i"}],
            "containers": [{"name": "c", "image": "i", "imagePullPolicy": "Always",
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                "securityContext": {"privileged": false, "allowPrivilegeEscalation": false},
                "livenessProbe": {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}}]})
    }

    fn complaints(pod: &Value) -> Vec<String> {
        let mut complaints = Complaints::default();
        check(&PodSpec::deserialize(pod).unwrap(), &mut complaints);
        complaints.0
    }

    #[test]
    fn mistakes_in_pods_are_named_by_their_path() {
        assert_eq!(complaints(&pod()), Vec::<String>::new());
        for (at, value, expected) in [
            ("/containers/0/name", json!("i"), "containers[0].name: Duplicate value"),
            ("/containers/0/image", json!(""), "containers[0].image: Required value"),
            (
                "/containers/0/imagePullPolicy",
                json!("Maybe"),
                "containers[0].imagePullPolicy: Unsupported value: \"Maybe\"",
            ),
            (
                "/containers/0/volumeMounts/0/name",
                json!("w"),
                "containers[0].volumeMounts[0].name: Not found: \"w\"",
            ),
            (
                "/containers/0/volumeMounts/0/mountPath",
                json!(""),
                "containers[0].volumeMounts[0].mountPath: Required value",
            ),
            ("/containers/0/env/0/name", json!(""), "containers[0].env[0].name: Required value"),
            (
                "/containers/0/env/0/valueFrom/fieldRef/fieldPath",
                json!("spec.node"),
                "containers[0].env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"spec.node\"",
            ),
            (
                "/containers/0/securityContext/privileged",
                json!(true),
                "containers[0].securityContext: Invalid value: cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
            ),
            (
                "/containers/0/livenessProbe/httpGet/port",
                json!(0),
                "containers[0].livenessProbe.httpGet.port: Invalid value",
            ),
            (
                "/containers/0/livenessProbe",
                json!({"successThreshold": 2, "tcpSocket": {"port": 1}}),
                "containers[0].livenessProbe.successThreshold: Invalid value: must be 1",
            ),
            (
                "/containers/0/livenessProbe",
                json!({}),
                "containers[0].livenessProbe: Required value: must specify one handler type",
            ),
            ("/volumes/0", json!({"name": "v"}), "volumes[0]: Required value: must specify a volume type"),
            (
                "/volumes/0",
                json!({"name": "v", "projected": {"sources": [{"configMap": {"name": "m"}}, {"configMap": {}}]}}),
                "volumes[0].projected.sources[1].configMap.name: Required value",
            ),
            (
                "/volumes/0",
                json!({"name": "v", "projected": {"sources": [{}]}}),
                "volumes[0].projected.sources[0]: Required value: must specify a source",
            ),
            (
                "/tolerations/0/operator",
                json!("Equal"),
                "tolerations[0].operator: operator must be Exists when `key` is empty",
            ),
        ] {
            let mut changed = pod();
            *changed.pointer_mut(at).unwrap_or_else(|| panic!("{at}")) = value;
            assert_eq!(complaints(&changed), [format!("{AT}.{expected}")], "{at}");
        }
    }
}
