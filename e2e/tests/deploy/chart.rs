//! The chart's values: what is required, what is the chart's own, and that each value has its place.

use kubeweir_daemon::configuration::Configuration;
use serde_json::{Value, json};

use crate::helm;
use crate::objects::{arguments, containers, mounted, the};

const EVERYTHING: &str = "ci/everything-values.yaml";

#[test]
fn without_an_address_of_the_api_server_nothing_is_rendered() {
    let refused = helm::render(&helm::defaults()).unwrap_err();
    assert!(refused.contains("apiServer.host"), "{refused}");
}

/// An empty one would be that of `config`, or none, and pods would be told another one than their annotation.
#[test]
fn a_mode_that_there_is_not_is_refused_by_its_name() {
    let empty = [(json!(""), ""), (Value::Null, "")];
    let unknown = [(json!("iptables"), "iptables"), (json!("IPVS"), "IPVS"), (json!(5), "5")];
    for (mode, shown) in empty.into_iter().chain(unknown) {
        for file in helm::values_files() {
            let mut values = helm::values(&file);
            values["mode"] = mode.clone();
            let refused = helm::render(&values).expect_err(&format!("{file}: {mode}"));
            let expected = format!("mode: {shown:?} is neither nftables nor ipvs");
            assert!(refused.contains(&expected), "{refused}\n{expected}");
        }
    }
}

#[test]
fn files_have_no_value_that_the_chart_does_not_know_and_one_has_another_for_each() {
    let defaults = helm::defaults();
    let known = defaults.as_object().unwrap();
    for file in helm::values_files() {
        for (name, value) in helm::values(&file).as_object().unwrap() {
            let default = known.get(name).unwrap_or_else(|| panic!("{file}: {name}"));
            if ["apiServer", "image"].contains(&name.as_str()) {
                let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(value), names(default), "{file}: {name}");
            }
        }
    }
    let everything = helm::values(EVERYTHING);
    for (name, default) in known {
        match default.as_object().filter(|_| ["apiServer", "image"].contains(&name.as_str())) {
            Some(fields) => {
                for (field, default) in fields {
                    assert_ne!(&everything[name][field], default, "{name}.{field}");
                }
            }
            None => assert_ne!(&everything[name], default, "{name}"),
        }
    }
}

#[test]
fn every_value_comes_where_it_belongs() {
    let (objects, values) = (helm::rendered(EVERYTHING), helm::values(EVERYTHING));
    let set = the(&objects, "DaemonSet");
    let (main, first) = containers(set);
    let template = &set["spec"]["template"];
    let pod = &template["spec"];
    for field in ["imagePullSecrets", "nodeSelector", "tolerations", "priorityClassName"] {
        assert_eq!(pod[field], values[field], "{field}");
    }
    assert_eq!(set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"], values["maxUnavailable"]);
    let mut annotations = template["metadata"]["annotations"].clone();
    let digest = annotations.as_object_mut().unwrap().remove("checksum/kubeconfig").unwrap();
    assert_eq!(digest.as_str().map(str::len), Some(64), "{digest}");
    assert_eq!(annotations, json!({"kubeweir.io/mode": "ipvs", "example.com/note": "colon: and # hash"}));
    assert_eq!(
        template["metadata"]["labels"],
        json!({"app.kubernetes.io/name": "kubeweir", "example.com/team": "network"})
    );
    for container in [main, first] {
        assert_eq!(container["image"], "registry.example:5000/mirror/kubeweir:v0.1.0-rc.1");
        assert_eq!(container["imagePullPolicy"], "Always");
        assert_eq!(container["resources"], values["resources"]);
        let variables = container["env"].as_array().unwrap();
        assert_eq!(variables[0]["name"], "NODE_NAME");
        assert_eq!(json!(variables[1..]), values["env"]);
        let given = arguments(container);
        assert!(
            given.contains(&"-v=4".to_owned()) && given.contains(&"--logging-format=json".to_owned()),
            "{given:?}"
        );
    }
    let access: Value = serde_saphyr::from_str(&mounted(&objects)["kubeconfig.conf"]).unwrap();
    assert_eq!(access["clusters"][0]["cluster"]["server"], "https://[2001:db8::1]:443");
}

#[test]
fn the_configuration_is_what_values_say_but_for_what_is_the_charts_own() {
    let text = &mounted(&helm::rendered(EVERYTHING))["config.conf"];
    let decoded = Configuration::from_text(text).unwrap();
    assert_eq!(decoded.passed_over(), None);
    let Configuration { mode, client_connection, cluster_cidr, ipvs, .. } = decoded.configuration;
    assert_eq!((mode.as_str(), ipvs.scheduler.as_str(), ipvs.strict_arp), ("ipvs", "lc", true));
    assert_eq!(client_connection.kubeconfig, "/var/lib/kube-proxy/kubeconfig.conf");
    assert_eq!((client_connection.qps, cluster_cidr.as_str()), (10.0, "10.244.0.0/16,fd00:244::/48"));
}
