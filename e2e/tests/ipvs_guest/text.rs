//! What the daemon programs, as text.

use std::io::Write;
use std::process::{Command, Stdio};

use kubeweir_e2e::proxy::{common_flags, program};
use kubeweir_playground::Namespace;

use crate::objects::{service, slice, weighted_slice};
use crate::stage::Stage;
use crate::witness::run;

/// Runs a subcommand on the node. Returns what it prints and its exit code.
fn subcommand(stage: &Stage, name: &str) -> (String, Option<i32>) {
    let mut command = Command::new(program());
    command.arg(name).args(common_flags("ipvs", "node-1")).arg(stage.manifests());
    let output = stage.node.run(|| command.output()).unwrap().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// All virtual and real servers in the form in which they can be restored.
fn saved(place: &Namespace) -> Vec<String> {
    let mut lines: Vec<String> = run(place, "ipvsadm -Sn").lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn restore(place: &Namespace, text: &str) {
    let mut child = place.start(Command::new("ipvsadm").arg("-R").stdin(Stdio::piped())).unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
}

fn put_services(stage: &Stage) {
    let endpoints = ["10.244.1.2", "10.244.1.3"];
    let kinds = [
        service(
            "web",
            "",
            "type: NodePort, clusterIP: 10.96.0.10, clusterIPs: [10.96.0.10, 'fd00:96::10'], \
            externalIPs: [203.0.113.7], ports: [{port: 80, nodePort: 30080}]",
        ),
        slice("web", "port: 8080", &endpoints),
        slice("web", "port: 8080", &["fd00:244:1::2"]),
        service(
            "sticky",
            "kubeweir.io/scheduler: mh",
            "clusterIP: 10.96.0.11, sessionAffinity: ClientIP, ports: [{port: 80}]",
        ),
        weighted_slice("sticky", "sticky", "port: 8080", &endpoints, "kubeweir.io/weight: '7'"),
        service(
            "dns",
            "kubeweir.io/scheduler: sh",
            "clusterIP: 10.96.0.12, ports: [{port: 53, protocol: UDP}]",
        ),
        slice("dns", "port: 8080, protocol: UDP", &endpoints),
        service("signal", "", "clusterIP: 10.96.0.13, ports: [{port: 36412, protocol: SCTP}]"),
        slice("signal", "port: 8080, protocol: SCTP", &endpoints),
    ];
    stage.put("services", &kinds.concat());
}

#[test]
#[ignore = "runs in a guest kernel"]
fn rendered_text_restores_with_ipvsadm_and_diff_says_what_the_kernel_lacks() {
    let stage = Stage::new();
    put_services(&stage);
    let (rendered, code) = subcommand(&stage, "render");
    assert_eq!(code, Some(0));
    let part = |from: &str, to: &str| {
        let after = rendered.split_once(from).unwrap_or_else(|| panic!("{rendered}")).1;
        after.split_once(to).unwrap_or_else(|| panic!("{rendered}")).0.to_owned()
    };
    let empty = Namespace::new("empty").unwrap();
    restore(&empty, &part("--- ipvs\n", "--- addresses\n"));
    assert_eq!(subcommand(&stage, "diff").1, Some(1));
    let _proxy = stage.start(&[]);
    let programmed = saved(&stage.node);
    assert_eq!(saved(&empty), programmed);
    assert_eq!(programmed.iter().filter(|line| line.starts_with("-A ")).count(), 7, "{programmed:#?}");
    let shown = run(&stage.node, "ip address show dev kube-ipvs0");
    for address in part("--- addresses\n", "--- nftables\n").lines() {
        assert!(shown.contains(&format!(" {address} ")), "{address}: {shown}");
    }
    assert_eq!(subcommand(&stage, "diff"), (String::new(), Some(0)));
    run(&stage.node, "ipvsadm -d -t 10.96.0.10:80 -r 10.244.1.3:8080");
    let (said, code) = subcommand(&stage, "diff");
    assert_eq!(code, Some(1));
    assert!(
        said.contains("10.96.0.10:80") && said.contains("10.244.1.3:8080") && said.lines().count() == 1,
        "{said}"
    );
    // Asking changes nothing.
    assert_eq!(subcommand(&stage, "diff"), (said, Some(1)));
}
