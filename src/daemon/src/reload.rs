//! The configuration file, followed while we run: what can change at once does, what cannot is named.
//!
//! A file that is gone or makes no sense changes nothing. Nothing here ever ends the process.

mod watch;

use std::path::Path;
use std::sync::Arc;
use std::thread;

use tokio::sync::{mpsc, watch as channel};
use tracing::{error, info, warn};

use crate::Event;
use crate::cli::Flags;
use crate::configuration::Configuration;
use crate::configuration::fields::{FIELDS, When, at, put};
use crate::ipvs;
use crate::logging;
use crate::settings::{Error, Loaded, ProxyMode, Settings};
use crate::shown::Shown;
use watch::Watch;

/// Fields that differ between two configurations in effect, by their path, as far as they count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Can be taken over at once.
    pub reload: Vec<String>,
    /// Need a restart.
    pub restart: Vec<String>,
}

/// What differs, for a process that runs with the old configuration.
pub fn what_changes(old: &Configuration, new: &Configuration, mode: ProxyMode) -> Changes {
    let (old, new) = (old.object(), new.object());
    let mut changes = Changes::default();
    for (path, counts) in FIELDS {
        match counts.when(mode).filter(|_| at(&old, path) != at(&new, path)) {
            Some(When::Live) => changes.reload.push(path.to_owned()),
            Some(When::Restart) => changes.restart.push(path.to_owned()),
            None => {}
        }
    }
    changes
}

/// What comes of another file.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What is in force from now on: the file, but for fields that need a restart.
    pub loaded: Loaded,
    /// What is different in the file from what was in force.
    pub changes: Changes,
}

/// The step from what is in force to what a file says, given with the flags that count beside it.
pub fn step(current: &Loaded, text: &str, flags: &Flags) -> Result<Step, Error> {
    let new = Loaded::from_text(text, flags)?;
    let mode = current.settings.mode;
    // Defaults depend on the mode, which stays.
    let written = Configuration { mode: current.written.mode.clone(), ..new.written };
    let (effective, _) = written.clone().effective();
    let reload = what_changes(&current.effective, &effective, mode).reload;
    let restart = what_changes(&current.effective, &new.effective, mode).restart;
    let (mut object, in_force) = (effective.object(), current.effective.object());
    let keep = FIELDS.iter().filter(|(_, counts)| counts.when(mode) == Some(When::Restart));
    keep.for_each(|(path, _)| put(&mut object, path, at(&in_force, path).clone()));
    let effective: Configuration = serde_json::from_value(object)
        .map_err(|error| crate::configuration::Error::Unwritable(error.to_string()))?;
    let settings = Settings::new(&effective, flags, Vec::new())?;
    let advice = new.settings.advice;
    let settings = Settings { advice, ..settings };
    Ok(Step { loaded: Loaded { written, effective, settings }, changes: Changes { reload, restart } })
}

/// Follows a configuration file.
pub struct Reloader {
    flags: Flags,
    logs: logging::Handle,
    current: Loaded,
    /// What was read last, good or not.
    text: Option<String>,
    /// Whether the file could not be read when it was last looked at.
    gone: bool,
}

impl Reloader {
    /// For the file that flags name, if they do, from what is in force.
    pub fn new(flags: &Flags, logs: logging::Handle, current: Loaded) -> Reloader {
        Reloader { flags: flags.clone(), logs, current, text: None, gone: false }
    }

    /// Begins to follow, on a thread of its own. Without a file, or if it cannot be watched, nothing is followed.
    pub(crate) fn start(self, events: mpsc::Sender<Event>, shown: channel::Sender<Arc<Shown>>) {
        let Some(path) = self.flags.config.clone() else { return };
        let follow = move || self.follow(&path, &events, &shown);
        if let Err(reason) = thread::Builder::new().name("configuration".to_owned()).spawn(follow) {
            error!(%reason, "changes of the configuration file will not be noticed");
        }
    }

    fn follow(mut self, path: &Path, events: &mpsc::Sender<Event>, shown: &channel::Sender<Arc<Shown>>) {
        let mut watch = match Watch::new(path) {
            Ok(watch) => watch,
            Err(reason) => {
                error!(%reason, "changes of the configuration file will not be noticed");
                return;
            }
        };
        loop {
            // Before the file is read, so that no change is missed.
            watch.renew();
            if let Some(settings) = self.look(path) {
                shown.send_replace(Arc::clone(&settings.shown));
                if events.blocking_send(Event::Settings(Box::new(settings))).is_err() {
                    return;
                }
            }
            if let Err(reason) = watch.wait() {
                error!(%reason, "changes of the configuration file will not be noticed any more");
                return;
            }
        }
    }

    /// Looks at the file, and returns what is to be in force if that is something else now.
    fn look(&mut self, path: &Path) -> Option<Settings> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(reason) => {
                if !std::mem::replace(&mut self.gone, true) {
                    warn!(path = %path.display(), %reason, "the configuration file cannot be read, what it said last stays in force");
                }
                return None;
            }
        };
        self.gone = false;
        if self.text.as_ref() == Some(&text) {
            return None;
        }
        let step = step(&self.current, &text, &self.flags);
        self.text = Some(text);
        match step {
            Ok(step) => self.take(step),
            Err(reason) => {
                error!(path = %path.display(), %reason, "the configuration was not taken over, the one before it stays in force");
                None
            }
        }
    }

    fn take(&mut self, step: Step) -> Option<Settings> {
        let Step { loaded, changes } = step;
        for advice in
            loaded.settings.advice.iter().filter(|text| !self.current.settings.advice.contains(text))
        {
            warn!(advice);
        }
        if !changes.restart.is_empty() {
            let fields = changes.restart.join(", ");
            warn!(
                fields,
                "these fields of the configuration changed and keep their old value until a restart"
            );
        }
        let old = std::mem::replace(&mut self.current, loaded);
        if changes.reload.is_empty() {
            return None;
        }
        let settings = self.current.settings.clone();
        info!(fields = changes.reload.join(", "), "the configuration changed and is in force");
        self.logs.set(&settings.logging);
        if settings.mode == ProxyMode::Ipvs && settings.ipvs != old.settings.ipvs {
            set_timeouts(&settings);
        }
        Some(settings)
    }
}

fn set_timeouts(settings: &Settings) {
    if let Err(reason) = ipvs::start::renew_timeouts(&settings.ipvs) {
        error!(reason = format!("{reason:#}"), "timeouts of IPVS stay as they were");
    }
}

#[cfg(test)]
mod tests;
