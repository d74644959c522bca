//! What the kernel does not take, and what it does not choose.

use crate::objects::{service, slice, weighted_slice};
use crate::stage::Stage;
use crate::witness::run;

const WEB: &str = "clusterIP: 10.96.0.10, externalIPs: [203.0.113.7], type: NodePort, \
     ports: [{port: 80, nodePort: 30080}]";

#[test]
#[ignore = "runs in a guest kernel"]
fn what_the_kernel_does_not_take_is_told_and_harms_nothing_else() {
    let stage = Stage::with_endpoints(["10.244.1.2", "10.244.1.3"]);
    // The last address of the node's network is nobody's.
    let odd = service("odd", "", "clusterIP: 10.96.0.20, ports: [{port: 80}]")
        + &slice("odd", "port: 8080", &["192.0.2.255", "10.244.1.3"]);
    stage.put("odd", &odd);
    stage.put("web", &(service("web", "", WEB) + &slice("web", "port: 8080", &["10.244.1.2"])));
    let proxy = stage.start(&[]);
    assert_eq!(stage.reached("10.96.0.10:80"), "10.244.1.2");
    assert_eq!(stage.reached("10.96.0.20:80"), "10.244.1.3");
    let told = "-a -t 10.96.0.20:80 -r 192.0.2.255:8080 -m -w 1 for Service e2e/odd";
    proxy.wait("the refusal in the log", |proxy| proxy.log().contains(told).then_some(()));
    let metrics = proxy.wait("metrics", |proxy| proxy.page("/metrics")).1;
    assert!(metrics.contains("kubeweir_findings{reason=\"RefusedByKernel\"} 1"), "{metrics}");
    assert_eq!(proxy.wait("health", |proxy| proxy.health("/livez")).0, 200);
    // Later changes are programmed as ever.
    stage.put("web", &(service("web", "", WEB) + &slice("web", "port: 8080", &["10.244.1.3"])));
    proxy.wait("the change", |_| (stage.reached("10.96.0.10:80") == "10.244.1.3").then_some(()));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn under_sh_who_hashes_to_an_endpoint_without_weight_is_served_by_another() {
    let stage = Stage::with_endpoints(["10.244.1.2", "10.244.1.3"]);
    let none = "kubeweir.io/weight: '0'";
    let web = service("web", "kubeweir.io/scheduler: sh", "clusterIP: 10.96.0.10, ports: [{port: 80}]")
        + &slice("web", "port: 8080", &["10.244.1.2"])
        + &weighted_slice("closed", "web", "port: 8080", &["10.244.1.3"], none);
    stage.put("web", &web);
    let _proxy = stage.start(&[]);
    for last in 110..134 {
        let address = format!("192.0.2.{last}");
        stage.client.address("eth0", format!("{address}/24").parse().unwrap()).unwrap();
        // Each client in turn is the one whose address is taken by default.
        run(&stage.client, &format!("ip route replace 10.96.0.0/16 via 192.0.2.1 src {address}"));
        assert_eq!(stage.reached("10.96.0.10:80"), "10.244.1.2", "{address}");
    }
}
