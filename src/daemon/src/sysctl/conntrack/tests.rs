use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::super::Current;
use super::*;

const DAY: i64 = 24 * 3600;

/// A fresh kernel on a host with 8 CPUs.
fn fresh() -> Host {
    let values =
        [(MAX, 65_536), (ESTABLISHED, 5 * DAY), (CLOSE_WAIT, 60), (LIBERAL, 0), (UDP, 30), (UDP_STREAM, 120)];
    let current = values.map(|(path, value)| (path, Current { value, settable: true }));
    Host { current: current.into(), buckets: Some(65_536), cpus: 8 }
}

fn nothing() -> ConntrackSettings {
    ConntrackSettings {
        max_per_core: 0,
        min: 0,
        tcp_established: Duration::ZERO,
        tcp_close_wait: Duration::ZERO,
        tcp_be_liberal: false,
        udp: Duration::ZERO,
        udp_stream: Duration::ZERO,
    }
}

fn writes(preparation: &Preparation) -> Vec<String> {
    preparation.writes.iter().map(Write::to_string).collect()
}

#[test]
fn the_defaults_are_those_of_kube_proxy() {
    let preparation = wanted(&ConntrackSettings::default(), &fresh());
    let expected = [
        "net.netfilter.nf_conntrack_max=262144",
        "net.netfilter.nf_conntrack_tcp_timeout_established=86400",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait=3600",
    ];
    assert_eq!(writes(&preparation), expected);
    assert!(preparation.problems.is_empty() && preparation.left.is_empty());
    assert_eq!(preparation.buckets, None);
}

#[test]
fn what_is_not_asked_for_is_not_touched_and_may_be_missing() {
    for host in [fresh(), Host::default()] {
        let preparation = wanted(&nothing(), &host);
        assert!(preparation.writes.is_empty() && preparation.problems.is_empty());
    }
    let all = ConntrackSettings {
        tcp_be_liberal: true,
        udp: Duration::from_secs(40),
        // The kernel takes whole seconds, and none would end flows at once.
        udp_stream: Duration::from_millis(300),
        ..nothing()
    };
    let expected = [
        "net.netfilter.nf_conntrack_tcp_be_liberal=1",
        "net.netfilter.nf_conntrack_udp_timeout=40",
        "net.netfilter.nf_conntrack_udp_timeout_stream=1",
    ];
    assert_eq!(writes(&wanted(&all, &fresh())), expected);
}

#[test]
fn the_limit_follows_the_cpus_within_its_bounds() {
    let of =
        |max_per_core, min, cpus| most_flows(&ConntrackSettings { max_per_core, min, ..nothing() }, cpus);
    assert_eq!(of(0, 131_072, 8), None);
    assert_eq!(of(32_768, 131_072, 2), Some(131_072));
    assert_eq!(of(32_768, 131_072, 8), Some(262_144));
    assert_eq!(of(32_768, 0, 8), Some(262_144));
    assert_eq!(of(32_768, 131_072, 64), Some(1_048_576));
    assert_eq!(of(32_768, 2_000_000, 64), Some(1_048_576), "the limit beats the minimum");
    assert_eq!(of(32_768, 2_000_000, 2), Some(2_000_000));
}

#[test]
fn the_table_grows_with_the_limit_and_never_shrinks() {
    let buckets =
        |buckets| wanted(&ConntrackSettings::default(), &Host { buckets: Some(buckets), ..fresh() }).buckets;
    assert_eq!(buckets(65_535), Some(65_536));
    assert_eq!(buckets(65_536), None);
    assert_eq!(buckets(262_144), None);
    let without = Host { buckets: None, ..fresh() };
    assert_eq!(wanted(&ConntrackSettings::default(), &without).problems.len(), 1);
    assert!(wanted(&nothing(), &without).problems.is_empty());
}

#[test]
fn what_is_another_namespaces_to_set_is_left_with_the_table() {
    let mut host = Host { buckets: Some(16), ..fresh() };
    host.current.get_mut(MAX).unwrap().settable = false;
    let preparation = wanted(&ConntrackSettings::default(), &host);
    assert_eq!(preparation.left, [Write { path: MAX, value: 262_144 }]);
    assert_eq!((preparation.writes.len(), preparation.buckets), (2, None));
    assert!(preparation.problems.is_empty());
    host.current.get_mut(MAX).unwrap().value = 262_144;
    assert_eq!(wanted(&ConntrackSettings::default(), &host).left, []);
}

#[test]
fn cpus_are_counted_by_their_ranges() {
    for (text, expected) in
        [("0\n", Some(1)), ("0-3,6\n", Some(5)), ("0-63\n", Some(64)), ("", None), ("3-1", None), ("x", None)]
    {
        assert_eq!(count(text), expected, "{text:?}");
    }
}

/// A root directory with these values in it.
fn root(host: &Host) -> TempDir {
    let root = TempDir::with_prefix("kubeweir-conntrack-").unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    for (path, current) in &host.current {
        let file = put(&format!("{SYSCTLS}/{path}"), &format!("{}\n", current.value));
        let mode = if current.settable { 0o644 } else { 0o444 };
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
    if let Some(buckets) = host.buckets {
        put(BUCKETS, &format!("{buckets}\n"));
    }
    put(CPUS, &format!("0-{}\n", host.cpus - 1));
    root
}

#[test]
fn what_differs_is_written_once() {
    let root = root(&Host { buckets: Some(16), ..fresh() });
    let done = prepare(root.path(), &ConntrackSettings::default());
    assert!(done.problems.is_empty());
    assert_eq!((done.writes.len(), done.buckets), (3, Some(65_536)));
    let host = read(root.path());
    assert_eq!(
        (host.current[MAX].value, host.current[CLOSE_WAIT].value, host.buckets),
        (262_144, 3600, Some(65_536))
    );
    let again = prepare(root.path(), &ConntrackSettings::default());
    assert_eq!((again.writes, again.buckets), (Vec::new(), None));
}

#[test]
fn all_that_cannot_be_set_is_named_with_what_it_is_and_should_be_and_the_rest_is_set() {
    let mut host = fresh();
    host.current.remove(UDP);
    host.buckets = None;
    let root = root(&host);
    // A file that takes no such number, whoever writes it.
    let refusing = root.path().join(SYSCTLS).join(ESTABLISHED);
    fs::remove_file(&refusing).unwrap();
    symlink("/proc/self/oom_score_adj", &refusing).unwrap();
    let settings = ConntrackSettings { udp: Duration::from_secs(7), ..ConntrackSettings::default() };
    let problems = prepare(root.path(), &settings).problems;
    let unset: Vec<_> = problems.iter().filter_map(Problem::unset).map(|unset| unset.write.path).collect();
    assert_eq!(unset, [UDP, ESTABLISHED], "in a daemon these are followed");
    let message = all_set(problems).unwrap_err().to_string();
    for part in [
        "net.netfilter.nf_conntrack_tcp_timeout_established=86400 cannot be set, \
         net.netfilter.nf_conntrack_tcp_timeout_established is ",
        "net.netfilter.nf_conntrack_udp_timeout=7 cannot be set, there is no such sysctl",
        "/sys/module/nf_conntrack/parameters/hashsize cannot be read",
        "--init-only",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(read(root.path()).current[CLOSE_WAIT].value, 3600);
}
