//! A directory of manifests, followed for real.

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use kubeweir_cluster::{Event, Store, manifests};
use kubeweir_plan::ObjectName;
use tempfile::TempDir;

fn service(name: &str, ip: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{clusterIP: {ip}, ports: [{{port: 80}}]}}\n"
    )
}

/// Puts a file in place in one step, as an editor would.
fn write(directory: &Path, name: &str, text: &str) {
    let hidden = directory.join(format!(".{name}.new"));
    fs::write(&hidden, text).unwrap();
    fs::rename(hidden, directory.join(name)).unwrap();
}

struct Followed {
    directory: TempDir,
    events: mpsc::Receiver<Event>,
    store: Store,
}

impl Followed {
    fn start(files: &[(&str, &str)]) -> Followed {
        let directory = TempDir::new().unwrap();
        for (name, text) in files {
            write(directory.path(), name, text);
        }
        let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
        let path = directory.path().to_owned();
        std::thread::spawn(move || manifests::follow(&path, "node-1", &sender));
        let (forward, events) = mpsc::channel();
        std::thread::spawn(move || {
            while let Some(event) = receiver.blocking_recv() {
                let _ = forward.send(event);
            }
        });
        Followed { directory, events, store: Store::default() }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.directory.path(), name, text);
    }

    /// Takes events in until the condition holds.
    fn until(&mut self, what: &str, condition: impl Fn(&Store) -> bool) {
        while !condition(&self.store) {
            let event =
                self.events.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("never: {what}"));
            self.store.apply(event);
        }
    }

    fn ip_is(&mut self, name: &str, ip: Option<&str>) {
        let name = ObjectName::new("default", name);
        self.until(&format!("{name} at {ip:?}"), |store| {
            let service = store.snapshot().and_then(|snapshot| snapshot.service(&name));
            store.snapshot().is_some() && service.map(|s| s.cluster_ips[0].to_string()).as_deref() == ip
        });
    }
}

#[test]
fn files_are_followed_as_they_come_change_and_go() {
    let mut followed = Followed::start(&[("a.yaml", &service("a", "10.96.0.1"))]);
    followed.ip_is("a", Some("10.96.0.1"));
    followed.write("b.yml", &service("b", "10.96.0.2"));
    followed.ip_is("b", Some("10.96.0.2"));
    followed.write("b.yml", &service("b", "10.96.0.3"));
    followed.ip_is("b", Some("10.96.0.3"));
    fs::remove_file(followed.directory.path().join("a.yaml")).unwrap();
    followed.ip_is("a", None);
}

#[test]
fn a_file_that_breaks_keeps_what_it_said_last() {
    let mut followed = Followed::start(&[("a.yaml", &service("a", "10.96.0.1"))]);
    followed.ip_is("a", Some("10.96.0.1"));
    followed.write("a.yaml", "apiVersion: v1\nkind: Service\nspec: [");
    followed.write("b.yaml", &service("b", "10.96.0.2"));
    followed.ip_is("b", Some("10.96.0.2"));
    followed.ip_is("a", Some("10.96.0.1"));
    followed.write("a.yaml", &service("a", "10.96.0.9"));
    followed.ip_is("a", Some("10.96.0.9"));
}

#[test]
fn there_is_no_snapshot_while_a_file_has_never_been_good() {
    let mut followed = Followed::start(&[("a.yaml", &service("a", "10.96.0.1")), ("b.yaml", "kind: [")]);
    let name = ObjectName::new("default", "a");
    let event =
        followed.events.iter().find(|event| matches!(event, Event::Service(s, _) if s.name == name)).unwrap();
    followed.store.apply(event);
    assert!(followed.store.snapshot().is_none());
    followed.write("b.yaml", &service("b", "10.96.0.2"));
    followed.until("complete", |store| store.snapshot().is_some());
}

#[test]
fn of_two_files_with_one_object_the_first_counts_until_it_goes() {
    let files = [("1.yaml", service("a", "10.96.0.1")), ("2.yaml", service("a", "10.96.0.2"))];
    let mut followed = Followed::start(&[(files[0].0, &files[0].1), (files[1].0, &files[1].1)]);
    followed.ip_is("a", Some("10.96.0.1"));
    fs::remove_file(followed.directory.path().join("1.yaml")).unwrap();
    followed.ip_is("a", Some("10.96.0.2"));
    followed.write("0.yaml", &service("a", "10.96.0.3"));
    followed.ip_is("a", Some("10.96.0.3"));
}

#[test]
fn the_link_swap_of_a_config_map_volume_is_followed() {
    let mut followed = Followed::start(&[]);
    let root = followed.directory.path().to_owned();
    let version = |number: u32, ip: &str| {
        let directory = root.join(format!("..{number}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.yaml"), service("a", ip)).unwrap();
        std::os::unix::fs::symlink(format!("..{number}"), root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    version(1, "10.96.0.1");
    std::os::unix::fs::symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
    followed.ip_is("a", Some("10.96.0.1"));
    version(2, "10.96.0.2");
    followed.ip_is("a", Some("10.96.0.2"));
}

#[test]
fn loading_once_fails_at_the_first_bad_file() {
    let directory = TempDir::new().unwrap();
    write(directory.path(), "a.yaml", &service("a", "10.96.0.1"));
    write(directory.path(), "notes.txt", "not a manifest");
    let mut store = Store::default();
    for event in manifests::load(directory.path(), "node-1").unwrap() {
        store.apply(event);
    }
    assert_eq!(store.snapshot().unwrap().service_names().count(), 1);
    write(directory.path(), "b.yaml", "kind: [");
    let error = manifests::load(directory.path(), "node-1").unwrap_err();
    assert!(error.to_string().starts_with("b.yaml:1"), "{error}");
    let missing = manifests::load(&directory.path().join("missing"), "node-1").unwrap_err();
    assert!(missing.to_string().contains("missing"));
}

#[test]
fn all_nodes_in_files_count_and_the_others_by_their_addresses_only() {
    let node = |name: &str, last: u8| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nstatus: {{addresses: [{{type: InternalIP, address: 192.0.2.{last}}}]}}\n"
        )
    };
    let both = node("node-1", 1) + &node("node-2", 2);
    let mut followed = Followed::start(&[("nodes.yaml", &both), ("node-3.yaml", &node("node-3", 3))]);
    let known = |store: &Store| {
        let snapshot = store.snapshot()?;
        let is_known = |last: &u8| snapshot.is_of_a_node([192, 0, 2, *last].into());
        Some((1..5).filter(is_known).collect::<Vec<_>>())
    };
    followed.until("three Nodes", |store| known(store) == Some(vec![1, 2, 3]));
    assert_eq!(followed.store.snapshot().unwrap().node().unwrap().addresses.len(), 1);
    followed.write("node-3.yaml", &node("node-3", 4));
    followed.until("another address", |store| known(store) == Some(vec![1, 2, 4]));
    followed.write("nodes.yaml", &node("node-1", 1));
    followed.until("one Node less", |store| known(store) == Some(vec![1, 4]));
    assert!(!followed.store.snapshot().unwrap().node().unwrap().leaving);
}
