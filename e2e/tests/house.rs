//! Rules of the house that no compiler knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use kubeweir_e2e::guest::{Choice, SUITES, Suite};
use serde_json::Value;

/// Which of our crates each may use. What is not listed is forbidden.
const MAY_USE: [(&str, &[&str]); 9] = [
    ("kubeweir-plan", &[]),
    ("kubeweir-cluster", &["kubeweir-plan"]),
    ("kubeweir-playground", &[]),
    ("kubeweir-netlink", &[]),
    ("kubeweir-netfilter", &["kubeweir-netlink"]),
    ("kubeweir-nftables", &["kubeweir-netfilter", "kubeweir-plan"]),
    // Not a mode beside another one: what virtual servers cannot do is done by the rules of nftables mode.
    ("kubeweir-ipvs", &["kubeweir-netfilter", "kubeweir-netlink", "kubeweir-nftables", "kubeweir-plan"]),
    (
        "kubeweir",
        &[
            "kubeweir-cluster",
            "kubeweir-ipvs",
            "kubeweir-netfilter",
            "kubeweir-netlink",
            "kubeweir-nftables",
            "kubeweir-plan",
            "kubeweir-playground",
        ],
    ),
    (
        "kubeweir-e2e",
        &[
            "kubeweir-cluster",
            "kubeweir-ipvs",
            "kubeweir-netfilter",
            "kubeweir-netlink",
            "kubeweir-nftables",
            "kubeweir-plan",
            "kubeweir-playground",
        ],
    ),
];

/// What must not be reachable from a crate, however far.
const MUST_NEVER_SEE: [(&str, &[&str]); 5] = [
    ("kubeweir-plan", &["kube", "k8s-openapi", "tokio", "libc", "tracing", "serde"]),
    // netlink-sys can use tokio; rtnetlink, elsewhere in the workspace, asks it to.
    ("kubeweir-netlink", &["kube", "k8s-openapi", "tracing"]),
    ("kubeweir-netfilter", &["kube", "k8s-openapi", "tracing"]),
    ("kubeweir-nftables", &["kube", "k8s-openapi", "tracing"]),
    ("kubeweir-ipvs", &["kube", "k8s-openapi", "tracing"]),
];

/// Licences that may be linked into an Apache-2.0 program.
const LICENCES: [&str; 8] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-3-Clause",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Zlib",
];

const LONGEST_FILE: usize = 800;
const LONGEST_FUNCTION: usize = 80;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Packages by id, and what each depends on when built for release.
struct Packages {
    by_id: BTreeMap<String, Value>,
    uses: BTreeMap<String, Vec<String>>,
}

impl Packages {
    fn read() -> Packages {
        // Without the filter cargo would want the crates of every platform, which no build here ever fetched.
        let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["metadata", "--format-version=1", "--offline", &platform]).current_dir(root());
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |value: &Value| value.as_array().unwrap().clone();
        let by_id =
            list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
        let normal =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
        let uses = |node: &Value| {
            let dependencies = list(&node["deps"]).into_iter().filter(normal);
            dependencies.map(|dependency| text(&dependency["pkg"])).collect()
        };
        let nodes = list(&metadata["resolve"]["nodes"]);
        Packages { by_id, uses: nodes.iter().map(|node| (text(&node["id"]), uses(node))).collect() }
    }

    fn name(&self, id: &str) -> &str {
        self.by_id[id]["name"].as_str().unwrap()
    }

    fn id(&self, name: &str) -> &str {
        let found =
            self.by_id.iter().find(|(_, package)| package["name"] == name && package["source"].is_null());
        found.unwrap_or_else(|| panic!("no crate {name}")).0
    }

    fn reachable(&self, from: &str) -> BTreeSet<&str> {
        let (mut seen, mut queue) = (BTreeSet::new(), vec![from]);
        while let Some(id) = queue.pop() {
            for next in &self.uses[id] {
                if seen.insert(next.as_str()) {
                    queue.push(next);
                }
            }
        }
        seen
    }
}

#[test]
fn rooms_use_only_the_rooms_they_may() {
    let packages = Packages::read();
    let ours: BTreeSet<&str> = packages
        .by_id
        .values()
        .filter(|p| p["source"].is_null())
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    assert_eq!(ours, MAY_USE.iter().map(|(name, _)| *name).collect(), "every crate has its rule");
    for (name, allowed) in MAY_USE {
        for used in packages.uses[packages.id(name)].iter().map(|id| packages.name(id)) {
            assert!(!ours.contains(used) || allowed.contains(&used), "{name} must not use {used}");
        }
    }
    for (name, forbidden) in MUST_NEVER_SEE {
        for seen in packages.reachable(packages.id(name)).into_iter().map(|id| packages.name(id)) {
            assert!(!forbidden.contains(&seen), "{name} must never see {seen}");
        }
    }
}

#[test]
fn everything_linked_has_a_licence_that_allows_it() {
    let packages = Packages::read();
    for id in packages.reachable(packages.id("kubeweir")) {
        let package = &packages.by_id[id];
        let licence = package["license"].as_str().unwrap_or_default().replace('/', " OR ");
        let allowed = |choice: &str| {
            choice.split(" AND ").all(|one| LICENCES.contains(&one.trim_matches(['(', ')', ' '])))
        };
        assert!(licence.split(" OR ").any(allowed), "{}: {licence:?}", package["name"]);
    }
}

fn rust_files() -> Vec<PathBuf> {
    let (mut found, mut queue) = (Vec::new(), ["src", "modes", "e2e"].map(|room| root().join(room)).to_vec());
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                queue.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                found.push(entry);
            }
        }
    }
    found
}

/// The part of a file before its own tests.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().take_while(|line| line.trim() != "#[cfg(test)]").map(str::to_owned).collect()
}

#[test]
fn files_and_functions_stay_short() {
    for path in rust_files() {
        let lines = code(&path);
        assert!(lines.len() <= LONGEST_FILE, "{}: {} lines", path.display(), lines.len());
        for (start, line) in lines.iter().enumerate().filter(|(_, line)| is_function(line)) {
            let indent = line.len() - line.trim_start().len();
            let closing = format!("{}}}", " ".repeat(indent));
            let end = lines[start..].iter().position(|line| *line == closing).unwrap_or(0);
            assert!(end < LONGEST_FUNCTION, "{}:{}: {} lines", path.display(), start + 1, end + 1);
        }
    }
}

fn is_function(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().take_while(|word| !word.contains('(')).collect();
    let qualifiers = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
    match words.iter().position(|word| *word == "fn") {
        Some(at) => words[..at].iter().all(|word| qualifiers.contains(word)),
        None => words.is_empty() && line.trim_start().starts_with("fn "),
    }
}

#[test]
fn unsafe_code_stays_in_one_file() {
    let is_unsafe = |line: &String| line.split("//").next().is_some_and(|code| code.contains("unsafe {"));
    let with: Vec<PathBuf> =
        rust_files().into_iter().filter(|path| code(path).iter().any(is_unsafe)).collect();
    assert_eq!(with, [root().join("modes/netlink/src/socket.rs")]);
}

#[test]
fn product_crates_forbid_what_may_panic() {
    let rule = "#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]";
    for path in
        rust_files().iter().filter(|path| path.ends_with("src/lib.rs") || path.ends_with("src/main.rs"))
    {
        let is_bench = path.starts_with(root().join("e2e"));
        assert!(is_bench || fs::read_to_string(path).unwrap().contains(rule), "{}", path.display());
    }
}

#[test]
fn the_readme_shows_every_room_and_names_only_tests_that_exist() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    for (name, _) in MAY_USE {
        let packages = Packages::read();
        let manifest = packages.by_id[packages.id(name)]["manifest_path"].as_str().unwrap().to_owned();
        let room = Path::new(&manifest).parent().unwrap().strip_prefix(root()).unwrap().display().to_string();
        assert!(readme.contains(&format!("`{room}`")), "the code map does not show {room}");
    }
    names_only_tests_that_exist(&root().join("README.md"));
}

#[test]
fn other_pages_name_only_tests_that_exist_and_lead_only_to_their_own_headings() {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    for page in pages.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        names_only_tests_that_exist(&page);
        let text = fs::read_to_string(&page).unwrap();
        let heading = |line: &str| {
            let title = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            title.chars().filter(|c| c.is_alphanumeric() || *c == '-').collect::<String>()
        };
        let headings: BTreeSet<String> =
            text.lines().filter(|line| line.starts_with('#')).map(heading).collect();
        let links = text.split("](#").skip(1).map(|rest| rest.split(')').next().unwrap());
        links.for_each(|link| assert!(headings.contains(link), "{}: #{link}", page.display()));
    }
}

fn names_only_tests_that_exist(page: &Path) {
    let text = fs::read_to_string(page).unwrap();
    let all: String = rust_files().iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let named = text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|word| word.matches('_').count() >= 3 && !word.contains(' '));
    for test in named.filter(|word| !word.starts_with("kube")) {
        assert!(all.contains(&format!("fn {test}")), "{} names {test}, which does not exist", page.display());
    }
}

/// A variable that nobody sets leaves the page empty, and no build fails for it.
#[test]
fn what_a_build_is_told_of_itself_is_passed_by_whatever_builds_the_image() {
    let version = fs::read_to_string(root().join("src/daemon/src/http/version.rs")).unwrap();
    let variables: Vec<&str> =
        version.split("option_env!(\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(variables, ["KUBEWEIR_GIT_COMMIT", "KUBEWEIR_BUILD_DATE"]);
    let mut make = Command::new("make");
    make.args(["--dry-run", "image", "REVISION=0123abcd"]).current_dir(root());
    let output = make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").output().unwrap();
    let steps = String::from_utf8(output.stdout).unwrap();
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).unwrap();
    for (builder, text) in [("make", &steps), ("Dockerfile", &dockerfile)] {
        let before = text.split("cargo build").next().unwrap();
        for variable in &variables {
            assert!(before.contains(&format!("{variable}=")), "{builder} does not set {variable}:\n{text}");
        }
    }
    assert!(steps.contains("KUBEWEIR_GIT_COMMIT=0123abcd "), "{steps}");
}

/// A test that is ignored on the host runs in guests, or not at all. A suite that says nothing of such tests would have them
/// listed and not run.
#[test]
fn what_is_ignored_on_the_host_is_a_suite_of_guests() {
    let ignores = |path: &&PathBuf| {
        fs::read_to_string(path).unwrap().lines().any(|line| line.trim().starts_with("#[ignore"))
    };
    let mut found = 0;
    for path in rust_files().iter().filter(ignores) {
        let inside = path.strip_prefix(root()).unwrap().display().to_string();
        let (room, file) =
            inside.split_once("/tests/").unwrap_or_else(|| panic!("{inside}: ignored, and no suite"));
        let binary = file.split('/').next().unwrap().trim_end_matches(".rs");
        let suites: Vec<&Suite> =
            SUITES.iter().filter(|suite| (suite.room, suite.binary) == (room, binary)).collect();
        assert!(!suites.is_empty(), "{inside}: ignored, and no suite");
        assert!(
            suites.iter().all(|suite| suite.choice != Choice::Shared),
            "{inside}: ignored, and not asked for"
        );
        found += 1;
    }
    assert!(found > 0);
}
