//! What was counted, as text for Prometheus.

use std::fmt::Write;
use std::time::SystemTime;

use kubeweir_plan::PortKey;

use super::thread::Reading;
use super::{BYTES, CONNECTIONS, PACKETS, READ_AT};

/// How `OpenMetrics` ends a page; the older format just ends.
const END: &str = "# EOF\n";

/// Appends what was read to a page of metrics, in the page's own format.
pub fn append(page: &mut String, reading: &Reading) {
    let is_open = page.ends_with(END);
    if is_open {
        page.truncate(page.len() - END.len());
    }
    // Writing to a String cannot fail.
    let _ = families(page, reading, is_open);
    if is_open {
        page.push_str(END);
    }
}

fn families(page: &mut String, reading: &Reading, is_open: bool) -> std::fmt::Result {
    let at = reading.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    writeln!(page, "# HELP {READ_AT} When the counters of Services were read from the kernel.")?;
    writeln!(page, "# TYPE {READ_AT} gauge\n{READ_AT} {at:.3}")?;
    let head = |name: &str, help: &str| {
        // In `OpenMetrics` a counter's samples end with more than its name.
        let family = if is_open { name.to_owned() } else { format!("{name}_total") };
        format!("# HELP {family} {help}\n# TYPE {family} counter\n")
    };
    page.push_str(&head(CONNECTIONS, "Connections translated, by port of a Service."));
    for (key, count) in &*reading.totals {
        writeln!(page, "{CONNECTIONS}_total{{{}}} {}", labels(key), count.connections)?;
    }
    page.push_str(&head(PACKETS, "Packets of translated connections, from (in) and to (out) clients."));
    for (key, count) in &*reading.totals {
        let labels = labels(key);
        writeln!(page, "{PACKETS}_total{{{labels},direction=\"in\"}} {}", count.inward.packets)?;
        writeln!(page, "{PACKETS}_total{{{labels},direction=\"out\"}} {}", count.outward.packets)?;
    }
    page.push_str(&head(BYTES, "Bytes of these packets, from the IP header on."));
    for (key, count) in &*reading.totals {
        let labels = labels(key);
        writeln!(page, "{BYTES}_total{{{labels},direction=\"in\"}} {}", count.inward.bytes)?;
        writeln!(page, "{BYTES}_total{{{labels},direction=\"out\"}} {}", count.outward.bytes)?;
    }
    Ok(())
}

/// Two ports of a Service may have one name and differ in the protocol.
fn labels(key: &PortKey) -> String {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!(
        "namespace=\"{}\",name=\"{}\",port=\"{}\",protocol=\"{}\"",
        quoted(&key.service.namespace),
        quoted(&key.service.name),
        quoted(&key.port),
        key.protocol
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use kubeweir_nftables::counters::Count;
    use kubeweir_plan::{ObjectName, Protocol};

    use super::*;
    use crate::counters::Totals;

    fn reading() -> Reading {
        let key = PortKey {
            service: ObjectName::new("shop", "w\"b"),
            port: "http".into(),
            protocol: Protocol::Tcp,
        };
        let totals = Totals::from([(key, Count { connections: 7, ..Count::default() })]);
        Reading { totals: Arc::new(totals), at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500) }
    }

    #[test]
    fn a_page_keeps_its_format() {
        let sample = "\nkubeweir_service_connections_total\
            {namespace=\"shop\",name=\"w\\\"b\",port=\"http\",protocol=\"TCP\"} 7\n";
        let mut open = "before 1\n# EOF\n".to_owned();
        append(&mut open, &reading());
        assert!(open.starts_with("before 1\n# HELP") && open.ends_with("} 0\n# EOF\n"), "{open}");
        assert!(open.contains("# TYPE kubeweir_service_connections counter\n"), "{open}");
        assert!(open.contains(sample) && open.contains("_timestamp_seconds 1.500\n"), "{open}");
        let mut old = "before 1\n".to_owned();
        append(&mut old, &reading());
        assert!(old.contains("# TYPE kubeweir_service_connections_total counter\n"), "{old}");
        assert!(old.contains(sample) && !old.contains("EOF"), "{old}");
    }
}
