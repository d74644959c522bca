use super::*;

fn settings(change: impl FnOnce(&mut Configuration)) -> Result<Settings, Error> {
    let mut configuration = Configuration { mode: "nftables".into(), ..Configuration::default() };
    change(&mut configuration);
    let flags = Flags { hostname_override: Some(" Node-1 ".into()), ..Flags::default() };
    Settings::new(&configuration, &flags)
}

#[test]
fn defaults_are_those_of_kube_proxy() {
    let settings = settings(|_| {}).unwrap();
    assert_eq!(settings.plan, Options::for_node("node-1"));
    assert_eq!(settings.masquerade_mark, 0x4000);
    assert_eq!(
        (settings.healthz.to_string(), settings.metrics.to_string()),
        (HEALTHZ.into(), METRICS.into())
    );
    assert!(settings.advice.is_empty());
}

#[test]
fn a_mode_that_we_do_not_have_is_replaced_with_advice_or_refused() {
    for mode in ["", "iptables"] {
        assert_eq!(settings(|c| c.mode = mode.into()).unwrap().advice.len(), 1);
    }
    assert!(settings(|c| c.mode = "userspace".into()).unwrap_err().to_string().starts_with("mode:"));
}

#[test]
fn values_that_make_no_sense_name_their_field() {
    let error = |change: fn(&mut Configuration)| settings(change).unwrap_err().to_string();
    assert!(error(|c| c.cluster_cidr = "10.0.0.0/8,10.1.0.0/16".into()).starts_with("clusterCIDR:"));
    assert!(error(|c| c.cluster_cidr = "pods".into()).contains("\"pods\""));
    assert!(error(|c| c.nftables.masquerade_bit = Some(32)).starts_with("nftables.masqueradeBit:"));
    assert!(error(|c| c.detect_local_mode = "BridgeInterface".into()).contains("bridgeInterface"));
    let bridge = |name: &str| {
        let name = name.to_owned();
        settings(|c| {
            c.detect_local_mode = "BridgeInterface".into();
            c.detect_local.bridge_interface = name;
        })
    };
    assert!(bridge("cni0").is_ok());
    assert!(bridge("a-name-beyond-15").unwrap_err().to_string().contains("longer"));
    assert!(bridge("a\"b").unwrap_err().to_string().contains("no name"));
    assert!(error(|c| c.node_port_addresses = vec!["primary".into(), "::/0".into()]).contains("alone"));
    assert!(error(|c| c.healthz_bind_address = "here".into()).starts_with("healthzBindAddress:"));
    assert!(error(|c| c.nftables.min_sync_period = Duration::from_secs(60)).contains("longer"));
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
    assert_eq!(settings.ipvs.drain_timeout, Duration::from_secs(300));
    assert_eq!((settings.sync_period, settings.min_sync_period), (SYNC_PERIOD, Duration::ZERO));
    assert_eq!(settings.masquerade_mark, 0x4000);
    assert_eq!(settings.plan.node_port_addresses, NodePortOption::All);
    assert!(settings.advice.is_empty());
}

#[test]
fn ipvs_mode_masquerades_by_the_section_of_iptables_and_has_periods_of_its_own() {
    let change = |c: &mut Configuration| {
        (c.iptables.masquerade_bit, c.iptables.masquerade_all) = (Some(3), true);
        c.ipvs.sync_period = Duration::from_secs(7);
        c.ipvs.min_sync_period = Duration::from_secs(2);
        c.nftables.masquerade_bit = Some(5);
        c.nftables.sync_period = Duration::from_secs(9);
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
    type Change = fn(&mut Configuration);
    let changes: [(Change, &str); 4] = [
        (|c| c.ipvs.scheduler = "wlib".into(), "ipvs.scheduler:"),
        (|c| c.ipvs.exclude_cidrs = vec!["10.0.0.0/33".into()], "ipvs.excludeCIDRs:"),
        (|c| c.ipvs.min_sync_period = Duration::from_secs(60), "ipvs.minSyncPeriod:"),
        (|c| c.iptables.masquerade_bit = Some(32), "iptables.masqueradeBit:"),
    ];
    for (change, field) in changes {
        let error = ipvs(change).unwrap_err().to_string();
        assert!(error.starts_with(field), "{error}");
        assert_eq!(settings(change).unwrap().ipvs, Ipvs::default());
    }
    let error = ipvs(|c| c.ipvs.scheduler = "wlib".into()).unwrap_err().to_string();
    assert!(error.contains("\"wlib\"") && error.contains("rr, wrr, lc"), "{error}");
    assert!(ipvs(|c| c.nftables.masquerade_bit = Some(32)).is_ok());
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
fn an_address_gets_its_port() {
    let bound = |text: &str| settings(|c| c.healthz_bind_address = text.into()).unwrap().healthz.to_string();
    assert_eq!(bound("127.0.0.1"), "127.0.0.1:10256");
    assert_eq!(bound("[::1]"), "[::1]:10256");
    assert_eq!(bound("[::1]:99"), "[::1]:99");
}

#[test]
fn the_host_is_prepared_as_kube_proxy_does_unless_told_otherwise() {
    let settings_of = |change: fn(&mut Configuration)| settings(change).unwrap();
    let default = settings_of(|_| {});
    assert_eq!((default.conntrack, default.oom_score_adj), (ConntrackSettings::default(), -999));
    assert_eq!((default.bind_address.to_string().as_str(), default.init_only), ("0.0.0.0", false));
    let changed = settings_of(|c| {
        c.conntrack.max_per_core = Some(0);
        c.conntrack.tcp_established_timeout = Some(Duration::ZERO);
        (c.oom_score_adj, c.bind_address) = (Some(0), "::".into());
    });
    assert_eq!((changed.conntrack.max_per_core, changed.conntrack.tcp_established), (0, Duration::ZERO));
    assert_eq!((changed.oom_score_adj, changed.bind_address.to_string().as_str()), (0, "::"));
    for change in [
        (|c| c.conntrack.min = Some(-1)) as fn(&mut Configuration),
        |c| c.oom_score_adj = Some(1001),
        |c| c.bind_address = "here".into(),
    ] {
        assert!(settings(change).is_err());
    }
}
