//! What `-v` and `--vmodule` have the daemon log, of the same events.

use std::fs;

use kubeweir_e2e::generate;
use kubeweir_e2e::proxy::Proxy;
use kubeweir_e2e::volume::Volume;
use kubeweir_playground::Namespace;
use serde_json::Value;
use tempfile::TempDir;

/// Passes and flow checks, as counted: each is logged, if at all, after it was counted and before the next.
const COUNTED: [&str; 2] = [
    "kubeproxy_sync_partial_proxy_rules_duration_seconds_count",
    "kubeproxy_conntrack_reconciler_sync_duration_seconds_count",
];
/// Lines that somebody may want to see: where from, and what they say.
const OF_PASSES: (&str, &str) = ("publisher", "synced what changed");
const OF_FLOWS: (&str, &str) = ("conntrack", "ended stale flows");

struct World {
    proxy: Proxy,
    manifests: TempDir,
}

impl World {
    fn new(flags: &[&str]) -> World {
        let (node, manifests) = (Namespace::new("node").unwrap(), TempDir::new().unwrap());
        let more = [
            format!("--manifests={}", manifests.path().display()),
            "--hostname-override=node-1".to_owned(),
            // As it is, which takes no right.
            format!("--oom-score-adj={}", fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim()),
        ];
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).chain(more).collect();
        let proxy = Proxy::exactly(&node, &flags);
        proxy.wait_for_log("synced everything");
        World { proxy, manifests }
    }

    /// Has a pass and a flow check be done, for a Service of this number.
    fn change(&self, number: u32) {
        let before = COUNTED.map(|name| self.proxy.count(name));
        let (mut service, mut slice) = (generate::service(number), generate::slice(number, [0]));
        for ports in [&mut service["spec"]["ports"], &mut slice["ports"]] {
            ports[0]["protocol"] = "UDP".into();
        }
        let text = [service, slice].map(|object: Value| object.to_string()).join("\n---\n");
        generate::put(self.manifests.path(), &format!("{number}.yaml"), &text);
        self.proxy.wait("a pass and a check", |proxy| {
            let now = COUNTED.map(|name| proxy.count(name));
            now.iter().zip(before).all(|(now, before)| *now > before).then_some(())
        });
    }

    /// Lines below the level of what is logged anyway: the file that they come from, and what they say.
    fn details(&self) -> Vec<(String, String)> {
        let log = self.proxy.log();
        let detail = |line: &str| {
            let (target, said) = line.split_once(" DEBUG ")?.1.split_once(": ")?;
            Some((target.rsplit("::").next()?.to_owned(), said.to_owned()))
        };
        log.lines().filter_map(detail).collect()
    }

    fn has(&self, (file, what): (&str, &str)) -> bool {
        self.details().iter().any(|(from, said)| from == file && said.starts_with(what))
    }
}

#[test]
fn from_verbosity_4_on_there_are_details_and_below_there_are_none() {
    for (flag, detailed) in [("-v=0", false), ("--v=2", false), ("--v=4", true), ("--v=10", true)] {
        let world = World::new(&[flag]);
        world.change(1);
        world.change(2);
        assert_eq!((world.has(OF_PASSES), world.has(OF_FLOWS)), (detailed, detailed), "{flag}");
        assert_eq!(world.details().is_empty(), !detailed, "{flag}: {:?}", world.details());
    }
}

#[test]
fn single_files_may_have_more_details_or_fewer_than_all() {
    for (flags, passes, flows) in [
        (["--v=2", "--vmodule=publisher=4"], true, false),
        (["--v=2", "--vmodule=publisher=3,con*ck=5"], false, true),
        (["--v=2", "--vmodule=*/daemon/src/*=4"], true, true),
        (["--v=4", "--vmodule=publisher=2"], false, true),
        (["--v=4", "--vmodule=proxier=9"], true, true),
    ] {
        let world = World::new(&flags);
        world.change(1);
        world.change(2);
        assert_eq!((world.has(OF_PASSES), world.has(OF_FLOWS)), (passes, flows), "{flags:?}");
        // Of files that nobody has asked for there is nothing.
        let unwanted =
            |(file, _): &(String, String)| file == "publisher" && !passes || file == "conntrack" && !flows;
        assert_eq!(world.details().into_iter().find(unwanted), None, "{flags:?}");
        assert!(!world.proxy.log().contains("without an effect"), "{}", world.proxy.log());
    }
}

#[test]
fn what_is_logged_follows_the_configuration_file() {
    let volume = Volume::empty("config.conf");
    let put = |logging: &str| {
        volume.put(&format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nlogging: {logging}\n"
        ));
    };
    put("{verbosity: 0}");
    let world = World::new(&[&format!("--config={}", volume.file().display())]);
    world.change(1);
    world.change(2);
    assert!(!world.has(OF_PASSES) && !world.has(OF_FLOWS), "{:?}", world.details());
    put("{verbosity: 0, vmodule: [{filePattern: conntrack, verbosity: 4}]}");
    world.proxy.wait_for_log("in force fields=\"logging.vmodule\"");
    world.change(3);
    world.change(4);
    assert!(!world.has(OF_PASSES) && world.has(OF_FLOWS), "{:?}", world.details());
}
