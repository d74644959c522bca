//! What virtual servers count, and what the table beside them does, is told by Service.

use kubeweir_e2e::http;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_playground::{Answer, Transport};

use crate::objects::{service, slice};
use crate::stage::Stage;

const A: &str = "10.244.1.2";
const READ_AT: &str = "kubeweir_service_counters_read_timestamp_seconds ";

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Connections and packets in, as read after now.
fn counted(proxy: &Proxy, name: &str) -> (u64, u64) {
    let since = now();
    proxy.wait("a reading", |proxy| {
        let (_, page) = proxy.page("/metrics")?;
        let at: f64 = page.lines().find_map(|line| line.strip_prefix(READ_AT))?.parse().ok()?;
        let sample = |metric: &str, more: &str| {
            let labels = format!("namespace=\"e2e\",name=\"{name}\",port=\"\",protocol=\"TCP\"{more}");
            http::count(&page, &format!("kubeweir_service_{metric}_total{{{labels}}}"))
        };
        (at > since + 0.01).then_some(())?;
        Some((sample("connections", "")?, sample("packets", ",direction=\"in\"")?))
    })
}

#[test]
#[ignore = "runs in a guest kernel"]
fn virtual_servers_and_the_table_count_each_connection_once_and_a_restart_keeps_it() {
    let stage = Stage::with_endpoints([A]);
    stage.put(
        "web",
        &service("web", "", "type: NodePort, clusterIP: 10.96.0.10, ports: [{port: 80, nodePort: 30080}]"),
    );
    stage.put("endpoints", &slice("web", "port: 8080", &[A]));
    let ask = |to: &str, times: u32| {
        for _ in 0..times {
            let answer = stage.ask(Transport::Tcp, to);
            assert!(matches!(answer, Answer::Reached { .. }), "{to}: {answer}");
        }
    };
    let proxy = stage.start(&["--service-counters"]);
    ask("10.96.0.10:80", 3);
    ask("192.0.2.1:30080", 2);
    let before = counted(&proxy, "web");
    assert!(before.0 == 5 && before.1 >= 4 * 5, "{before:?}");
    drop(proxy);
    let proxy = stage.start(&["--service-counters"]);
    assert_eq!(counted(&proxy, "web"), before);
    ask("10.96.0.10:80", 1);
    assert_eq!(counted(&proxy, "web").0, 6);
}
