//! The configuration in effect: defaults filled in, addresses in their canonical form, and a mode that there is.

use std::net::IpAddr;

use kubeweir_cluster::sloppy;

use super::values::GoDuration;
use super::{Configuration, Iptables, OFF};
use crate::settings::ConntrackSettings;

/// Bit 14: the mark `0x4000`, as in kube-proxy.
const MASQUERADE_BIT: i32 = 14;
const SYNC_PERIOD: GoDuration = GoDuration::seconds(30);
const CONFIG_SYNC_PERIOD: GoDuration = GoDuration::seconds(15 * 60);
const FLUSH_FREQUENCY: GoDuration = GoDuration::seconds(5);
const DRAIN_TIMEOUT: GoDuration = GoDuration::seconds(300);
const OOM_SCORE_ADJ: i32 = -999;
const HEALTHZ_PORT: u16 = 10256;
const METRICS_PORT: u16 = 10249;
const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";
const QPS: f32 = 5.0;
const BURST: i32 = 10;
/// For a Service that asks for none, as in kube-proxy.
const SCHEDULER: &str = "rr";
/// Every local address of a family.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

impl Configuration {
    /// With everything that is not said filled in, and what an operator should know about that. Values that make no sense stay.
    /// Of a configuration in effect this is the same once more, without advice.
    #[must_use]
    pub fn effective(mut self) -> (Configuration, Vec<String>) {
        let advice = self.fill_in_mode();
        self.fill_in_sections();
        self.fill_in_addresses();
        self.fill_in_the_rest();
        (self, advice.into_iter().collect())
    }

    /// There is no iptables mode. Who has it configured, or has left the choice to kube-proxy, which then chose it, gets nftables
    /// mode with what its section says, and `NodePorts` where that mode has them.
    fn fill_in_mode(&mut self) -> Option<String> {
        if !matches!(self.mode.as_str(), "" | "iptables") {
            return None;
        }
        let asked = std::mem::replace(&mut self.mode, "nftables".to_owned());
        let section = std::mem::take(&mut self.iptables);
        self.nftables.masquerade_bit = section.masquerade_bit.or(self.nftables.masquerade_bit);
        self.nftables.masquerade_all |= section.masquerade_all;
        self.nftables.sync_period = section.sync_period.or(self.nftables.sync_period);
        self.nftables.min_sync_period = section.min_sync_period.or(self.nftables.min_sync_period);
        self.iptables =
            Iptables { localhost_node_ports: section.localhost_node_ports, ..Iptables::default() };
        if self.node_port_addresses.is_empty() {
            self.node_port_addresses = EVERYWHERE.map(str::to_owned).into();
        }
        Some(format!("mode {asked:?} is not offered: nftables is used instead"))
    }

    fn fill_in_sections(&mut self) {
        for bit in [&mut self.iptables.masquerade_bit, &mut self.nftables.masquerade_bit] {
            bit.get_or_insert(MASQUERADE_BIT);
        }
        let periods =
            [&mut self.iptables.sync_period, &mut self.nftables.sync_period, &mut self.ipvs.sync_period];
        for period in periods {
            *period = period.or(SYNC_PERIOD);
        }
        self.iptables.localhost_node_ports.get_or_insert(true);
        fill(&mut self.ipvs.scheduler, SCHEDULER);
        self.ipvs.drain_timeout.get_or_insert(DRAIN_TIMEOUT);
        self.ipvs.exclude_cidrs.iter_mut().for_each(canonical_prefix);
        let default = ConntrackSettings::default();
        let count = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
        let seconds = |time: std::time::Duration| {
            GoDuration::seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
        };
        self.conntrack.max_per_core.get_or_insert(count(default.max_per_core));
        self.conntrack.min.get_or_insert(count(default.min));
        self.conntrack.tcp_established_timeout.get_or_insert(seconds(default.tcp_established));
        self.conntrack.tcp_close_wait_timeout.get_or_insert(seconds(default.tcp_close_wait));
    }

    fn fill_in_addresses(&mut self) {
        fill(&mut self.bind_address, "0.0.0.0");
        if let Some(address) = sloppy::address(&self.bind_address) {
            self.bind_address = address.to_string();
        }
        let v6 = self.bind_address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
        let (everybody, host) = if v6 { ("::", "::1") } else { ("0.0.0.0", "127.0.0.1") };
        fill(&mut self.healthz_bind_address, everybody);
        fill(&mut self.metrics_bind_address, host);
        with_port(&mut self.healthz_bind_address, HEALTHZ_PORT);
        with_port(&mut self.metrics_bind_address, METRICS_PORT);
        let prefixes = self.cluster_cidr.split(',').map(|entry| {
            let mut entry = entry.trim().to_owned();
            canonical_prefix(&mut entry);
            entry
        });
        self.cluster_cidr = prefixes.collect::<Vec<_>>().join(",");
        self.node_port_addresses.iter_mut().for_each(canonical_prefix);
        // kube-proxy's modes differ: without a word IPVS mode answers everywhere.
        if self.mode == "nftables" && self.node_port_addresses.is_empty() {
            self.node_port_addresses = vec!["primary".to_owned()];
        }
    }

    fn fill_in_the_rest(&mut self) {
        let client = &mut self.client_connection;
        fill(&mut client.content_type, CONTENT_TYPE);
        if client.qps == 0.0 {
            client.qps = QPS;
        }
        if client.burst == 0 {
            client.burst = BURST;
        }
        fill(&mut self.logging.format, "text");
        self.logging.flush_frequency.0 = self.logging.flush_frequency.0.or(FLUSH_FREQUENCY);
        for options in [&mut self.logging.options.text, &mut self.logging.options.json] {
            options.info_buffer_size = std::mem::take(&mut options.info_buffer_size).or_zero();
        }
        // Node names are lower case. One that is blank stays, to be complained about.
        let name = self.hostname_override.trim().to_lowercase();
        if !name.is_empty() {
            self.hostname_override = name;
        }
        fill(&mut self.detect_local_mode, "ClusterCIDR");
        self.oom_score_adj.get_or_insert(OOM_SCORE_ADJ);
        self.config_sync_period = self.config_sync_period.or(CONFIG_SYNC_PERIOD);
    }
}

fn fill(text: &mut String, default: &str) {
    if text.is_empty() {
        default.clone_into(text);
    }
}

fn canonical_prefix(text: &mut String) {
    if let Some(prefix) = sloppy::prefix(text) {
        *text = prefix.to_string();
    }
}

/// Writes an address canonically and with its port, or with the default one. What is no address stays.
fn with_port(text: &mut String, default: u16) {
    if let Some((address, port)) = address_and_port(text) {
        *text = std::net::SocketAddr::new(address, port.unwrap_or(default)).to_string();
    }
}

/// `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]` or `[::1]:80`; ports that are none, and [`OFF`], are not taken.
pub(super) fn address_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if text == OFF {
        return None;
    }
    if let Some(address) = sloppy::address(without_brackets(text)) {
        return Some((address, None));
    }
    let (host, port) = text.rsplit_once(':')?;
    let inner = without_brackets(host);
    let address = sloppy::address(inner)?;
    let port = port.parse().ok()?;
    (inner != host || address.is_ipv4()).then_some((address, Some(port)))
}

/// What a pair of brackets has in it. One of them alone, or a second pair, is a slip that is not to be guessed at.
pub(super) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effective(change: impl FnOnce(&mut Configuration)) -> Configuration {
        let mut configuration = Configuration { mode: "nftables".into(), ..Configuration::default() };
        change(&mut configuration);
        let (effective, _) = configuration.effective();
        let (again, advice) = effective.clone().effective();
        assert_eq!((again, advice), (effective.clone(), Vec::new()), "in effect is in effect");
        effective
    }

    #[test]
    fn addresses_are_written_canonically() {
        let effective = effective(|c| {
            c.bind_address = "172.30.0.041".into();
            c.cluster_cidr = "203.0.113.000/025, fd00::1/64".into();
            c.node_port_addresses = vec!["10.1.2.003/8".into()];
            c.ipvs.exclude_cidrs = vec!["010.1.2.3/16".into()];
            c.healthz_bind_address = "127.0.00.1".into();
            c.metrics_bind_address = "[::1]:99".into();
        });
        assert_eq!(effective.bind_address, "172.30.0.41");
        assert_eq!(effective.cluster_cidr, "203.0.113.0/25,fd00::/64");
        assert_eq!(effective.node_port_addresses, ["10.0.0.0/8"]);
        assert_eq!(effective.ipvs.exclude_cidrs, ["10.1.0.0/16"]);
        assert_eq!(effective.healthz_bind_address, "127.0.0.1:10256");
        assert_eq!(effective.metrics_bind_address, "[::1]:99");
    }

    #[test]
    fn brackets_that_do_not_match_stay_to_be_complained_about() {
        let of = |text: &str| effective(|c| c.healthz_bind_address = text.into()).healthz_bind_address;
        assert_eq!(of("[::1]"), "[::1]:10256");
        for slip in
            ["[::1", "::1]", "[::1]]", "[[::1]]", "[[::1]]:80", "[::1:80", "[::1]]:80", "[10.0.0.1", "[]"]
        {
            assert_eq!(of(slip), slip);
        }
    }

    #[test]
    fn servers_listen_in_the_family_of_the_bind_address() {
        let of = |bind: &str| {
            let effective = effective(|c| c.bind_address = bind.into());
            (effective.healthz_bind_address, effective.metrics_bind_address)
        };
        assert_eq!(of(""), ("0.0.0.0:10256".into(), "127.0.0.1:10249".into()));
        assert_eq!(of("::"), ("[::]:10256".into(), "[::1]:10249".into()));
    }

    #[test]
    fn what_was_meant_for_iptables_mode_counts_in_the_one_that_takes_its_place() {
        for mode in ["", "iptables"] {
            let given = Configuration {
                mode: mode.into(),
                iptables: Iptables {
                    masquerade_all: true,
                    masquerade_bit: Some(5),
                    sync_period: GoDuration::seconds(7),
                    ..Iptables::default()
                },
                ..Configuration::default()
            };
            let (effective, advice) = given.effective();
            assert_eq!((effective.mode.as_str(), advice.len()), ("nftables", 1));
            assert_eq!(
                (effective.nftables.masquerade_bit, effective.nftables.masquerade_all),
                (Some(5), true)
            );
            assert_eq!(effective.nftables.sync_period, GoDuration::seconds(7));
            assert_eq!(effective.node_port_addresses, EVERYWHERE);
            assert_eq!(effective.clone().effective(), (effective, Vec::new()));
        }
        assert_eq!(effective(|_| {}).node_port_addresses, ["primary"]);
        assert!(effective(|c| c.mode = "ipvs".into()).node_port_addresses.is_empty());
    }
}
