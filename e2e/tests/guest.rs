//! Runs suites in guests and tells of their tests as a test program would: `test guest-6.1::ipvs_guest::NAME ... ok`.
//!
//!     cargo test --test guest                             # each suite of every run, on the kernels of every run
//!     cargo test --test guest -- packets                  # all tests of a suite, on each of these kernels
//!     cargo test --test guest -- 6.12 packets::basics     # tests whose names contain all of these words
//!
//! Suites and kernels that are not for every run are used when a word begins with their name. A guest that does not come or
//! does not last, or a suite that is not there, is a failure. See `kubeweir_e2e::guest`.

use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use kubeweir_e2e::guest::{self, Binary, Often, Report, SUITES, Suite, Verdict};
use kubeweir_playground::{Guest, GuestError};

/// How long a suite may say nothing. The slowest test takes a small part of it.
const PATIENCE: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let begun = Instant::now();
    let asked = Asked::new(std::env::args().skip(1));
    let suites: Vec<Suite> = SUITES
        .iter()
        .copied()
        .filter(|suite| suite.often != Often::IfAsked || asked.names(suite.name))
        .collect();
    let binaries = match guest::build(&suites) {
        Ok(binaries) => binaries,
        Err(error) => {
            eprintln!("error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let runs = runs(&binaries, &asked);
    if asked.list {
        runs.iter().flat_map(Run::names).for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    tell(begun, runs)
}

/// What is to be run on each kernel.
fn runs(binaries: &[Binary], asked: &Asked) -> Vec<Run> {
    let each_time = guest::every_kernel();
    let shares = each_time.len();
    let run =
        |(share, kernel): (usize, &str)| Run::new(kernel, &dealt(binaries, asked, share, shares), asked);
    let always = each_time.into_iter().enumerate().map(run);
    let if_asked = guest::kernels_if_asked().into_iter().filter(|kernel| asked.names(kernel));
    always.chain(if_asked.map(|kernel| Run::new(kernel, binaries, asked))).collect()
}

/// A kernel's share of tests that need not be run on each.
fn dealt(binaries: &[Binary], asked: &Asked, share: usize, shares: usize) -> Vec<Binary> {
    let mut binaries = binaries.to_vec();
    let whole = |suite: Suite| suite.often != Often::DealtOut || asked.names(suite.name);
    for binary in binaries.iter_mut().filter(|binary| !whole(binary.suite)) {
        let tests = binary.tests.drain(..).enumerate();
        let tests = tests.filter(|(number, _)| number % shares == share).map(|(_, test)| test);
        binary.tests = tests.collect::<Vec<_>>();
    }
    binaries
}

/// What the command line asks for. What only concerns a test program of the usual kind is passed over.
struct Asked {
    words: Vec<String>,
    list: bool,
}

impl Asked {
    fn new(arguments: impl Iterator<Item = String>) -> Asked {
        let mut asked = Asked { words: Vec::new(), list: false };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => asked.list = true,
                "--test-threads" | "--skip" | "--format" | "--color" | "--logfile" | "-Z" => {
                    arguments.next();
                }
                flag if flag.starts_with('-') => {}
                _ => asked.words.push(argument),
            }
        }
        asked
    }

    fn names(&self, what: &str) -> bool {
        self.words.iter().any(|word| word.trim_start_matches("guest-").starts_with(what))
    }

    fn selects(&self, name: &str) -> bool {
        self.words.iter().all(|word| name.contains(word))
    }
}

/// What is to be run on one kernel.
struct Run {
    kernel: String,
    binaries: Vec<Binary>,
    left_out: usize,
}

/// What has come of it.
#[derive(Default)]
struct Outcome {
    passed: usize,
    failed: Vec<String>,
    told: String,
}

impl Run {
    fn new(kernel: &str, binaries: &[Binary], asked: &Asked) -> Run {
        let mut run = Run { kernel: kernel.to_owned(), binaries: binaries.to_vec(), left_out: 0 };
        let all = run.names().count();
        for binary in &mut run.binaries {
            let prefix = format!("guest-{kernel}::{}", binary.suite.name);
            binary.tests.retain(|test| asked.selects(&format!("{prefix}::{test}")));
        }
        run.binaries.retain(|binary| !binary.tests.is_empty());
        run.left_out = all - run.names().count();
        run
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let names = |binary: &Binary| {
            let prefix = format!("guest-{}::{}", self.kernel, binary.suite.name);
            binary.tests.iter().map(|test| format!("{prefix}::{test}")).collect::<Vec<_>>()
        };
        self.binaries.iter().flat_map(names).collect::<Vec<_>>().into_iter()
    }

    /// Boots the kernel once and runs all suites there, one after another.
    fn run(&self) -> Outcome {
        let mut outcome = Outcome::default();
        if self.binaries.is_empty() {
            return outcome;
        }
        if let Err(error) = self.run_in_guest(&mut outcome) {
            outcome.fail(format!("guest-{}", self.kernel), &error.to_string());
        }
        outcome
    }

    fn run_in_guest(&self, outcome: &mut Outcome) -> Result<(), GuestError> {
        let mut guest = Guest::boot(&guest::kernel(&self.kernel)?)?;
        for binary in &self.binaries {
            let prefix = format!("guest-{}::{}", self.kernel, binary.suite.name);
            run_suite(&mut guest, binary, &prefix, outcome)?;
        }
        guest.power_off()
    }
}

impl Outcome {
    fn fail(&mut self, what: String, why: &str) {
        self.told += &["\n---- ", &what, " ----\n", why, "\n"].concat();
        self.failed.push(what);
    }
}

/// Runs the tests of a suite that are asked for. One of which the test program tells nothing has failed.
fn run_suite(
    guest: &mut Guest,
    binary: &Binary,
    prefix: &str,
    outcome: &mut Outcome,
) -> Result<(), GuestError> {
    let mut report = Report::default();
    let status = guest.run(&command(binary), PATIENCE, |line| {
        if let Some((test, verdict)) = report.line(line) {
            let word = if verdict == Verdict::Passed { "ok" } else { "FAILED" };
            println!("test {prefix}::{test} ... {word}");
        }
    });
    for test in report.untold(&binary.tests) {
        println!("test {prefix}::{test} ... FAILED");
        outcome.failed.push(format!("{prefix}::{test}"));
    }
    outcome.failed.extend(report.failed().map(|test| format!("{prefix}::{test}")));
    outcome.passed += report.passed();
    outcome.told += &report.failures();
    let status = status?;
    let sound = report.untold(&binary.tests).is_empty() && (status == 0) == report.failed().next().is_none();
    if !sound {
        outcome.fail(prefix.to_owned(), &format!("ended with {status}, after:\n{}", report.rest()));
    }
    Ok(())
}

fn command(binary: &Binary) -> Command {
    let mut command = Command::new(&binary.program);
    command.args(["--exact", "--color=never"]);
    command.args(binary.suite.choice.flag()).args(&binary.tests).current_dir(env!("CARGO_MANIFEST_DIR"));
    command
        .envs(std::env::vars().filter(|(name, _)| name.starts_with("KUBEWEIR_") || name == "RUST_BACKTRACE"));
    command.envs(binary.suite.environment.iter().copied());
    command
}

/// Runs everything, one kernel beside the other: an emulator keeps one processor busy.
fn tell(begun: Instant, runs: Vec<Run>) -> ExitCode {
    println!("\nrunning {} tests", runs.iter().flat_map(Run::names).count());
    let left_out: usize = runs.iter().map(|run| run.left_out).sum();
    let threads: Vec<_> = runs.into_iter().map(|run| thread::spawn(move || run.run())).collect();
    let outcomes: Vec<Outcome> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let passed: usize = outcomes.iter().map(|outcome| outcome.passed).sum();
    let failed: Vec<&String> = outcomes.iter().flat_map(|outcome| &outcome.failed).collect();
    if !failed.is_empty() {
        let told: String = outcomes.iter().map(|outcome| outcome.told.as_str()).collect();
        println!("\nfailures:\n\n{told}\nfailures:");
        for name in &failed {
            println!("    {name}");
        }
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; {left_out} filtered out; finished in {:.2}s\n",
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
