//! A pod as the objects describe it, against a server that grants what their roles grant: all works, nothing is refused, and
//! nothing is granted that is not used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kubeweir_cluster::{Store, api};
use kubeweir_e2e::api::{Right, StandIn, documents};
use kubeweir_e2e::proxy::{HEALTH, Proxy};
use kubeweir_e2e::rivals::RIVALS;
use kubeweir_e2e::volume::Volume;
use kubeweir_playground::Namespace;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::configuration::filled_in;
use crate::objects::{KUBEADM, containers, mounted, overlay, overlays, the};

/// The file that pods follow.
const CONFIG: &str = "config.conf";
/// An endpoint of the older Service, and the prefix that both are in.
const BESIDE: &str = "
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/16]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: old-1, namespace: shop, labels: {kubernetes.io/service-name: old}}
addressType: IPv4
ports: [{name: '', port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.7]}]
";

/// What kubeadm's pods may (`plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`), and their binding.
const KUBEADM_ROLES: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: 'system:node-proxier'}
rules:
- {apiGroups: [''], resources: [services, endpoints], verbs: [list, watch]}
- {apiGroups: [''], resources: [nodes], verbs: [get, list, watch]}
- {apiGroups: ['', events.k8s.io], resources: [events], verbs: [create, patch, update]}
- {apiGroups: [networking.k8s.io], resources: [servicecidrs], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: 'kubeadm:node-proxier'}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:node-proxier'}
subjects: [{kind: ServiceAccount, name: kube-proxy, namespace: kube-system}]
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: kube-proxy, namespace: kube-system}
";

/// As kubeadm writes it, but for fields that say nothing.
const KUBEADM_CONFIG: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: |
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    bindAddress: 0.0.0.0
    clientConnection:
      kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
      qps: 0
    clusterCIDR: 10.244.0.0/16
    conntrack:
      maxPerCore: null
      min: null
    kind: KubeProxyConfiguration
    mode: ''
  kubeconfig.conf: |
    apiVersion: v1
    kind: Config
    clusters:
    - cluster:
        certificate-authority: /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
        server: https://api-server.invalid:6443
      name: default
    contexts:
    - context:
        cluster: default
        namespace: default
        user: default
      name: default
    current-context: default
    users:
    - name: default
      user:
        tokenFile: /var/run/secrets/kubernetes.io/serviceaccount/token
";

/// All that pods of these objects get to see, and what is beside them in a cluster that kubeadm made.
fn installed(name: &str) -> Vec<Value> {
    let mut objects = overlay(name);
    if name == KUBEADM {
        objects.extend(documents(KUBEADM_ROLES));
        objects.extend(documents(KUBEADM_CONFIG));
    }
    objects
}

/// The role that the pods' account is bound to.
fn role(objects: &[Value]) -> &Value {
    let (set, account) = (the(objects, "DaemonSet"), the(objects, "ServiceAccount"));
    let binding = the(objects, "ClusterRoleBinding");
    assert_eq!(set["spec"]["template"]["spec"]["serviceAccountName"], account["metadata"]["name"]);
    assert_eq!(set["metadata"]["namespace"], account["metadata"]["namespace"]);
    let subject = json!([{"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": account["metadata"]["namespace"]}]);
    assert_eq!(binding["subjects"], subject);
    let role = the(objects, "ClusterRole");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
    role
}

/// A pod's first and main container, with the server in a namespace.
struct Pod {
    stand_in: StandIn,
    node: Namespace,
    proxy: Proxy,
    mounted: Volume,
}

impl Pod {
    fn start(objects: &[Value], role: &Value, prepare: impl FnOnce(&StandIn)) -> Pod {
        let (stand_in, node) = (StandIn::start(), Namespace::new("node").unwrap());
        stand_in.apply(RIVALS);
        stand_in.apply(BESIDE);
        stand_in.authorize_by(std::slice::from_ref(role));
        prepare(&stand_in);
        let access = fs::read_to_string(stand_in.listen_in(&node)).unwrap();
        let mounted = mount(&mounted(objects), &serde_saphyr::from_str(&access).unwrap());
        let (main, first) = containers(the(objects, "DaemonSet"));
        let fill = |container| filled_in(container, mounted.path().to_str().unwrap());
        let proxy = Proxy::in_pod(&node, &fill(first), &fill(main));
        Pod { stand_in, node, proxy, mounted }
    }

    fn works(&self) {
        self.works_by(&["nft", "list", "ruleset"]);
    }

    /// By what another program sees in the kernel.
    fn works_by(&self, witness: &[&str]) {
        self.proxy.wait_for_log("synced everything");
        let mut command = Command::new(witness[0]);
        let listed = self.node.run(|| command.args(&witness[1..]).output()).unwrap().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(listed.contains("10.96.0.77") && listed.contains("10.244.1.7"), "{listed}");
    }

    /// That it starts, and what it finds of a Service.
    fn tells(&self) {
        let posted = "kubeweir_events_total{outcome=\"posted\"}";
        self.proxy.wait("two Events", |proxy| (proxy.count(posted) == 2).then_some(()));
        let mut kinds: Vec<_> =
            self.stand_in.objects("events").iter().map(|event| event["regarding"]["kind"].clone()).collect();
        kinds.sort_by_key(Value::to_string);
        assert_eq!(kinds, ["Node", "Service"]);
    }
}

/// A volume with these files, with the places of what is in a pod, and of the server, as they are here.
fn mount(files: &BTreeMap<String, String>, access: &Value) -> Volume {
    let volume = Volume::empty(CONFIG);
    let cluster = &access["clusters"][0]["cluster"];
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let account = "/var/run/secrets/kubernetes.io/serviceaccount";
    let kubeconfig = files["kubeconfig.conf"]
        .replace("https://api-server.invalid:6443", &text(&cluster["server"]))
        .replace(&format!("{account}/ca.crt"), &text(&cluster["certificate-authority"]))
        .replace(&format!("{account}/token"), &text(&access["users"][0]["user"]["tokenFile"]));
    let config = files[CONFIG].replace("/var/lib/kube-proxy", volume.path().to_str().unwrap());
    let volume = volume.with("kubeconfig.conf", &kubeconfig);
    volume.put(&config);
    volume
}

fn status(proxy: &Proxy, container: &Value, probe: &str) -> u16 {
    let get = &container[probe]["httpGet"];
    assert!(HEALTH.ends_with(&format!(":{}", get["port"])), "{get}");
    proxy.wait(probe, |proxy| proxy.health(get["path"].as_str().unwrap())).0
}

#[test]
fn the_role_is_enough_and_no_part_of_it_is_too_much() {
    let objects = installed("nftables");
    let role = role(&objects);
    let mut used = BTreeSet::new();
    for streams in [true, false] {
        let prepare = |stand_in: &StandIn| {
            if !streams {
                stand_in.refuse_streaming();
            }
        };
        let pod = Pod::start(&objects, role, prepare);
        pod.works();
        pod.tells();
        assert_eq!(pod.stand_in.denied(), BTreeSet::new());
        let log = pod.proxy.log();
        for never in ["watch failed", "leniently", "without an effect", "ERROR"] {
            assert!(!log.contains(never), "{never}: {log}");
        }
        used.extend(pod.stand_in.granted());
    }
    assert_eq!(used, Right::all_of(role));
}

#[test]
fn the_role_of_kube_proxy_is_enough_in_its_place() {
    let objects = installed(KUBEADM);
    for streams in [true, false] {
        let prepare = |stand_in: &StandIn| {
            if !streams {
                stand_in.refuse_streaming();
            }
        };
        let pod = Pod::start(&objects, role(&objects), prepare);
        pod.works();
        pod.tells();
        assert_eq!(pod.stand_in.denied(), BTreeSet::new());
    }
}

/// A pod of IPVS mode, where there is IPVS.
#[test]
#[ignore = "runs in a guest kernel"]
fn the_role_is_enough_in_ipvs_mode_too() {
    let objects = installed("ipvs");
    let pod = Pod::start(&objects, role(&objects), |_| {});
    pod.works_by(&["ipvsadm", "-ln"]);
    pod.tells();
    assert_eq!(pod.stand_in.denied(), BTreeSet::new());
}

/// Without a kernel that has IPVS: of what is asked for nothing else depends on the mode.
#[test]
fn the_role_is_enough_to_watch_all_nodes_as_ipvs_mode_does() {
    let objects = installed("ipvs");
    let stand_in = StandIn::start();
    stand_in.apply(RIVALS);
    stand_in.apply(BESIDE);
    stand_in.authorize_by(std::slice::from_ref(role(&objects)));
    let kubeconfig = stand_in.listen();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let file = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.unwrap();
        let (sender, mut events) = mpsc::channel(64);
        let options = api::Options { node: "node-1".into(), all_nodes: true };
        tokio::spawn(api::watch(kube::Client::try_from(config).unwrap(), options, sender));
        let mut store = Store::default();
        while store.snapshot().is_none() {
            let next = tokio::time::timeout(kubeweir_e2e::proxy::PATIENCE, events.recv());
            store.apply(next.await.expect("all lists come").unwrap());
        }
    });
    assert_eq!(stand_in.denied(), BTreeSet::new());
}

#[test]
fn all_overlays_with_roles_of_their_own_have_the_same() {
    let own: Vec<String> = overlays().into_iter().filter(|name| name != KUBEADM).collect();
    let rules = |name: &String| role(&overlay(name))["rules"].clone();
    assert!(own.len() >= 2);
    assert!(own.iter().all(|name| rules(name) == rules(&own[0])), "{own:?}");
}

/// That the other tests can fail: a role that lacks something is noticed, and one that has too much.
#[test]
fn what_a_role_lacks_is_denied_and_what_it_has_too_much_is_not_used() {
    let objects = installed("nftables");
    let mut lacking = role(&objects).clone();
    lacking["rules"].as_array_mut().unwrap().retain(|rule| rule["resources"] != json!(["events"]));
    lacking["rules"][0]["verbs"] = json!(["get", "list", "watch"]);
    let pod = Pod::start(&objects, &lacking, |_| {});
    pod.works();
    let failed = "kubeweir_events_total{outcome=\"failed\"}";
    pod.proxy.wait("an Event is refused", |proxy| (proxy.count(failed) >= 1).then_some(()));
    let right = |group: &str, resource: &str, verb: &str| Right {
        group: group.to_owned(),
        resource: resource.to_owned(),
        verb: verb.to_owned(),
    };
    assert_eq!(pod.stand_in.denied(), [right("events.k8s.io", "events", "create")].into());
    let unused: BTreeSet<Right> =
        Right::all_of(&lacking).difference(&pod.stand_in.granted()).cloned().collect();
    assert!(
        unused.contains(&right("", "nodes", "get")) && unused.contains(&right("", "services", "get")),
        "{unused:?}"
    );
}

/// In the one directory where the kubeconfig is too, whichever `ConfigMaps` they are from.
#[test]
fn the_configuration_that_pods_mount_is_followed() {
    for name in ["nftables", KUBEADM] {
        let objects = installed(name);
        let pod = Pod::start(&objects, role(&objects), |_| {});
        pod.works();
        let text = fs::read_to_string(pod.mounted.file()).unwrap();
        let prefixes = text.lines().find(|line| line.starts_with("clusterCIDR: ")).unwrap();
        pod.mounted.put(&text.replace(prefixes, "clusterCIDR: 10.9.0.0/16"));
        pod.proxy.wait_for_log("the configuration changed and is in force");
    }
}

/// As long as the API server says nothing, nobody is to start the pod anew, and nobody to send it anything.
#[test]
fn probes_ask_what_is_served_and_none_but_readiness_waits_for_the_api_server() {
    for name in ["nftables", KUBEADM] {
        let objects = installed(name);
        let (main, _) = containers(the(&objects, "DaemonSet"));
        let pod = Pod::start(&objects, role(&objects), |stand_in| {
            stand_in.refuse_streaming();
            stand_in.hold("endpointslices");
        });
        let statuses = || {
            ["startupProbe", "livenessProbe", "readinessProbe"].map(|probe| status(&pod.proxy, main, probe))
        };
        assert_eq!(statuses(), [200, 200, 503]);
        pod.stand_in.release();
        pod.works();
        pod.proxy.wait("readiness", |proxy| (status(proxy, main, "readinessProbe") == 200).then_some(()));
        assert_eq!(statuses(), [200; 3]);
        assert_eq!(pod.proxy.page("/metrics").unwrap().0, 200, "as kube-proxy, for this node only");
    }
}
