//! Rows whose outcome is another one in IPVS mode, by its nature: all in one file, `scenarios/ipvs-differs`, each with its reason.
//!
//! ```text
//! # Why, in the lines before.
//! externals/1 outside -> tcp 203.0.113.10:81 : refused
//! ```

use std::path::Path;

use super::{Row, Step, read, row};

/// A row that differs.
#[derive(Clone, Debug)]
pub struct Differs {
    /// The scenario.
    pub scenario: String,
    /// The step, from 1.
    pub step: usize,
    /// The row as it is in IPVS mode.
    pub row: Row,
    /// Why.
    pub reason: String,
}

/// All of them.
pub fn all() -> Vec<Differs> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/ipvs-differs");
    let (mut found, mut reason, mut after_row) = (Vec::new(), String::new(), false);
    for (number, line) in (1..).zip(read(&path).lines()) {
        if let Some(comment) = line.strip_prefix('#') {
            if after_row {
                reason.clear();
            }
            reason.push_str(comment);
            after_row = false;
        } else if !line.trim().is_empty() {
            let place = format!("{}:{number}", path.display());
            found.push(parse(line, &place, reason.trim()).unwrap_or_else(|why| panic!("{place}: {why}")));
            after_row = true;
        }
    }
    found
}

fn parse(line: &str, place: &str, reason: &str) -> Result<Differs, String> {
    let (scenario, rest) = line.split_once(' ').ok_or("no row")?;
    let (scenario, step) = scenario.split_once('/').ok_or("no scenario and step")?;
    let step = step.parse().map_err(|_| format!("{step} is no step"))?;
    Ok(Differs { scenario: scenario.to_owned(), step, row: row(rest, place)?, reason: reason.to_owned() })
}

/// Steps with the rows that differ in this mode put in their places.
pub(super) fn in_mode(mode: &str, directory: &Path, mut steps: Vec<Step>) -> Vec<Step> {
    for differs in all().into_iter().filter(|d| mode == "ipvs" && directory.ends_with(&d.scenario)) {
        let asks = |row: &&mut Row| {
            (&row.client, row.transport, row.to)
                == (&differs.row.client, differs.row.transport, differs.row.to)
        };
        let rows = &mut steps[differs.step - 1].rows;
        let row = rows.iter_mut().find(asks);
        row.unwrap_or_else(|| panic!("{}: no such row", differs.row.place)).expect = differs.row.expect;
    }
    steps
}
