//! What a report of upstream's tests must say for `conformance.sh` to be content.

use std::fs;
use std::path::Path;

use crate::chosen;
use crate::stage::Stage;

/// A report as upstream's test program writes it: all tests that it knows, and what became of each.
fn report(became: impl Fn(&str) -> &'static str) -> String {
    let case = |name: &str, became: &str| {
        format!(
            "      <testcase name=\"{name}\" classname=\"Kubernetes e2e suite\" status=\"x\" time=\"1\">{became}</testcase>\n"
        )
    };
    let others =
        ["[It] [sig-network] Services should do something else [Conformance]", "[SynchronizedBeforeSuite]"];
    let mut cases: Vec<String> =
        chosen().iter().map(|(_, name)| case(&format!("[It] {name}"), became(name))).collect();
    cases.extend([case(others[0], SKIPPED), case(others[1], PASSED)]);
    format!("<?xml version=\"1.0\"?>\n  <testsuites tests=\"7000\">\n{}  </testsuites>\n", cases.concat())
}

const PASSED: &str = "\n          <system-err>&lt;skipped&gt;</system-err>\n      ";
const SKIPPED: &str = "\n          <skipped message=\"skipped\"></skipped>\n      ";
const FAILED: &str = "\n          <failure type=\"failed\">no</failure>\n      ";

/// What the script says to a report, or to none.
fn judged(report: Option<&str>) -> Result<(), String> {
    let stage = Stage::new();
    let file = stage.directory.path().join("report");
    if let Some(report) = report {
        fs::write(&file, report).unwrap();
        let copy = format!("cp {} \"$4/junit_01.xml\"", file.display());
        stage.program("hydrophone", &copy);
    }
    // What an earlier run has left says nothing of this one.
    let results = Path::new(&stage.target()).join("kind/test/results");
    fs::create_dir_all(&results).unwrap();
    fs::write(results.join("junit_01.xml"), self::report(|_| PASSED)).unwrap();
    let judged = stage.run("conformance.sh", &[], &[]);
    assert!(stage.called().iter().any(|call| call.contains(&format!("--output-dir {}", results.display()))));
    judged
}

#[test]
fn each_wanted_test_must_have_run_and_passed_or_conformance_fails_and_names_it() {
    assert_eq!(judged(Some(&report(|_| PASSED))), Ok(()));
    let last = chosen().last().unwrap().1;
    for became in [SKIPPED, FAILED] {
        let said = judged(Some(&report(|name| if name == last { became } else { PASSED }))).unwrap_err();
        assert!(said.contains(last) && !said.contains(chosen()[0].1), "{said}");
    }
    let without = report(|_| PASSED).replace(last, "[sig-network] Services under another name");
    assert!(judged(Some(&without)).unwrap_err().contains(last));
}

#[test]
fn conformance_without_a_single_test_or_without_a_report_fails() {
    let said = judged(Some(&report(|_| SKIPPED))).unwrap_err();
    assert!(chosen().iter().all(|(_, name)| said.contains(name)), "{said}");
    judged(Some("")).unwrap_err();
    judged(None).unwrap_err();
}
