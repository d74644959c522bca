//! A server takes every object, strictly decoded; and `kubectl` brings them there.

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::kubectl;

use crate::objects::{BASE, KUBEADM, Kustomizations, all, kustomizations, mounted, texts, the};
use crate::server::Server;

/// What kubeadm 1.33 installs (`cmd/kubeadm/app/phases/addons/proxy/manifests.go`), as it is stored.
const KUBEADM_INSTALLED: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-proxy, namespace: kube-system, labels: {k8s-app: kube-proxy}}
spec:
  selector: {matchLabels: {k8s-app: kube-proxy}}
  updateStrategy: {type: RollingUpdate}
  template:
    metadata: {labels: {k8s-app: kube-proxy}}
    spec:
      priorityClassName: system-node-critical
      containers:
      - name: kube-proxy
        image: registry.k8s.io/kube-proxy:v1.33.0
        imagePullPolicy: IfNotPresent
        command: [/usr/local/bin/kube-proxy, --config=/var/lib/kube-proxy/config.conf, --hostname-override=$(NODE_NAME)]
        securityContext: {privileged: true}
        volumeMounts:
        - {mountPath: /var/lib/kube-proxy, name: kube-proxy}
        - {mountPath: /run/xtables.lock, name: xtables-lock}
        - {mountPath: /lib/modules, name: lib-modules, readOnly: true}
        env: [{name: NODE_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
      hostNetwork: true
      serviceAccountName: kube-proxy
      volumes:
      - {name: kube-proxy, configMap: {name: kube-proxy}}
      - {name: xtables-lock, hostPath: {path: /run/xtables.lock, type: FileOrCreate}}
      - {name: lib-modules, hostPath: {path: /lib/modules}}
      tolerations: [{operator: Exists}]
      nodeSelector: {kubernetes.io/os: linux}
";

#[test]
fn every_object_is_accepted_by_a_server_that_decodes_strictly() {
    let base = Kustomizations::new().build(BASE);
    for (from, objects) in all().into_iter().chain([(BASE.to_owned(), base)]) {
        let server = Server::start();
        assert!(!objects.is_empty(), "{from}");
        for object in &objects {
            server.create(object).unwrap_or_else(|refusal| panic!("{from}, {}: {refusal}", object["kind"]));
        }
    }
}

#[test]
fn kubectl_applies_every_overlay_and_finds_nothing_to_do_the_second_time() {
    let (kustomizations, validate) = (Kustomizations::new(), kubectl::validation());
    for name in kustomizations_to_apply() {
        let stand_in = StandIn::start();
        let kubeconfig = stand_in.listen();
        let path = kustomizations.path(&name);
        let apply = |more: &[&str]| {
            let arguments = [&["apply", validate, "-k", &path], more].concat();
            kubectl::run(&kubeconfig, &arguments, "").unwrap_or_else(|said| panic!("{name}: {said}"))
        };
        let first = apply(&[]);
        assert_eq!(first.lines().count(), kustomizations.build(&name).len(), "{first}");
        assert!(first.lines().all(|line| line.ends_with(" created")), "{first}");
        let second = apply(&[]);
        assert!(second.lines().all(|line| line.ends_with(" unchanged")), "{second}");
        let third = apply(&["--server-side", "--force-conflicts"]);
        assert!(third.lines().all(|line| line.ends_with(" serverside-applied")), "{third}");
        assert_eq!(stand_in.objects("daemonsets").len(), 1);
    }
}

/// The base has no configuration, and so is not for itself.
fn kustomizations_to_apply() -> impl Iterator<Item = String> {
    kustomizations().into_iter().filter(|name| name != BASE)
}

#[test]
fn the_other_mode_replaces_pods() {
    let (kustomizations, validate) = (Kustomizations::new(), kubectl::validation());
    let stand_in = StandIn::start();
    let kubeconfig = stand_in.listen();
    let template = |mode: &str| {
        kubectl::run(&kubeconfig, &["apply", validate, "-k", &kustomizations.path(mode)], "").unwrap();
        stand_in.objects("daemonsets")[0]["spec"]["template"].clone()
    };
    let (nftables, ipvs) = (template("nftables"), template("ipvs"));
    assert_ne!(nftables, ipvs);
    let stored = [stand_in.objects("configmaps"), stand_in.objects("daemonsets")].concat();
    let config = &mounted(&stored)["config.conf"];
    assert!(config.contains("mode: ipvs"), "{config}");
    assert_eq!(template("nftables"), nftables);
}

/// As the overlay says: replaced, so that nothing is left of what it does not speak of.
#[test]
fn nothing_of_kubeadms_privileges_and_mounts_is_left() {
    let kustomizations = Kustomizations::new();
    let stand_in = StandIn::start();
    let kubeconfig = stand_in.listen();
    stand_in.apply(KUBEADM_INSTALLED);
    let replaced = ["replace", kubectl::validation(), "-k", &kustomizations.path(KUBEADM)];
    let said = kubectl::run(&kubeconfig, &replaced, "").unwrap();
    assert_eq!(said, "daemonset.apps/kube-proxy replaced\n");
    let stored = stand_in.objects("daemonsets");
    assert_eq!(the(&stored, "DaemonSet")["spec"], the(&kustomizations.build(KUBEADM), "DaemonSet")["spec"]);
    let installed = kubeweir_e2e::api::documents(KUBEADM_INSTALLED);
    let (before, after) = (&installed[0]["spec"]["template"]["spec"], &stored[0]["spec"]["template"]["spec"]);
    for field in ["priorityClassName", "hostNetwork", "serviceAccountName", "tolerations", "nodeSelector"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    let (before, after) = (&before["containers"][0], &after["containers"][0]);
    assert_eq!(texts(&before["command"]), texts(&after["command"]));
    for field in ["name", "imagePullPolicy", "env"] {
        assert_eq!(before[field], after[field], "{field}");
    }
    assert_eq!(before["volumeMounts"][0]["mountPath"], after["volumeMounts"][0]["mountPath"]);
    assert_eq!(after["volumeMounts"].as_array().map(Vec::len), Some(1));
}
