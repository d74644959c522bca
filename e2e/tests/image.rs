//! The container image, built by `make image` as an operator would, and run by an OCI runtime in place of kube-proxy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use kubeweir_e2e::api::StandIn;
use kubeweir_e2e::confined::{User, check_rights};
use kubeweir_e2e::container::{Container, Rights, innermost};
use kubeweir_e2e::proxy::{Proxy, mode};
use kubeweir_e2e::scenario;
use kubeweir_e2e::settle::check_when_settled;
use kubeweir_e2e::topology::{Member, Network, POD_PREFIXES, Topology};
use kubeweir_playground::Namespace;
use serde_json::Value;
use tempfile::TempDir;

/// The command of kubeadm's DaemonSet, but for the node's name.
const KUBEADM: [&str; 2] = ["/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"];
/// Where its ConfigMap is mounted.
const CONFIGURATION: &str = "/var/lib/kube-proxy";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The image's archive unpacked, and below it what its only layer is.
struct Image {
    directory: PathBuf,
    layer: PathBuf,
    config: Value,
}

/// Built once, beside what `make image` builds for people, and in less time.
fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
        let directory = root().join(target).join("image-test");
        make(&directory);
        unpacked(&directory)
    })
}

fn make(directory: &Path) {
    let mut make = Command::new("make");
    make.arg("image").arg("IMAGE=localhost/kubeweir:test").arg("IMAGE_PROFILE=quick");
    make.arg(format!("IMAGE_DIRECTORY={}", directory.display())).arg(format!("CARGO={}", env!("CARGO")));
    kubeweir_e2e::forget_outer_cargo(&mut make);
    // An outer make has options and jobs of its own.
    let output = make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

fn unpacked(directory: &Path) -> Image {
    let to = directory.join("unpacked");
    let _ = fs::remove_dir_all(&to);
    fs::create_dir(&to).unwrap();
    tar(&["-xf", &directory.join("kubeweir.tar").display().to_string(), "-C", &to.display().to_string()]);
    let json = |name: &str| -> Value { serde_json::from_slice(&fs::read(to.join(name)).unwrap()).unwrap() };
    let manifest = json("manifest.json");
    let (layers, tags) = (&manifest[0]["Layers"], &manifest[0]["RepoTags"]);
    assert_eq!((layers.as_array().unwrap().len(), tags[0].as_str()), (1, Some("localhost/kubeweir:test")));
    let (layer, config) =
        (to.join(layers[0].as_str().unwrap()), json(manifest[0]["Config"].as_str().unwrap()));
    Image { directory: directory.to_owned(), layer, config }
}

fn tar(arguments: &[&str]) -> String {
    let output = Command::new("tar").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_image_is_one_binary_and_a_link_and_says_what_it_is() {
    let image = image();
    let listed = tar(&["--numeric-owner", "-tvf", &image.layer.display().to_string()]);
    let listed = listed.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Neither size nor date.
        format!("{} {} {}", words[0], words[1], words[5..].join(" "))
    });
    let expected = [
        "-rwxr-xr-x 0/0 kubeweir",
        "drwxr-xr-x 0/0 usr/",
        "drwxr-xr-x 0/0 usr/local/",
        "drwxr-xr-x 0/0 usr/local/bin/",
        "lrwxrwxrwx 0/0 usr/local/bin/kube-proxy -> ../../../kubeweir",
    ];
    assert_eq!(listed.collect::<Vec<_>>(), expected);
    let config = &image.config["config"];
    assert_eq!((&config["User"], &config["Entrypoint"]), (&"0:0".into(), &serde_json::json!(["/kubeweir"])));
    let label = |name: &str| config["Labels"][format!("org.opencontainers.image.{name}")].as_str().unwrap();
    assert_eq!((label("title"), label("licenses")), ("kubeweir", "Apache-2.0"));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(label("source"), env!("CARGO_PKG_REPOSITORY"));
    let page = label("documentation").split_once("/blob/main/").unwrap().1;
    assert!(root().join(page).is_file(), "there is no {page}");
    assert!(!label("revision").is_empty() && !label("description").is_empty());
}

/// Neither an interpreter (`PT_INTERP`) nor libraries (`DT_NEEDED`), neither of which the image has.
#[test]
fn the_binary_needs_nothing_to_be_loaded_beside_it() {
    let elf = fs::read(image().directory.join("binary/kubeweir")).unwrap();
    let number = |at: usize, size: usize| {
        elf[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!((&elf[..4], elf[4], elf[5]), (&b"\x7fELF"[..], 2, 1), "64 bits, least significant byte first");
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let headers = (0..count).map(|index| table + index * size);
    let kinds: Vec<usize> = headers.clone().map(|at| number(at, 4)).collect();
    assert!(kinds.contains(&1) && !kinds.contains(&3), "{kinds:?}");
    for at in headers.filter(|at| number(*at, 4) == 2) {
        let (start, length) = (number(at + 8, 8), number(at + 32, 8));
        let needed = (start..start + length).step_by(16).filter(|at| number(*at, 8) == 1).count();
        assert_eq!(needed, 0);
    }
}

#[test]
fn the_same_binary_makes_the_same_image() {
    let image = image();
    let again = TempDir::new_in(&image.directory).unwrap();
    make(again.path());
    assert_eq!(unpacked(again.path()).config, image.config);
}

/// The first stage of the Dockerfile cannot be run without a registry. What it runs is what `make image` runs, and what is sent
/// to it is a workspace that cargo understands.
#[test]
fn the_stage_that_compiles_has_all_of_the_workspace_and_compiles_as_make_does() {
    let normal = |file: &str| {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let line = text
            .lines()
            .find_map(|line| line.split_once(" build --profile ").filter(|_| !line.starts_with('#')));
        let line = line.unwrap_or_else(|| panic!("{file} does not compile")).1;
        let words: Vec<&str> = line.trim_end_matches(['\\', ' ']).split_whitespace().collect();
        // Neither the profile nor the target, which are variables.
        words[1..words.len() - 1].join(" ").split(" --target").next().unwrap().to_owned()
    };
    assert_eq!(normal("Dockerfile"), normal("Makefile"));
    let image = image();
    let work = TempDir::new_in(&image.directory).unwrap();
    let (file, out) = (work.path().join("Dockerfile"), work.path().join("context.tar"));
    fs::write(&file, "FROM scratch\nCOPY . /source\n").unwrap();
    let mut buildah = Command::new("buildah");
    buildah.arg("--root").arg(work.path().join("storage")).arg("--runroot").arg(work.path().join("run"));
    buildah
        .args(["--storage-driver", "vfs", "build", "--isolation", "chroot", "--tag", "context", "-f"])
        .arg(&file);
    let built =
        buildah.arg("--output").arg(format!("type=tar,dest={}", out.display())).arg(root()).output().unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
    tar(&["-xf", &out.display().to_string(), "-C", &work.path().display().to_string()]);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version=1", "--offline", "--locked", "--no-deps"]);
    let output = cargo.current_dir(work.path().join("source")).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(metadata["packages"].as_array().unwrap().iter().any(|package| package["name"] == "kubeweir"));
    assert!(!work.path().join("source/target").exists() && !work.path().join("source/.git").exists());
}

fn run(node: &Namespace, args: &[&str], rights: Rights) -> Output {
    let container = Container::new(&image().layer, args, rights);
    node.run(|| container.command().output()).unwrap().unwrap()
}

#[test]
fn both_names_are_the_same_program() {
    let node = Namespace::new("node").unwrap();
    let entry = image().config["config"]["Entrypoint"][0].as_str().unwrap();
    let says = |name: &str| {
        let output = run(&node, &[name, "--version"], Rights::Confined);
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    let said = [entry, KUBEADM[0], "kube-proxy"].map(says);
    assert_eq!(said, [0; 3].map(|_| format!("kubeweir {}\n", env!("CARGO_PKG_VERSION"))));
    let refused = run(&node, &[KUBEADM[0], "--unheard-of"], Rights::Confined);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
}

/// What kubeadm has a pod mount: the ConfigMap, and the service account's token and authority.
struct Mounts {
    directory: TempDir,
    secrets: PathBuf,
}

impl Mounts {
    fn of(node: &Member, api: &StandIn) -> Mounts {
        let kubeconfig = api.listen_in(&node.namespace);
        let directory = TempDir::with_prefix("kubeweir-configmap-").unwrap();
        fs::copy(&kubeconfig, directory.path().join("kubeconfig.conf")).unwrap();
        let configuration = format!(
            "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nbindAddress: 0.0.0.0\n\
             clientConnection: {{kubeconfig: {CONFIGURATION}/kubeconfig.conf}}\nclusterCIDR: {}\nmode: {}\n\
             nodePortAddresses: [primary]\n",
            POD_PREFIXES.join(","),
            mode()
        );
        fs::write(directory.path().join("config.conf"), configuration).unwrap();
        Mounts { directory, secrets: kubeconfig.parent().unwrap().to_owned() }
    }

    fn container(&self, args: &[&str], rights: Rights) -> Container {
        let container =
            Container::new(&image().layer, args, rights).mount(self.directory.path(), CONFIGURATION);
        // The kubeconfig names the files of the token and of the authority.
        container.mount(&self.secrets, &self.secrets.display().to_string())
    }
}

/// As kubeadm leaves a node, but for the image: one container, privileged.
fn with_the_image_alone_changed(node: &Member, mounts: &Mounts) -> (Proxy, Container) {
    let name = format!("--hostname-override={}", node.name);
    start(node, mounts.container(&[KUBEADM[0], KUBEADM[1], &name], Rights::Privileged))
}

/// As our own manifests have it: a first container that prepares the host, and one with nothing but `CAP_NET_ADMIN`.
fn with_one_capability(node: &Member, mounts: &Mounts) -> (Proxy, Container) {
    let name = format!("--hostname-override={}", node.name);
    let args = ["/kubeweir", KUBEADM[1], &name];
    let first = mounts.container(&[&args[..], &["--init-only"]].concat(), Rights::Privileged);
    let prepared = node.namespace.run(|| first.command().output()).unwrap().unwrap();
    let said = text(&prepared.stderr);
    assert!(prepared.status.success() && said.contains("the host is prepared"), "{said}");
    let started = start(node, mounts.container(&args, Rights::Confined));
    is_confined(innermost(started.0.id()));
    started
}

fn start(node: &Member, container: Container) -> (Proxy, Container) {
    let proxy = Proxy::of(&node.namespace, &mut container.command());
    proxy.wait_for_log("synced everything");
    (proxy, container)
}

fn is_confined(process: u32) {
    check_rights(process, User::Root);
    let mounts = fs::read_to_string(format!("/proc/{process}/mounts")).unwrap();
    for place in ["/", "/sys", "/proc/sys", CONFIGURATION] {
        let mount = mounts.lines().rfind(|line| line.split(' ').nth(1) == Some(place));
        let options = mount.unwrap_or_else(|| panic!("{place} is not mounted")).split(' ').nth(3).unwrap();
        assert!(options.split(',').any(|option| option == "ro"), "{place}: {options}");
    }
}

#[test]
fn packets_go_where_they_should_with_the_image_alone_changed_and_with_one_capability() {
    let directory = scenario::all().into_iter().find(|path| path.ends_with("basics")).unwrap();
    let scenario = scenario::load(&directory);
    let (topology, api) = (Topology::build(Network::Routed), StandIn::start());
    let step = &scenario.steps[0];
    api.replace_all(&step.objects);
    let nodes: Vec<&Member> = topology.nodes().collect();
    let mounts = [0, 1].map(|number| Mounts::of(nodes[number], &api));
    let (kubeadms, _kubeadms_files) = with_the_image_alone_changed(nodes[0], &mounts[0]);
    let (ours, _our_files) = with_one_capability(nodes[1], &mounts[1]);
    let failures = check_when_settled(&topology, &[kubeadms, ours], &scenario.flags, step);
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
