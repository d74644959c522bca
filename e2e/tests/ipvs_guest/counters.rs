//! What virtual servers count, and what the table beside them does, is told by Service.

use kubeweir_e2e::http;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_playground::{Answer, Transport};

use crate::objects::{service, slice};
use crate::stage::Stage;

const A: &str = "10.244.1.2";
/// Waits until so many connections have been counted, and returns packets in. The kernel adds up what virtual servers count every
/// two seconds.
fn packets_of(proxy: &Proxy, name: &str, connections: u64) -> u64 {
    proxy.wait(&format!("{connections} connections"), |proxy| {
        let (_, page) = proxy.page("/metrics")?;
        let sample = |metric: &str, more: &str| {
            let labels = format!("namespace=\"e2e\",name=\"{name}\",port=\"\",protocol=\"TCP\"{more}");
            http::count(&page, &format!("kubeweir_service_{metric}_total{{{labels}}}"))
        };
        assert!(sample("connections", "")? <= connections, "{page}");
        (sample("connections", "")? == connections).then(|| sample("packets", ",direction=\"in\""))?
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
    let before = packets_of(&proxy, "web", 5);
    assert!(before >= 4 * 4, "{before}: the last connection may not have been added up");
    drop(proxy);
    let proxy = stage.start(&["--service-counters"]);
    assert!(packets_of(&proxy, "web", 5) >= before);
    ask("10.96.0.10:80", 1);
    packets_of(&proxy, "web", 6);
}
