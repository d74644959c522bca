//! The stand-in, talked to by the real `kubectl`.

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::kubectl;

const WEB: &str = "apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  clusterIP: 10.96.0.10
  ports:
  - {name: http, port: 80, protocol: TCP}
  - {name: https, port: 443, protocol: TCP}
";

#[test]
fn kubectl_gets_applies_and_deletes() {
    let stand_in = StandIn::start();
    let kubeconfig = stand_in.listen();
    let run = |arguments: &[&str], input: &str| kubectl::run(&kubeconfig, arguments, input).unwrap();
    let validate = kubectl::validation();
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
