//! `/healthz` of the metrics port: it answers, so it is well. Whether Services are programmed is said on the other port.

use form_urlencoded::parse;

use super::reply::{Reply, text};
use crate::metrics::Checks;

/// The only check that there is.
const PING: &str = "ping";
/// The name of the page.
const PAGE: &str = "healthz";

/// All checks but those excluded by the query; with `verbose` in it, one by one.
pub(super) fn all(checks: &Checks, query: &str) -> Reply {
    let excluded = excluded(query);
    let is_left_out = excluded.iter().any(|name| name == PING);
    if !is_left_out {
        checks.passed(PING, PAGE);
    }
    text(if is_verbose(query) { report(is_left_out, &excluded) } else { "ok".to_owned() })
}

/// The one check.
pub(super) fn one() -> Reply {
    text("ok".to_owned())
}

fn is_verbose(query: &str) -> bool {
    parse(query.as_bytes()).any(|(key, _)| key == "verbose")
}

/// Names come one by one, or several with commas between them.
fn excluded(query: &str) -> Vec<String> {
    let values =
        parse(query.as_bytes()).filter(|(key, _)| key == "exclude").map(|(_, value)| value.into_owned());
    values.flat_map(|value| value.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>()).collect()
}

fn report(is_left_out: bool, excluded: &[String]) -> String {
    let how = if is_left_out { "excluded: ok" } else { "ok" };
    let unknown: Vec<String> =
        excluded.iter().filter(|name| *name != PING).map(|name| format!("{name:?}")).collect();
    let warning = if unknown.is_empty() {
        String::new()
    } else {
        format!("warn: some health checks cannot be excluded: no matches for {}\n", unknown.join(","))
    };
    format!("[+]{PING} {how}\n{warning}{PAGE} check passed\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_was_checked_excluded_and_unknown() {
        let of = |query: &str| {
            let excluded = excluded(query);
            report(excluded.iter().any(|name| name == PING), &excluded)
        };
        assert_eq!(of("verbose"), "[+]ping ok\nhealthz check passed\n");
        assert_eq!(of("verbose&exclude=ping"), "[+]ping excluded: ok\nhealthz check passed\n");
        let odd = "[+]ping excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"etcd\",\"log\"\n\
            healthz check passed\n";
        assert_eq!(of("exclude=etcd,ping&verbose=1&exclude=log"), odd);
        assert!(is_verbose("a=b&verbose=") && !is_verbose("exclude=verbose"));
    }
}
