//! The stand-in, talked to by the real `kubectl`.

#![expect(clippy::unwrap_used, reason = "a test may end itself")]

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

#[test]
fn kubectl_gets_applies_and_deletes() {
    let stand_in = StandIn::start();
    let kubeconfig = stand_in.listen();
    let run = |arguments: &[&str], input: &str| kubectl(&kubeconfig, arguments, input);
    assert!(run(&["apply", "-f", "-"], WEB).contains("service/web created"));
    assert!(run(&["apply", "-f", "-"], WEB).contains("service/web unchanged"));
    let fewer = WEB.replace(
        "  - {name: https, port: 443, protocol: TCP}\n",
        "  - {name: dns, port: 53, protocol: UDP}\n",
    );
    assert!(run(&["apply", "-f", "-"], &fewer).contains("service/web configured"));
    let ports = run(&["get", "svc", "web", "-n", "shop", "-o", "jsonpath={.spec.ports[*].port}"], "");
    assert_eq!(ports, "80 53");
    let list = run(&["get", "services", "-A"], "");
    assert!(list.contains("shop") && list.contains("web"), "{list}");
    assert!(run(&["get", "endpointslices", "-A", "-o", "name"], "").is_empty());
    assert!(run(&["delete", "service", "web", "-n", "shop", "--wait=false"], "").contains("deleted"));
    assert_eq!(run(&["get", "services", "-A", "-o", "name"], ""), "");
}
