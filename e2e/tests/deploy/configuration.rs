//! The configuration files that come with the objects, as the program reads them.

use std::fs;
use std::process::Command;

use clap::Parser;
use kubeweir_daemon::cli::{Cli, normalized};
use kubeweir_daemon::configuration::Configuration;
use kubeweir_e2e::proxy::program;
use serde_json::Value;
use tempfile::TempDir;

use crate::objects::{all, arguments, containers, mounted, the};

/// Where the configuration is mounted.
const MOUNTED: &str = "/var/lib/kube-proxy";

/// Arguments of a container, with its configuration elsewhere and on a node of this name.
pub(crate) fn filled_in(container: &Value, directory: &str) -> Vec<String> {
    let fill = |argument: String| argument.replace(MOUNTED, directory).replace("$(NODE_NAME)", "node-1");
    arguments(container).into_iter().map(fill).collect()
}

/// What may be said of files that are right.
const ADVICE: [&str; 2] = ["clusterCIDR is unset", "without an effect in mode ipvs: clientConnection.qps"];

#[test]
fn files_and_flags_are_taken_without_a_complaint() {
    let mut taken = 0;
    for (from, objects) in all() {
        let (main, first) = containers(the(&objects, "DaemonSet"));
        for container in [main, first] {
            assert_eq!(container["volumeMounts"][0]["mountPath"], MOUNTED, "{from}");
            let words = ["kubeweir".to_owned()].into_iter().chain(arguments(container));
            let cli = Cli::try_parse_from(normalized(words.map(Into::into)))
                .unwrap_or_else(|error| panic!("{from}: {error}"));
            assert_eq!(cli.flags.init_only, (container == first).then_some(true), "{from}");
        }
        if !objects.iter().any(|object| object["kind"] == "ConfigMap") {
            continue;
        }
        let (files, directory) = (mounted(&objects), TempDir::new().unwrap());
        for (name, text) in &files {
            fs::write(directory.path().join(name), text).unwrap();
        }
        let to = directory.path().join("effective");
        let mut command = Command::new(program());
        command.args(filled_in(main, directory.path().to_str().unwrap()));
        let output = command.arg(format!("--write-config-to={}", to.display())).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let (advice, said): (Vec<&str>, Vec<&str>) =
            said.lines().partition(|line| ADVICE.iter().any(|advice| line.contains(advice)));
        let written = format!("kubeweir: wrote the configuration to {}", to.display());
        assert_eq!((output.status.code(), said), (Some(0), vec![&*written]), "{from}: nothing else is said");
        assert_eq!(Configuration::from_text(&files["config.conf"]).unwrap().passed_over(), None, "{from}");
        let effective: Value = serde_saphyr::from_str(&fs::read_to_string(to).unwrap()).unwrap();
        // Which only who runs the cluster knows: those who leave it out are told.
        let expected = [effective["clusterCIDR"] == "", effective["clientConnection"]["qps"] == 10.0];
        assert_eq!(
            advice.len(),
            expected.into_iter().filter(|expected| *expected).count(),
            "{from}: {advice:?}"
        );
        assert_eq!(effective["hostnameOverride"], "node-1", "{from}");
        assert_eq!(
            effective["clientConnection"]["kubeconfig"],
            format!("{MOUNTED}/kubeconfig.conf"),
            "{from}"
        );
        let template = &the(&objects, "DaemonSet")["spec"]["template"];
        assert_eq!(effective["mode"], template["metadata"]["annotations"]["kubeweir.io/mode"], "{from}");
        taken += 1;
    }
    assert!(taken >= 5, "{taken}");
}
