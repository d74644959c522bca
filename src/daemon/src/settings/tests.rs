use std::time::Duration;

use clap::Parser as _;
use kubeweir_plan::options::NodePortOption;
use proptest::prelude::*;

use super::*;
use crate::configuration::sections::Vmodule;
use crate::configuration::values::GoDuration;
use crate::configuration::{Decoded, samples};

fn flags() -> Flags {
    Flags { config: Some("config".into()), ..Flags::default() }
}

fn settings(change: impl FnOnce(&mut Configuration)) -> Result<Settings, Error> {
    let mut configuration = Configuration {
        mode: "nftables".into(),
        hostname_override: " Node-1 ".into(),
        cluster_cidr: "10.244.0.0/16,fd00:244::/48".into(),
        ..Configuration::default()
    };
    change(&mut configuration);
    Ok(Loaded::new(Decoded { configuration, ..Decoded::default() }, &flags())?.settings)
}

fn seconds(seconds: i64) -> GoDuration {
    GoDuration::seconds(seconds)
}

#[test]
fn defaults_are_those_of_kube_proxy() {
    let settings = settings(|c| c.cluster_cidr.clear()).unwrap();
    assert_eq!(settings.plan, Options::for_node("node-1"));
    assert_eq!(settings.masquerade_mark, 0x4000);
    let shown = |address: Option<SocketAddr>| address.unwrap().to_string();
    assert_eq!(
        (shown(settings.healthz), shown(settings.metrics)),
        ("0.0.0.0:10256".into(), "127.0.0.1:10249".into())
    );
    assert_eq!((settings.sync_period, settings.min_sync_period), (Duration::from_secs(30), Duration::ZERO));
    assert_eq!((settings.conntrack, settings.oom_score_adj), (ConntrackSettings::default(), -999));
    assert_eq!((settings.bind_address.to_string().as_str(), settings.init_only), ("0.0.0.0", false));
    assert_eq!(settings.config_sync_period, Duration::from_secs(900));
    assert_eq!(settings.shown.configuration["conntrack"]["tcpEstablishedTimeout"], "24h0m0s");
}

#[test]
fn what_an_operator_should_know_is_said() {
    let advice = |change: fn(&mut Configuration)| settings(change).unwrap().advice;
    assert_eq!(advice(|_| {}), [""; 0]);
    for mode in ["", "iptables"] {
        let said = settings(|c| c.mode = mode.into()).unwrap().advice;
        assert!(said[0].contains("not offered") && said[1].contains("nodePortAddresses"), "{said:?}");
    }
    assert!(advice(|c| c.cluster_cidr.clear())[0].contains("clusterCIDR is unset"));
    assert!(advice(|c| c.cluster_cidr = "10.0.0.0/8".into())[0].contains("no IPv6 prefix"));
    assert!(advice(|c| c.node_port_addresses = vec!["10.0.0.0/8".into()])[0].contains("no IPv6 prefix"));
    let idle = advice(|c| {
        c.iptables.localhost_node_ports = Some(false);
        c.port_range = "1-2".into();
        c.ipvs.strict_arp = true;
    });
    assert_eq!(
        idle,
        ["without an effect in mode nftables: iptables.localhostNodePorts, ipvs.strictARP, portRange"]
    );
}

type Change = fn(&mut Configuration);

/// A change of a configuration for nftables mode, and the complaint about it.
const COMPLAINTS: [(Change, &str); 28] = [
    (|c| c.mode = "userspace".into(), "mode: Invalid value: \"userspace\": must be iptables"),
    (|c| c.cluster_cidr = "10.0.0.0/8,10.1.0.0/16".into(), "clusterCIDR: Invalid value"),
    (|c| c.cluster_cidr = "10.0.0.0/8,pods".into(), "clusterCIDR[1]: Invalid value: \"pods\""),
    (|c| c.nftables.masquerade_bit = Some(32), "nftables.masqueradeBit: Invalid value: 32: must be within"),
    (|c| c.iptables.masquerade_bit = Some(-1), "iptables.masqueradeBit: Invalid value: -1: must be within"),
    (|c| c.detect_local_mode = "Luck".into(), "detectLocalMode: Invalid value: \"Luck\""),
    (
        |c| c.detect_local_mode = "BridgeInterface".into(),
        "detectLocal.bridgeInterface: Invalid value: \"\": must be set",
    ),
    (
        |c| c.detect_local_mode = "InterfaceNamePrefix".into(),
        "detectLocal.interfaceNamePrefix: Invalid value: \"\"",
    ),
    (|c| c.node_port_addresses = vec!["primary".into(), "::/0".into()], "nodePortAddresses: Invalid value"),
    (
        |c| c.node_port_addresses = vec!["::/0".into(), "x".into()],
        "nodePortAddresses[1]: Invalid value: \"x\"",
    ),
    (
        |c| c.healthz_bind_address = "here".into(),
        "healthzBindAddress: Invalid value: \"here\": must be IP:port",
    ),
    (
        |c| c.healthz_bind_address = "[::1]]".into(),
        "healthzBindAddress: Invalid value: \"[::1]]\": must be IP:port",
    ),
    (
        |c| c.metrics_bind_address = "127.0.0.1:0".into(),
        "metricsBindAddress: Invalid value: \"127.0.0.1:0\": port",
    ),
    (|c| c.metrics_bind_address = "127.0.0.1:70000".into(), "metricsBindAddress: Invalid value"),
    (|c| c.bind_address = "here".into(), "bindAddress: Invalid value: \"here\": not a valid textual"),
    (
        |c| c.nftables.min_sync_period = seconds(60),
        "nftables.syncPeriod: Invalid value: \"30s\": must be greater than or equal to KubeProxyConfiguration.nftables.minSyncPeriod",
    ),
    (
        |c| (c.nftables.min_sync_period, c.nftables.sync_period) = (seconds(3601), seconds(7200)),
        "nftables.minSyncPeriod: Invalid value: \"1h0m1s\": must be less than or equal to 1h",
    ),
    (
        |c| c.nftables.min_sync_period = seconds(-1),
        "nftables.minSyncPeriod: Invalid value: \"-1s\": must be greater than or equal to 0",
    ),
    (
        |c| c.nftables.sync_period = seconds(-1),
        "nftables.syncPeriod: Invalid value: \"-1s\": must be greater than 0",
    ),
    (
        |c| c.config_sync_period = seconds(-1),
        "configSyncPeriod: Invalid value: \"-1s\": must be greater than 0",
    ),
    (|c| c.oom_score_adj = Some(1001), "oomScoreAdj: Invalid value: 1001"),
    (|c| c.conntrack.min = Some(-1), "conntrack.min: Invalid value: -1"),
    (
        |c| c.conntrack.tcp_close_wait_timeout = Some(seconds(-1)),
        "conntrack.tcpCloseWaitTimeout: Invalid value: \"-1s\"",
    ),
    (|c| c.client_connection.burst = -1, "clientConnection.burst: Invalid value: -1"),
    (
        |c| c.hostname_override = "  ".into(),
        "hostnameOverride: Invalid value: \"  \": empty hostname is invalid",
    ),
    (
        |c| c.show_hidden_metrics_for_version = "1.20".into(),
        "showHiddenMetricsForVersion: Invalid value: \"1.20\"",
    ),
    (|c| c.logging.format = "xml".into(), "logging.format: Invalid value: \"xml\""),
    (
        |c| c.logging.options.json.split_stream = true,
        "logging.options.json.splitStream: Invalid value: true: feature",
    ),
];

#[test]
fn values_that_make_no_sense_name_their_field() {
    for (change, expected) in COMPLAINTS {
        let error = settings(change).unwrap_err().to_string();
        let error = error.trim_start_matches('[');
        let path = expected.split(':').next().unwrap();
        assert!(error.starts_with(&format!("KubeProxyConfiguration.{expected}")), "{path}: {error}");
    }
}

#[test]
fn all_complaints_come_at_once() {
    // Each of these excludes a later one on the same field.
    let compatible = [0, 2, 3, 4, 9, 10, 12, 14, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27];
    let error = settings(|c| compatible.into_iter().skip(1).for_each(|at| COMPLAINTS[at].0(c))).unwrap_err();
    let Error::Invalid(complaints) = error else { panic!("{error}") };
    assert_eq!(complaints.0.len(), compatible.len() - 1 + 1, "{complaints}");
}

#[test]
fn gates_and_logging_options_go_together() {
    let gate = |c: &mut Configuration| {
        c.feature_gates = [("LoggingAlphaOptions".to_owned(), true)].into();
        c.logging.options.json.split_stream = true;
        c.logging.options.text.info_buffer_size = "64Ki".parse().unwrap();
    };
    assert!(settings(gate).is_ok());
    let json = |c: &mut Configuration| {
        c.logging.format = "json".into();
        c.logging.vmodule = vec![Vmodule { file_pattern: "core".into(), verbosity: 4 }];
    };
    assert!(settings(json).unwrap_err().to_string().contains("only supported for text log format"));
    let off =
        |c: &mut Configuration| c.feature_gates = [("AllowServiceExternalIPs".to_owned(), false)].into();
    assert!(!settings(off).unwrap().plan.external_ips);
}

fn ipvs(change: impl FnOnce(&mut Configuration)) -> Result<Settings, Error> {
    settings(|configuration| {
        configuration.mode = "ipvs".into();
        change(configuration);
    })
}

#[test]
fn ipvs_mode_has_the_defaults_of_kube_proxy() {
    let settings = ipvs(|_| {}).unwrap();
    assert_eq!((settings.mode, settings.ipvs.scheduler.as_str()), (ProxyMode::Ipvs, "rr"));
    assert_eq!(settings.ipvs, Ipvs::default());
    assert_eq!((settings.sync_period, settings.min_sync_period), (Duration::from_secs(30), Duration::ZERO));
    assert_eq!(settings.masquerade_mark, 0x4000);
    assert_eq!(settings.plan.node_port_addresses, NodePortOption::All);
}

#[test]
fn ipvs_mode_masquerades_by_the_section_of_iptables_and_has_periods_of_its_own() {
    let change = |c: &mut Configuration| {
        (c.iptables.masquerade_bit, c.iptables.masquerade_all) = (Some(3), true);
        c.ipvs.sync_period = seconds(7);
        c.ipvs.min_sync_period = seconds(2);
        c.nftables.masquerade_bit = Some(5);
        c.nftables.sync_period = seconds(9);
    };
    let of = |settings: Settings| {
        let all = settings.plan.masquerade_all;
        (settings.masquerade_mark, all, settings.sync_period.as_secs(), settings.min_sync_period.as_secs())
    };
    assert_eq!(of(ipvs(change).unwrap()), (1 << 3, true, 7, 2));
    assert_eq!(of(settings(change).unwrap()), (1 << 5, false, 9, 0));
}

#[test]
fn values_of_ipvs_mode_that_make_no_sense_name_their_field_and_other_modes_do_not_care() {
    let changes: [(Change, &str); 4] = [
        (
            |c| c.ipvs.scheduler = "wlib".into(),
            "ipvs.scheduler: Invalid value: \"wlib\": must be one of rr, wrr",
        ),
        (|c| c.ipvs.exclude_cidrs = vec!["10.0.0.0/33".into()], "ipvs.excludeCIDRs[0]:"),
        (|c| c.ipvs.min_sync_period = seconds(60), "ipvs.syncPeriod:"),
        (|c| c.ipvs.tcp_timeout = seconds(-1), "ipvs.tcpTimeout:"),
    ];
    for (change, field) in changes {
        let error = ipvs(change).unwrap_err().to_string();
        assert!(error.starts_with(&format!("KubeProxyConfiguration.{field}")), "{error}");
        assert_eq!(settings(change).unwrap().ipvs, Ipvs::default());
    }
    assert!(ipvs(|c| c.nftables.masquerade_bit = Some(32)).is_ok());
    let slow =
        |c: &mut Configuration| (c.ipvs.min_sync_period, c.ipvs.sync_period) = (seconds(7200), seconds(7200));
    assert!(ipvs(slow).is_ok());
}

#[test]
fn excluded_prefixes_lose_the_bits_of_their_host() {
    let given =
        |c: &mut Configuration| c.ipvs.exclude_cidrs = vec!["10.1.2.3/8".into(), " fd00::1/64".into()];
    let excluded = ipvs(given).unwrap().ipvs.exclude_cidrs;
    assert_eq!(excluded, ["10.0.0.0/8".parse().unwrap(), "fd00::/64".parse().unwrap()]);
    assert_eq!(settings(given).unwrap().ipvs.exclude_cidrs, excluded, "also where another mode takes over");
    for scheduler in kubeweir_ipvs::schedulers::KNOWN.iter().copied() {
        assert_eq!(ipvs(|c| c.ipvs.scheduler = scheduler.into()).unwrap().ipvs.scheduler, scheduler);
    }
}

#[test]
fn servers_can_be_switched_off() {
    let off =
        settings(|c| (c.healthz_bind_address, c.metrics_bind_address) = ("0".into(), "0".into())).unwrap();
    assert_eq!((off.healthz, off.metrics), (None, None));
    let v6 = settings(|c| c.bind_address = "::".into()).unwrap();
    assert_eq!(v6.healthz.unwrap().to_string(), "[::]:10256");
}

#[test]
fn beside_a_file_only_a_few_flags_count() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("config.conf");
    let mut file = Configuration { mode: "nftables".into(), ..Configuration::default() };
    file.logging.verbosity = 2;
    std::fs::write(&path, file.text().unwrap()).unwrap();
    let flags = Flags {
        config: Some(path),
        proxy_mode: Some("ipvs".into()),
        feature_gates: vec!["Unheard=true".into()],
        kubeconfig: Some("elsewhere".into()),
        hostname_override: Some("NODE-7".into()),
        master: Some("https://192.0.2.1".into()),
        logging: crate::cli::LoggingFlags { verbosity: Some(5), ..Default::default() },
        ..Flags::default()
    };
    let settings = Settings::from_flags(&flags).unwrap();
    assert_eq!((settings.mode, &*settings.plan.node_name), (ProxyMode::Nftables, "node-7"));
    let master = Some("https://192.0.2.1".to_owned());
    assert_eq!((settings.source, settings.logging.verbosity), (Source::Api { kubeconfig: None, master }, 5));
}

#[test]
fn flags_of_ours_that_a_file_replaces_are_told_of_with_the_field_that_counts() {
    let given = |config: Option<&str>| Flags {
        config: config.map(Into::into),
        service_counters: Some(true),
        ipvs: crate::cli::IpvsFlags { ipvs_drain_timeout: Some("1m".into()), ..Default::default() },
        ..Flags::default()
    };
    let configuration = Configuration { mode: "ipvs".into(), ..Configuration::default() };
    let advice = |flags: &Flags| {
        let decoded = Decoded { configuration: configuration.clone(), ..Decoded::default() };
        let mut advice = Loaded::new(decoded, flags).unwrap().settings.advice;
        advice.retain(|text| text.starts_with("--"));
        advice
    };
    assert_eq!(
        advice(&given(Some("config"))),
        [
            "--service-counters is passed over beside --config: set serviceCounters in the file",
            "--ipvs-drain-timeout is passed over beside --config: set ipvs.drainTimeout in the file",
        ]
    );
    assert_eq!((advice(&given(None)), advice(&flags())), (Vec::new(), Vec::new()));
}

#[test]
fn flags_that_do_not_count_beside_a_file_must_be_possible_nevertheless() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("config.conf");
    std::fs::write(&path, Configuration::default().text().unwrap()).unwrap();
    let read = |flag: &str| {
        let config = format!("--config={}", path.display());
        Settings::from_flags(&crate::cli::Cli::parse_from(["kubeweir", &config, flag]).flags)
    };
    for flag in [
        "--iptables-sync-period=junk",
        "--ipvs-tcp-timeout=junk",
        "--feature-gates=X",
        "--bind-address=junk",
        "--healthz-bind-address=junk",
        "--metrics-bind-address=::1]:1",
    ] {
        let error = read(flag).unwrap_err().to_string();
        assert!(error.starts_with(flag.split('=').next().unwrap()), "{error}");
    }
    for flag in
        ["--iptables-sync-period=0", "--feature-gates=X=true", "--bind-address=", "--healthz-bind-address=0"]
    {
        assert!(read(flag).is_ok(), "{flag} can be parsed");
    }
}

proptest! {
    #[test]
    fn whatever_text_a_field_has_is_written_so_that_it_is_read(text in any::<String>(), other in "[ -~]*") {
        let mut given = Configuration { hostname_override: text.clone(), port_range: other.clone(), ..Configuration::default() };
        (given.cluster_cidr, given.healthz_bind_address, given.bind_address) = (other, text.clone(), text);
        let (effective, _) = given.effective();
        let read = Configuration::from_text(&effective.text().unwrap()).unwrap();
        prop_assert_eq!(&read.configuration, &effective);
        prop_assert_eq!(read.configuration.effective().0, effective);
    }

    #[test]
    fn what_is_written_is_accepted_and_means_the_same(written in samples::configurations()) {
        let loaded = Loaded::new(Decoded { configuration: written, ..Decoded::default() }, &flags()).unwrap();
        let text = loaded.effective.text().unwrap();
        let decoded = Configuration::from_text(&text).unwrap();
        prop_assert_eq!(decoded.passed_over(), None);
        prop_assert_eq!(&decoded.configuration, &loaded.effective);
        let again = Loaded::new(decoded, &flags()).unwrap();
        let without_advice = |settings: Settings| Settings { advice: Vec::new(), ..settings };
        prop_assert_eq!(without_advice(again.settings), without_advice(loaded.settings));
        prop_assert_eq!(again.effective, loaded.effective);
    }
}
