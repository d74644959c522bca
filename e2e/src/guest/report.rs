//! What a test program prints, line by line, and what is made of it.

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should.
    Passed,
    /// Otherwise, or not at all.
    Failed,
}

/// What one run of a test program has told so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    told: Vec<(String, Verdict)>,
    /// Lines that tell of no verdict: what failing tests have printed.
    rest: Vec<String>,
}

impl Report {
    /// Takes a line; returns the test and its verdict if the line is one.
    pub fn line(&mut self, line: &str) -> Option<(&str, Verdict)> {
        let verdict = |text: &str| match text {
            "ok" => Some(Verdict::Passed),
            "FAILED" => Some(Verdict::Failed),
            _ => None,
        };
        let told = line.strip_prefix("test ").and_then(|line| line.rsplit_once(" ... "));
        let Some((name, verdict)) = told.and_then(|(name, word)| Some((name, verdict(word)?))) else {
            self.rest.push(line.to_owned());
            return None;
        };
        // Tests that must panic have a remark behind their name.
        let name = name.split(" - ").next().unwrap_or(name);
        self.told.push((name.to_owned(), verdict));
        self.told.last().map(|(name, verdict)| (name.as_str(), *verdict))
    }

    /// Tests of a list that nothing was told of.
    pub fn untold<'a>(&self, tests: &'a [String]) -> Vec<&'a String> {
        tests.iter().filter(|test| !self.told.iter().any(|(name, _)| name == *test)).collect()
    }

    /// How many passed.
    pub fn passed(&self) -> usize {
        self.told.iter().filter(|(_, verdict)| *verdict == Verdict::Passed).count()
    }

    /// Those that failed.
    pub fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = self.told.iter().filter(|(_, verdict)| *verdict == Verdict::Failed);
        failed.map(|(name, _)| name.as_str())
    }

    /// What failing tests have printed, as the test program shows it.
    pub fn failures(&self) -> String {
        let shown = self.rest.iter().map(String::as_str).skip_while(|line| *line != "failures:").skip(1);
        let shown = shown.take_while(|line| *line != "failures:" && !line.starts_with("test result:"));
        shown.collect::<Vec<_>>().join("\n")
    }

    /// All that was no verdict.
    pub fn rest(&self) -> String {
        self.rest.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_failures_and_what_was_never_told_are_told_apart() {
        let lines = "\nrunning 3 tests\ntest one ... ok\ntest two::three ... FAILED\n\nfailures:\n\n---- two::three stdout ----\nit is what it is\n\n\nfailures:\n    two::three\n\ntest result: FAILED. 1 passed";
        let mut report = Report::default();
        let told: Vec<(String, Verdict)> = lines
            .lines()
            .filter_map(|line| report.line(line).map(|(name, verdict)| (name.to_owned(), verdict)))
            .collect();
        assert_eq!(told, [("one".to_owned(), Verdict::Passed), ("two::three".to_owned(), Verdict::Failed)]);
        assert_eq!(report.failures().trim(), "---- two::three stdout ----\nit is what it is");
        let tests = ["one", "two::three", "four"].map(str::to_owned);
        assert_eq!(report.untold(&tests), ["four"]);
    }
}
