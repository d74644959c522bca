use super::*;
use crate::configuration::fields::FIELDS;
use crate::configuration::{Decoded, Logging, samples};

fn flags() -> Flags {
    Flags { config: Some("config".into()), ..Flags::default() }
}

fn loaded(written: Configuration) -> Loaded {
    Loaded::new(Decoded { configuration: written, ..Decoded::default() }, &flags()).unwrap()
}

fn in_mode(mode: ProxyMode) -> Configuration {
    Configuration { mode: mode.to_string(), hostname_override: "node-1".into(), ..Configuration::default() }
}

/// The settings without what only says what they are.
fn bare(settings: &Settings) -> Settings {
    let advice = Vec::new();
    let (config_sync_period, enable_profiling) = (std::time::Duration::ZERO, false);
    Settings { advice, shown: Arc::default(), config_sync_period, enable_profiling, ..settings.clone() }
}

fn stepped(from: &Configuration, to: &Configuration) -> (Loaded, Step) {
    let current = loaded(from.clone());
    let step = step(&current, &to.text().unwrap(), &flags()).unwrap();
    (current, step)
}

#[test]
fn every_field_is_taken_over_or_said_to_need_a_restart_or_does_not_count() {
    for mode in ProxyMode::ALL {
        for (path, counts) in FIELDS.iter().filter(|(path, _)| !path.starts_with("logging.options")) {
            let old = in_mode(mode);
            let (current, step) = stepped(&old, &samples::with(&old, path));
            let expected = match counts.when(mode) {
                Some(When::Live) => (vec![(*path).to_owned()], vec![]),
                Some(When::Restart) => (vec![], vec![(*path).to_owned()]),
                None => (vec![], vec![]),
            };
            let (reload, mut restart) = (step.changes.reload, step.changes.restart);
            // Where nothing is said, servers listen in the family of this one, which the sample does not change.
            restart.retain(|changed| changed != "healthzBindAddress" || *path == "healthzBindAddress");
            assert_eq!((reload, restart), expected, "{path} in mode {mode}");
            let (before, after) = (bare(&current.settings), bare(&step.loaded.settings));
            // These two count only together with a mode that the sample does not set.
            let alone = !path.starts_with("detectLocal.");
            // In another mode than its own the section says no more than what a start leaves alone.
            let differs = counts.when(mode) == Some(When::Live) && alone;
            let logs = |settings: &Settings| Settings { logging: Logging::default(), ..settings.clone() };
            if path.starts_with("logging.") && counts.when(mode).is_none() {
                assert_eq!(logs(&before), logs(&after), "{path} in mode {mode}");
            } else {
                assert_eq!(before != after, differs, "{path} in mode {mode}");
            }
        }
    }
}

#[test]
fn another_mode_waits_for_a_restart_and_takes_its_defaults_with_it() {
    let old = in_mode(ProxyMode::Nftables);
    let mut new = in_mode(ProxyMode::Ipvs);
    new.cluster_cidr = "10.244.0.0/16".into();
    let (current, step) = stepped(&old, &new);
    assert_eq!(step.changes.restart, ["mode"]);
    assert_eq!(step.changes.reload, ["clusterCIDR"]);
    let settings = step.loaded.settings;
    assert_eq!(settings.mode, ProxyMode::Nftables);
    assert_eq!(settings.plan.node_port_addresses, current.settings.plan.node_port_addresses);
    assert_ne!(settings.plan.detect_local, current.settings.plan.detect_local);
    assert_eq!(settings.shown.configuration["mode"], "nftables");
}

#[test]
fn a_file_that_makes_no_sense_is_refused_as_a_whole_and_named() {
    let current = loaded(in_mode(ProxyMode::Nftables));
    let mut bad = in_mode(ProxyMode::Nftables);
    (bad.cluster_cidr, bad.oom_score_adj) = ("pods".into(), Some(2000));
    let error = step(&current, &bad.text().unwrap(), &flags()).unwrap_err().to_string();
    assert!(error.contains("KubeProxyConfiguration.clusterCIDR[0]: Invalid value: \"pods\""), "{error}");
    assert!(error.contains("KubeProxyConfiguration.oomScoreAdj: Invalid value: 2000"), "{error}");
    assert!(step(&current, "", &flags()).unwrap_err().to_string().starts_with("config: expected"));
}
