//! Shell scripts: `shellcheck` has nothing to say about any, and those that cannot be run here say so and name what exists.

mod conformance;
mod kind;
mod stage;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What upstream tests, in our words.
const NAMES: &str = include_str!("../../upstream-tests.txt");
/// Which of it the scripts for kind run, by upstream's names.
const CHOSEN: &str = include_str!("../../kind/tests.txt");
/// What scripts say that need what a test must not: Docker, and the network.
const NOT_RUN: &str = "Needs Docker and the network, and was not run where it was written";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Files that a shell reads, by their name or by their first line.
fn scripts() -> Vec<PathBuf> {
    let (mut found, mut queue) = (Vec::new(), vec![root().to_owned()]);
    while let Some(directory) = queue.pop() {
        for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = entry.file_name();
            if kind.is_dir() && name != "target" && name != ".git" {
                queue.push(path);
            } else if kind.is_file() && is_script(&path) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn is_script(path: &Path) -> bool {
    if path.extension().is_some_and(|extension| extension == "sh") {
        return true;
    }
    let bytes = fs::read(path).unwrap();
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    first.starts_with("#!") && first.trim_end().ends_with("sh")
}

#[test]
fn shellcheck_has_nothing_to_say_about_any_script() {
    let scripts = scripts();
    for known in [".ci/run", "e2e/guest/kernels.sh", "e2e/kind/run.sh", "src/playground/src/guest/init.sh"] {
        assert!(scripts.contains(&root().join(known)), "{known} is not found");
    }
    let mut command = Command::new("shellcheck");
    let output = command.arg("--external-sources").args(&scripts).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn scripts_that_were_not_run_say_so() {
    let directory = root().join("e2e/kind");
    let mut said = 0;
    for path in scripts().iter().filter(|path| path.starts_with(&directory) && !path.ends_with("common.sh")) {
        let text = fs::read_to_string(path).unwrap();
        let head: Vec<&str> = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(head.join("\n").contains(NOT_RUN), "{} does not say at its top: {NOT_RUN}", path.display());
        said += 1;
    }
    assert!(said >= 5);
    let page = fs::read_to_string(directory.join("README.md")).unwrap();
    assert!(page.lines().take(5).any(|line| line.contains("not run")), "{page}");
}

fn chosen() -> Vec<(&'static str, &'static str)> {
    let lines = CHOSEN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(" = ").unwrap_or_else(|| panic!("no ' = ': {line}"))).collect()
}

#[test]
fn tests_that_the_scripts_run_are_upstreams_each_once() {
    let known: BTreeSet<&str> = NAMES.lines().collect();
    let mut seen = BTreeSet::new();
    for (ours, upstreams) in chosen() {
        assert!(ours.starts_with("e2e ") && known.contains(ours), "upstream-tests.txt has no {ours}");
        assert!(upstreams.starts_with("[sig-network] ") && !upstreams.contains(" = "), "{upstreams}");
        assert!(
            !upstreams.contains(['<', '>', '&', '"', '\'']),
            "written otherwise in a report: {upstreams}"
        );
        assert!(seen.insert(upstreams), "{upstreams} is there twice");
    }
    assert!(seen.iter().any(|name| name.ends_with("[Conformance]")));
}

/// What is passed to the test runner is a regular expression. It matches these names, and is no wider than they are.
#[test]
fn the_expression_that_chooses_tests_matches_their_names_and_no_others() {
    let script = root().join("e2e/kind/conformance.sh");
    let output = Command::new(script).arg("--focus").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expression = String::from_utf8(output.stdout).unwrap();
    let matches = |name: &str| {
        let line = r#"printf "%s\n" "$1" | grep --quiet --extended-regexp --regexp="$2""#;
        let mut grep = Command::new("sh");
        grep.args(["-c", line, "sh", name, expression.trim_end()]).status().unwrap().success()
    };
    for (_, name) in chosen() {
        assert!(matches(name), "{name}");
        assert!(matches(&format!("{name} [Slow]")), "{name}, with another label");
        assert!(!matches(&name[..name.len() - 1]) && !matches(&name.replace(['[', ']'], "x")), "{name}");
    }
}

/// What the scripts look for in the kernel is there, by the names they use.
#[test]
fn the_scripts_speak_of_tables_and_sets_by_the_names_that_they_have() {
    let check = fs::read_to_string(root().join("e2e/kind/check.sh")).unwrap();
    for name in [kubeweir_nftables::names::TABLE, kubeweir_nftables::names::TABLE_BESIDE_SERVERS] {
        assert!(check.contains(&format!("table ip {name}'")), "{name}");
    }
    let set = kubeweir_nftables::names::SetId::ClusterIps.to_string();
    assert!(check.contains(&format!("nft list set ip {} {set}", kubeweir_nftables::names::TABLE)), "{set}");
}
