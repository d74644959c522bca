//! Settings with the configuration that they come from.

use super::{Error, Settings};
use crate::cli::Flags;
use crate::configuration::{self, Configuration, Decoded};

/// What was read, and what came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// As written, with the flags over it that count.
    pub written: Configuration,
    /// With every default filled in.
    pub effective: Configuration,
    /// With every value checked.
    pub settings: Settings,
}

impl Loaded {
    /// From flags, and from the file they name.
    pub fn from_flags(flags: &Flags) -> Result<Loaded, Error> {
        Loaded::new(read(flags)?, flags)
    }

    /// From a file's text, if it is to replace what flags say.
    pub(crate) fn from_text(text: &str, flags: &Flags) -> Result<Loaded, Error> {
        let path = flags.config.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let decoded = Configuration::from_text(text)
            .map_err(|reason| configuration::Error::Invalid { path, reason })?;
        Loaded::new(with_flags(decoded, flags)?, flags)
    }

    /// From what was decoded.
    pub(crate) fn new(decoded: Decoded, flags: &Flags) -> Result<Loaded, Error> {
        let passed_over = decoded.passed_over().into_iter().chain(replaced(flags));
        let written = decoded.configuration;
        let (effective, advice) = written.clone().effective();
        let advice = passed_over.chain(advice).collect();
        let settings = Settings::new(&effective, flags, advice)?;
        Ok(Loaded { written, effective, settings })
    }
}

/// Of the flags that a file replaces, those of ours that are given, and what to do instead. Who comes from kube-proxy knows of the
/// others that they are replaced.
fn replaced(flags: &Flags) -> Vec<String> {
    let given = [
        ("service-counters", "serviceCounters", flags.service_counters.is_some()),
        ("ipvs-drain-timeout", "ipvs.drainTimeout", flags.ipvs.ipvs_drain_timeout.is_some()),
    ];
    let given = given.into_iter().filter(|(.., given)| *given && flags.config.is_some());
    let text = |flag, field| format!("--{flag} is passed over beside --config: set {field} in the file");
    given.map(|(flag, field, _)| text(flag, field)).collect()
}

/// The file, or without one the flags, and the flags over it that count beside a file.
pub(super) fn read(flags: &Flags) -> Result<Decoded, configuration::Error> {
    match &flags.config {
        Some(path) => {
            Configuration::parsed_from(flags)?;
            with_flags(Configuration::from_file(path)?, flags)
        }
        None => Ok(Decoded { configuration: Configuration::from_flags(flags)?, ..Decoded::default() }),
    }
}

fn with_flags(mut decoded: Decoded, flags: &Flags) -> Result<Decoded, configuration::Error> {
    decoded.configuration.overlay(flags)?;
    Ok(decoded)
}
