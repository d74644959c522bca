//! Guests do what their callers rely on, whatever runs in them. These tests boot the oldest kernel.

use std::process::Command;
use std::time::Duration;

use kubeweir_e2e::guest::{every_kernel, kernel};
use kubeweir_playground::{Guest, GuestError};

const PATIENCE: Duration = Duration::from_secs(300);

fn boot() -> Guest {
    Guest::boot(&kernel(every_kernel()[0]).unwrap()).unwrap()
}

fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// What a script in the guest prints, and its exit code.
fn run(guest: &mut Guest, command: &Command) -> (Vec<String>, i32) {
    let mut lines = Vec::new();
    let status = guest.run(command, PATIENCE, |line| lines.push(line.to_owned())).unwrap();
    (lines, status)
}

#[test]
fn programs_have_their_variables_and_directory_and_give_back_lines_and_status() {
    let kernel = kernel(every_kernel()[0]).unwrap();
    let mut guest = Guest::boot(&kernel).unwrap();
    let mut command = shell("uname -r; pwd; echo \"$WHO\" >&2; echo; printf 'no end'; exit 3");
    command.env("WHO", "it's me").current_dir(env!("CARGO_MANIFEST_DIR"));
    let expected = [kernel.release(), env!("CARGO_MANIFEST_DIR"), "it's me", "", "no end"];
    assert_eq!(run(&mut guest, &command), (expected.map(str::to_owned).to_vec(), 3));
    assert_eq!(run(&mut guest, &shell("kill -9 $$")).1, 128 + 9);
    assert_eq!(run(&mut guest, &shell("true")), (Vec::new(), 0));
    assert_eq!(run(&mut guest, &Command::new("/no/such/program")).1, 127);
    // What one program writes the next one finds, and the host does not.
    let path = std::env::temp_dir().join(format!("kubeweir-guest-{}-written", std::process::id()));
    assert_eq!(run(&mut guest, &shell(&format!("echo here > {}", path.display()))).1, 0);
    assert_eq!(run(&mut guest, Command::new("cat").arg(&path)), (vec!["here".to_owned()], 0));
    assert!(!path.exists());
    guest.power_off().unwrap();
}

#[test]
fn a_kernel_that_panics_is_told_with_its_last_words() {
    let mut guest = boot();
    let error = guest.run(&shell("echo c > /proc/sysrq-trigger"), PATIENCE, |_| {}).unwrap_err();
    assert!(matches!(error, GuestError::Trouble { .. }), "{error:?}");
    assert!(error.to_string().contains("sysrq triggered crash"), "{error}");
}

#[test]
fn a_guest_that_is_silent_or_goes_early_is_not_waited_for() {
    let mut guest = boot();
    let silent = guest.run(&shell("sleep 1000"), Duration::from_secs(2), |_| {}).unwrap_err();
    assert!(matches!(silent, GuestError::Silent { seconds: 2, .. }), "{silent:?}");
    let mut guest = boot();
    let gone = guest.run(&shell("echo o > /proc/sysrq-trigger; sleep 1000"), PATIENCE, |_| {}).unwrap_err();
    assert!(matches!(gone, GuestError::Gone { .. }), "{gone:?}");
}

#[test]
fn a_kernel_that_was_not_fetched_is_named() {
    let error = kernel("2.4").unwrap_err().to_string();
    assert!(error.starts_with("no kernel 2.4 in "), "{error}");
}
