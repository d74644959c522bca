//! Upstream's tests are all answered here: by rows, by a test, or by a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use kubeweir_e2e::scenario;

const NAMES: &str = include_str!("../upstream-tests.txt");
const ANSWERS: &str = include_str!("../upstream.txt");
/// What upstream has no test for.
const OURS: &str = "ours: ";

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// How a test is answered.
#[derive(Debug, PartialEq)]
struct Answer<'a> {
    tables: Vec<&'a str>,
    tests: Vec<&'a str>,
    reason: Option<&'a str>,
}

fn answer(text: &str) -> Answer<'_> {
    let (names, reason) = match text.split_once("- ") {
        Some((names, reason)) => (names, Some(reason)),
        None => (text, None),
    };
    let words: Vec<&str> = names.split_whitespace().collect();
    let is_test = |at: usize| at > 0 && words[at - 1] == "fn";
    let pick = |test: bool| (0..words.len()).filter(|at| is_test(*at) == test).map(|at| words[at]).collect();
    let mut tables: Vec<&str> = pick(false);
    tables.retain(|word| *word != "fn");
    Answer { tables, tests: pick(true), reason }
}

fn answers() -> BTreeMap<&'static str, Answer<'static>> {
    let mut answers = BTreeMap::new();
    for line in lines(ANSWERS) {
        let (name, text) = line.split_once(" = ").unwrap_or_else(|| panic!("no ' = ': {line}"));
        assert_eq!(answers.insert(name, answer(text)), None, "{name} is answered twice");
    }
    answers
}

#[test]
fn every_upstream_test_is_answered_and_nothing_else() {
    let names: BTreeSet<&str> = lines(NAMES).collect();
    assert_eq!(names.len(), lines(NAMES).count(), "a name is listed twice");
    let answers = answers();
    let answered: BTreeSet<&str> = answers.keys().copied().filter(|name| !name.starts_with(OURS)).collect();
    let missing: Vec<_> = names.difference(&answered).collect();
    let unknown: Vec<_> = answered.difference(&names).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "not answered: {missing:?}; not listed: {unknown:?}");
    for (name, answer) in answers {
        let is_answered = !answer.tables.is_empty() || !answer.tests.is_empty() || answer.reason.is_some();
        assert!(is_answered, "{name} has an empty answer");
        let hides_a_test = answer.reason.is_some_and(|reason| reason.contains(".rs"));
        assert!(!hides_a_test, "{name}: tests are answers by their own name");
    }
}

#[test]
fn answers_name_tables_and_tests_that_exist() {
    let tests = all_tests();
    for (name, answer) in answers() {
        for test in &answer.tests {
            assert!(tests.contains(*test), "{name}: there is no test {test}");
        }
        for table in answer.tables {
            assert!(tables().contains(table), "{name}: there is no table {table}");
        }
    }
}

#[test]
fn every_table_answers_something() {
    let named: BTreeSet<String> =
        answers().values().flat_map(|answer| answer.tables.iter().map(ToString::to_string)).collect();
    let idle: Vec<_> = tables().difference(&named).cloned().collect();
    assert!(idle.is_empty(), "no answer names {idle:?}");
}

/// All packet tables, as `scenario/step`.
fn tables() -> BTreeSet<String> {
    let steps = |directory: PathBuf| {
        let name = directory.file_name().unwrap().to_string_lossy().into_owned();
        let steps = scenario::load(&directory).steps.len();
        (1..=steps).map(move |step| format!("{name}/{step}"))
    };
    scenario::all().into_iter().flat_map(steps).collect()
}

/// The names of all functions that are marked as tests.
fn all_tests() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut queue: Vec<PathBuf> = ["src", "modes", "e2e"].map(|room| root.join(room)).into();
    let mut found = BTreeSet::new();
    while let Some(path) = queue.pop() {
        if path.is_dir() {
            queue.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(tests_in(&std::fs::read_to_string(path).unwrap()));
        }
    }
    found
}

/// The function that follows each `#[test]`, with other attributes in between.
fn tests_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut marked = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            marked = true;
        } else if let (true, Some((_, rest))) = (marked, line.split_once("fn ")) {
            marked = false;
            found.extend(rest.split('(').next().map(str::to_owned));
        }
    }
    found
}
