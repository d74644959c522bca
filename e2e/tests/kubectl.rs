//! The stand-in, talked to by the real `kubectl`.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use kubeweir_e2e::api::StandIn;

const WEB: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  ports:
  - {name: http, port: 80, protocol: TCP}
  - {name: https, port: 443, protocol: TCP}
";

fn kubectl(kubeconfig: &Path, arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("kubectl");
    let home = kubeconfig.parent().unwrap();
    command.arg(format!("--kubeconfig={}", kubeconfig.display())).args(arguments).env("HOME", home);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| unreachable!("kubectl must be installed: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "kubectl {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Before 1.27 `kubectl` validates with documents that only a whole API server has.
fn validation(kubeconfig: &Path) -> &'static str {
    let version = kubectl(kubeconfig, &["version", "-o", "json"], "");
    let version: serde_json::Value = serde_json::from_str(&version).unwrap();
    let minor = version["clientVersion"]["minor"].as_str().unwrap().trim_end_matches('+');
    if minor.parse::<u32>().unwrap() < 27 { "--validate=false" } else { "--validate=true" }
}

#[test]
fn kubectl_gets_applies_and_deletes() {
    let stand_in = StandIn::start();
    let kubeconfig = stand_in.listen();
    let run = |arguments: &[&str], input: &str| kubectl(&kubeconfig, arguments, input);
    let validate = validation(&kubeconfig);
    let apply = |input: &str| run(&["apply", validate, "-f", "-"], input);
    assert!(apply(WEB).contains("service/web created"));
    assert!(apply(WEB).contains("service/web unchanged"));
    let fewer = WEB.replace(
        "  - {name: https, port: 443, protocol: TCP}\n",
        "  - {name: dns, port: 53, protocol: UDP}\n",
    );
    assert!(apply(&fewer).contains("service/web configured"));
    let ports = run(&["get", "svc", "web", "-n", "shop", "-o", "jsonpath={.spec.ports[*].port}"], "");
    assert_eq!(ports, "80 53");
    let list = run(&["get", "services", "-A"], "");
    assert!(list.contains("shop") && list.contains("web"), "{list}");
    assert!(run(&["get", "endpointslices", "-A", "-o", "name"], "").is_empty());
    assert!(run(&["delete", "service", "web", "-n", "shop", "--wait=false"], "").contains("deleted"));
    assert_eq!(run(&["get", "services", "-A", "-o", "name"], ""), "");
}
