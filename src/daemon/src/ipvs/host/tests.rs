use std::fs;

use tempfile::TempDir;

use super::*;

const NEW: Option<Version> = Some(Version(6, 1));

/// A kernel as it comes, with the module loaded.
fn fresh() -> Values {
    let mut values: Values = ALL.into_iter().map(|path| (path, 0)).collect();
    values.insert(CONN_REUSE_MODE, 1);
    values
}

fn strict() -> Ipvs {
    Ipvs { strict_arp: true, ..Ipvs::default() }
}

fn writes(preparation: &Preparation) -> Vec<String> {
    preparation.writes.iter().map(Write::to_string).collect()
}

#[test]
fn releases_of_kernels_are_read() {
    for (release, version) in [
        ("6.1.0-13-amd64\n", Some(Version(6, 1))),
        ("5.13", Some(Version(5, 13))),
        ("4.19-rc1", Some(Version(4, 19))),
        ("six", None),
        ("6", None),
    ] {
        assert_eq!(Version::of_release(release), version, "{release}");
    }
}

#[test]
fn a_fresh_kernel_gets_what_differs_and_a_prepared_one_nothing() {
    let required = [
        "net.ipv4.vs.conntrack=1",
        "net.ipv4.vs.expire_nodest_conn=1",
        "net.ipv4.vs.expire_quiescent_template=1",
    ];
    let preparation = wanted(&Ipvs::default(), NEW, &fresh());
    assert_eq!(writes(&preparation), required);
    assert!(preparation.problems.is_empty());
    let mut current = fresh();
    current.extend(preparation.writes.iter().map(|write| (write.path, write.value)));
    assert!(wanted(&Ipvs::default(), NEW, &current).writes.is_empty());
    current.insert(EXPIRE_NODEST_CONN, 0);
    assert_eq!(writes(&wanted(&Ipvs::default(), NEW, &current)), ["net.ipv4.vs.expire_nodest_conn=1"]);
}

#[test]
fn connections_are_reused_where_that_is_broken_only() {
    let is_set = |kernel| {
        writes(&wanted(&Ipvs::default(), kernel, &fresh())).contains(&"net.ipv4.vs.conn_reuse_mode=0".into())
    };
    for (kernel, expected) in
        [((4, 0), false), ((4, 1), true), ((5, 8), true), ((5, 9), false), ((6, 1), false)]
    {
        assert_eq!(is_set(Some(Version(kernel.0, kernel.1))), expected, "{kernel:?}");
    }
    assert!(!is_set(None));
}

#[test]
fn strict_arp_is_set_when_asked_for() {
    let asked = writes(&wanted(&strict(), NEW, &fresh()));
    assert_eq!(asked[3..], ["net.ipv4.conf.all.arp_ignore=1", "net.ipv4.conf.all.arp_announce=2"]);
}

#[test]
fn everything_that_is_missing_is_named_at_once() {
    let preparation = wanted(&strict(), NEW, &Values::new());
    let message = NotReady(preparation.problems).to_string();
    for part in ["modprobe ip_vs", "no net.ipv4.conf.all.arp_ignore", "no net.ipv4.conf.all.arp_announce"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(!message.contains("net.ipv4.vs."), "without the module its sysctls need no mention: {message}");
    let mut without_conntrack = fresh();
    without_conntrack.remove(CONNTRACK);
    let message = NotReady(wanted(&strict(), NEW, &without_conntrack).problems).to_string();
    assert!(message.contains("CONFIG_IP_VS_NFCT") && !message.contains("modprobe"), "{message}");
}

/// `/proc/sys` with these values in it.
fn sysctls(values: &Values) -> TempDir {
    let root = TempDir::with_prefix("kubeweir-sysctls-").unwrap();
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put(RELEASE, "6.1.0\n");
    for (path, value) in values {
        put(path, &format!("{value}\n"));
    }
    root
}

#[test]
fn what_differs_is_written_and_nothing_else() {
    let root = sysctls(&fresh());
    let done = prepare(root.path(), &strict());
    assert_eq!((done.writes.len(), done.problems.len()), (5, 0));
    let expected = Values::from([
        (CONNTRACK, 1),
        (EXPIRE_NODEST_CONN, 1),
        (EXPIRE_QUIESCENT_TEMPLATE, 1),
        (CONN_REUSE_MODE, 1),
        (ARP_IGNORE, 1),
        (ARP_ANNOUNCE, 2),
    ]);
    assert_eq!(read(root.path()), expected);
    assert_eq!(prepare(root.path(), &strict()).writes, []);
}

#[test]
fn an_old_kernel_is_told_by_its_release() {
    let root = sysctls(&fresh());
    fs::write(root.path().join(RELEASE), "5.8.0\n").unwrap();
    assert!(prepare(root.path(), &Ipvs::default()).problems.is_empty());
    assert_eq!(read(root.path())[CONN_REUSE_MODE], 0);
}

#[test]
fn a_refused_write_is_named_beside_what_is_missing_and_the_rest_is_set() {
    let mut values = fresh();
    values.remove(ARP_ANNOUNCE);
    let root = sysctls(&values);
    // Not even root may write this one.
    let refusing = root.path().join(EXPIRE_NODEST_CONN);
    fs::remove_file(&refusing).unwrap();
    std::os::unix::fs::symlink("/proc/sys/kernel/ngroups_max", &refusing).unwrap();
    let done = prepare(root.path(), &strict());
    assert_eq!(done.writes.len(), 3, "what is refused is not told as set");
    let message = go_on(done.problems).unwrap_err().to_string();
    assert!(message.contains("net.ipv4.vs.expire_nodest_conn=1 cannot be set"), "{message}");
    assert!(message.contains("no net.ipv4.conf.all.arp_announce"), "{message}");
    assert_eq!(read(root.path())[CONNTRACK], 1);
}

#[test]
fn a_daemon_goes_on_without_what_does_not_change_where_packets_go() {
    let refused = |path| {
        let error = io::Error::from(io::ErrorKind::ReadOnlyFilesystem);
        Problem::NotWritable(Write { path, value: 1 }, 0, error)
    };
    let unset = go_on(vec![refused(EXPIRE_NODEST_CONN), refused(ARP_IGNORE)]).unwrap();
    let named: Vec<_> = unset.iter().map(|unset| unset.write.path).collect();
    assert_eq!(named, [EXPIRE_NODEST_CONN, ARP_IGNORE]);
    for fatal in [refused(CONNTRACK), Problem::NoModule, Problem::NoSysctl(ARP_IGNORE)] {
        let NotReady(all) = go_on(vec![refused(EXPIRE_NODEST_CONN), fatal]).unwrap_err();
        assert_eq!(all.len(), 2, "all that is missing is named at once");
    }
}

#[test]
fn a_kernel_that_does_not_answer_for_ipvs_lacks_the_module_whatever_else_it_has() {
    let message = |problems| NotReady(without_module(problems)).to_string();
    let once = message(Vec::new());
    assert!(once.contains("ip_vs is not loaded"), "{once}");
    assert_eq!(message(vec![Problem::NoModule]), once);
    let more = message(vec![Problem::NoSysctl(ARP_ANNOUNCE)]);
    assert!(more.starts_with(&once) && more.contains("arp_announce"), "{more}");
}
