//! Programs of the host as witnesses.

use std::process::{Command, Output};

use kubeweir_playground::Namespace;

/// Runs a program of the host in a namespace. Failing fails the test.
#[track_caller]
pub(crate) fn run(place: &Namespace, line: &str) -> String {
    let output = output(place, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn output(place: &Namespace, line: &str) -> Output {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap());
    place.run(|| command.args(words).output()).unwrap().unwrap()
}

/// What `ipvsadm -ln` prints, less its heading and with single blanks: virtual servers in order, each before its real servers.
pub(crate) fn listed(place: &Namespace) -> Vec<String> {
    let text = run(place, "ipvsadm -ln");
    let lines = text.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut servers: Vec<(String, Vec<String>)> = Vec::new();
    for line in lines {
        match servers.last_mut() {
            Some((_, real)) if line.starts_with("->") => real.push(line),
            _ => servers.push((line, Vec::new())),
        }
    }
    servers.sort();
    servers
        .into_iter()
        .flat_map(|(server, mut real)| {
            real.sort();
            [server].into_iter().chain(real)
        })
        .collect()
}
