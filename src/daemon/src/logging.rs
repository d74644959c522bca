//! Structured logs on standard error.

use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Filter, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::configuration::Logging;
use crate::configuration::sections::Vmodule;

/// From this `-v` on every commit is logged.
const DEBUG_VERBOSITY: u32 = 4;
const TRACE_VERBOSITY: u32 = 6;
/// How targets of ours begin.
const OURS: &str = "kubeweir";
/// Warns of what it returns too, which we log, or not, ourselves.
const TWICE: &str = "kube_runtime::watcher";

type AnyFilter = Box<dyn Filter<Registry> + Send + Sync>;

/// Changes what is logged while the process runs.
#[derive(Clone)]
pub struct Handle {
    filter: reload::Handle<AnyFilter, Registry>,
    level: LevelFilter,
}

impl Handle {
    /// From now on, as much as this asks for. The format stays, and so does everything where `RUST_LOG` says what is logged.
    pub fn set(&self, logging: &Logging) {
        if std::env::var_os(EnvFilter::DEFAULT_ENV).is_some() {
            return;
        }
        // It fails when there is no subscriber any more, which nobody would then see.
        let _ = self.filter.reload(Box::new(Verbosity::new(logging, self.level)) as AnyFilter);
    }
}

/// Sets logging up for the whole process, at this level unless more verbosity is asked for. `RUST_LOG` overrides both.
pub fn start(logging: &Logging, level: LevelFilter) -> Handle {
    let filter: AnyFilter = match EnvFilter::try_from_default_env() {
        Ok(filter) => Box::new(filter),
        Err(_) => Box::new(Verbosity::new(logging, level)),
    };
    let (filter, handle) = reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match logging.format.as_str() {
        "json" => lines.json().boxed(),
        _ => lines.with_ansi(false).boxed(),
    };
    // A second call, as from tests, changes nothing.
    let _ = tracing_subscriber::registry().with(lines.with_filter(filter)).try_init();
    Handle { filter: handle, level }
}

/// What passes: of ours so much, of particular source files so much, of others warnings.
#[derive(Clone, Debug)]
struct Verbosity {
    ours: LevelFilter,
    files: Vec<(String, LevelFilter)>,
}

impl Verbosity {
    fn new(logging: &Logging, level: LevelFilter) -> Verbosity {
        let file = |entry: &Vmodule| (entry.file_pattern.clone(), level_of(entry.verbosity).unwrap_or(level));
        Verbosity {
            ours: level_of(logging.verbosity).unwrap_or(level),
            files: logging.vmodule.iter().map(file).collect(),
        }
    }

    fn passes(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= self.level(metadata.target(), metadata.file().unwrap_or_default())
    }

    /// The first pattern counts that fits the file.
    fn level(&self, target: &str, file: &str) -> LevelFilter {
        if target == TWICE {
            return LevelFilter::ERROR;
        }
        if !target.starts_with(OURS) {
            return LevelFilter::WARN;
        }
        let file = file.strip_suffix(".rs").unwrap_or(file);
        let name = Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let fits = |pattern: &str| is_like(pattern, if pattern.contains('/') { file } else { name });
        let found = self.files.iter().find(|(pattern, _)| fits(pattern));
        found.map_or(self.ours, |(_, level)| *level)
    }

    fn most(&self) -> LevelFilter {
        self.files.iter().map(|(_, level)| *level).fold(self.ours.max(LevelFilter::WARN), LevelFilter::max)
    }
}

impl<S: Subscriber> Filter<S> for Verbosity {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.passes(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.passes(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.most())
    }
}

/// What a verbosity asks for beyond what is logged anyway.
fn level_of(verbosity: u32) -> Option<LevelFilter> {
    match verbosity {
        TRACE_VERBOSITY.. => Some(LevelFilter::TRACE),
        DEBUG_VERBOSITY.. => Some(LevelFilter::DEBUG),
        _ => None,
    }
}

/// Whether a name fits a pattern with `*` and `?`.
fn is_like(pattern: &str, name: &str) -> bool {
    let mut rest = name.chars();
    match pattern.chars().next() {
        None => name.is_empty(),
        Some('*') => {
            is_like(&pattern[1..], name) || (rest.next().is_some() && is_like(pattern, rest.as_str()))
        }
        Some(wanted) => {
            let found = rest.next();
            let same = found.is_some_and(|found| wanted == '?' || wanted == found);
            same && is_like(&pattern[wanted.len_utf8()..], rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_may_ask_for_more_of_one_file() {
        let entry = |pattern: &str, verbosity| Vmodule { file_pattern: pattern.into(), verbosity };
        let vmodule = vec![entry("pub*er", 6), entry("*/cluster/*", 4)];
        let verbosity = Verbosity::new(&Logging { vmodule, ..Logging::default() }, LevelFilter::INFO);
        let level = |file: &str| verbosity.level("kubeweir_daemon::x", file);
        assert_eq!(level("src/daemon/src/publisher.rs"), LevelFilter::TRACE);
        assert_eq!(level("src/cluster/src/api.rs"), LevelFilter::DEBUG);
        assert_eq!(level("src/daemon/src/core.rs"), LevelFilter::INFO);
        assert_eq!(verbosity.level("hyper", "publisher.rs"), LevelFilter::WARN);
        assert_eq!(verbosity.level("kube_runtime::watcher", "watcher.rs"), LevelFilter::ERROR);
        assert_eq!(verbosity.most(), LevelFilter::TRACE);
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name) in [("*", ""), ("a?c", "abc"), ("*b*", "abc"), ("abc", "abc"), ("ü*", "über")] {
            assert!(is_like(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("a?", "a"), ("*b", "abc"), ("abc", "ab")] {
            assert!(!is_like(pattern, name), "{pattern} {name}");
        }
    }
}
