//! Which scheduler a Service gets.

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::proxy::{Ours, Proxy};
use kubeweir_playground::Namespace;

use crate::objects::service;
use crate::stage::Stage;
use crate::witness::{listed, output};

/// What the kernels of guests have. `twos` is younger than some of them.
const SCHEDULERS: [&str; 13] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "mh", "fo", "ovf"];

fn asking_for(number: usize, scheduler: &str) -> String {
    let annotation =
        if scheduler.is_empty() { String::new() } else { format!("kubeweir.io/scheduler: {scheduler}") };
    service(
        &format!("s{number}"),
        &annotation,
        &format!("clusterIP: 10.96.0.{number}, ports: [{{port: 80}}]"),
    )
}

fn heading(number: usize, scheduler: &str) -> String {
    let flags = match scheduler {
        "mh" => " (mh-fallback,mh-port)",
        "sh" => " (sh-fallback)",
        _ => "",
    };
    format!("TCP 10.96.0.{number}:80 {scheduler}{flags}")
}

#[test]
#[ignore = "runs in a guest kernel"]
fn a_service_gets_the_scheduler_that_it_asks_for_and_others_the_default() {
    let stage = Stage::new();
    let asked: Vec<&str> = SCHEDULERS.into_iter().chain([""]).collect();
    let put = |asked: &[&str]| {
        let services: String = (1..).zip(asked).map(|(number, name)| asking_for(number, name)).collect();
        stage.put("services", &services);
    };
    let expected = |got: &[&str]| {
        let mut lines: Vec<String> = (1..).zip(got).map(|(number, name)| heading(number, name)).collect();
        lines.sort();
        lines
    };
    put(&asked);
    let proxy = stage.start(&["--ipvs-scheduler=sed"]);
    let mut got = asked.clone();
    got[13] = "sed";
    assert_eq!(stage.listed(), expected(&got));
    // Others in place of those, and none.
    let mut asked = asked;
    asked.rotate_left(1);
    put(&asked);
    got.rotate_left(1);
    proxy.wait("other schedulers", |_| (stage.listed() == expected(&got)).then_some(()));
}

#[test]
#[ignore = "runs in a guest kernel"]
fn an_unknown_scheduler_is_the_default_and_is_told_in_the_log_as_a_metric_and_as_an_event() {
    let (node, api) = (Namespace::new("node").unwrap(), StandIn::start());
    api.apply(&asking_for(1, "fastest"));
    api.apply(&asking_for(2, "lc"));
    let flags =
        vec![format!("--kubeconfig={}", api.listen_in(&node).display()), "--ipvs-scheduler=wlc".to_owned()];
    let proxy = Proxy::ours(&node, &Ours { flags, name: "node-1" });
    proxy.wait_for_log("synced everything");
    assert_eq!(listed(&node), ["TCP 10.96.0.1:80 wlc", "TCP 10.96.0.2:80 lc"]);
    let said = "scheduler \"fastest\" ignored: not one of rr, wrr, lc";
    assert!(
        proxy
            .log()
            .lines()
            .any(|line| line.contains("WARN") && line.contains("e2e/s1") && line.contains(said))
    );
    let standing = |proxy: &Proxy| proxy.count("kubeweir_findings{reason=\"UnknownScheduler\"}");
    assert_eq!(standing(&proxy), 1);
    let event = proxy.wait("an Event", |_| {
        api.objects("events").into_iter().find(|event| event["reason"] == "UnknownScheduler")
    });
    assert_eq!((&event["regarding"]["name"], &event["type"]), (&"s1".into(), &"Warning".into()));
    assert!(event["note"].as_str().unwrap().starts_with(said), "{event}");
    api.apply(&asking_for(1, "sh"));
    proxy.wait("another scheduler", |_| listed(&node).contains(&heading(1, "sh")).then_some(()));
    proxy.wait("the finding goes", |proxy| (standing(proxy) == 0).then_some(()));
}

/// One that the daemon knows and the kernel may lack: `twos` came with Linux 5.11, and not with every package since.
#[test]
#[ignore = "runs in a guest kernel"]
fn a_scheduler_that_the_kernel_lacks_is_the_default_and_is_told() {
    let stage = Stage::new();
    stage.put("services", &asking_for(1, "twos"));
    let has_it = output(&stage.node, "modprobe --show-depends --quiet ip_vs_twos").status.success();
    let proxy = stage.start(&["--ipvs-scheduler=lc"]);
    assert_eq!(stage.listed(), [heading(1, if has_it { "twos" } else { "lc" })]);
    let said = "this kernel has no scheduler twos: lc takes its place";
    assert_eq!(proxy.log().contains(said), !has_it);
    assert_eq!(proxy.count("kubeweir_findings{reason=\"SchedulerUnavailable\"}"), u64::from(!has_it));
}
