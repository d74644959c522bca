//! The demo in IPVS mode, which finds a kernel that has it by itself.

use std::process::{Command, Output};

use kubeweir_e2e::proxy::program;

fn demo(witness: &str) -> (Output, String) {
    let mut command = Command::new(program());
    command.args(["demo", "--proxy-mode=ipvs", "--connections=200", "--witness", witness]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said + &complaints)
}

#[test]
fn the_demo_in_ipvs_mode_ends_well_and_without_a_word_too_many() {
    let (output, said) = demo("ipvsadm");
    assert!(output.status.success(), "{said}");
    assert!(said.contains("all went right") && !said.contains("panicked"), "{said}");
    // One after the other: no two pods are more than a connection apart.
    assert_eq!(said.matches(" 33.0 %").count() + said.matches(" 33.5 %").count(), 3, "{said}");
    for line in ["TCP  10.96.0.10:80 rr", "  -> 10.244.0.2:8080              Masq    1 "] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
}

#[test]
fn a_demo_that_fails_says_so_with_its_exit_code_wherever_it_runs() {
    let (output, said) = demo("false");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("false -l -n: exit status: 1") && !said.contains("all went right"), "{said}");
}
