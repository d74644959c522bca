//! A directory of manifests as a source: `*.yaml`, `*.yml` and `*.json`, followed for changes.
//!
//! What a file said last stays in force while it cannot be read or parsed. At the start there is no "last", so the initial
//! list is not complete before every file has been good once: programming a part would tear down the rest.

mod parse;
mod set;

use std::io;
use std::path::{Path, PathBuf};

use inotify::{Inotify, WatchMask};
use tokio::sync::mpsc::Sender;
use tracing::{error, info};

pub use parse::ParseError;

use crate::event::{Event, Kind};
use set::Manifests;

/// A source could not be followed any further.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory cannot be read.
    #[error("cannot read the manifests in {path}")]
    Unreadable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The directory cannot be watched.
    #[error("cannot watch {path}")]
    Unwatchable {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A manifest is not valid.
    #[error(transparent)]
    Invalid(#[from] ParseError),
}

/// Everything in the directory, as the events of one complete list: for commands that run once. Fails at the first file
/// that is not valid.
pub fn load(directory: &Path, node: &str) -> Result<Vec<Event>, Error> {
    let mut manifests = Manifests::new(directory, node);
    let mut events = list_begins();
    let (changes, broken) = manifests.scan().map_err(|source| unreadable(directory, source))?;
    if let Some(error) = broken.into_iter().next() {
        return Err(error.into());
    }
    events.extend(changes);
    events.extend(list_ends());
    Ok(events)
}

/// Parses a file's text and counts its objects, for fuzzing.
#[doc(hidden)]
pub fn parse_text(file: &str, text: &str) -> Result<usize, ParseError> {
    parse::parse(file, text, "node-1", &mut crate::convert::Strings::default())
        .map(|content| content.objects.len())
}

/// Sends the directory's objects and then its changes, until the receiver is gone. Blocks: call it on its own thread.
pub fn follow(directory: &Path, node: &str, events: &Sender<Event>) -> Result<(), Error> {
    let unwatchable = |source| Error::Unwatchable { path: directory.to_owned(), source };
    let mut watch = watch(directory).map_err(unwatchable)?;
    let mut manifests = Manifests::new(directory, node);
    let mut complete = false;
    if !send(events, list_begins()) {
        return Ok(());
    }
    let mut buffer = vec![0; 64 * 1024];
    let mut touched = Touched::All;
    loop {
        let (changes, broken) = match &touched {
            Touched::All => manifests.scan().map_err(|source| unreadable(directory, source))?,
            Touched::Files(files) => manifests.reload(files),
        };
        for error in &broken {
            let what = if complete {
                "manifest ignored, its last good state stays in force"
            } else {
                "nothing is programmed before this manifest is good, since it may hold what is in force now"
            };
            error!(file = error.file, line = error.line, reason = error.reason, "{what}");
        }
        let mut batch = changes;
        if !complete && manifests.all_good() {
            complete = true;
            batch.extend(list_ends());
            info!(directory = %directory.display(), objects = manifests.len(), "manifests loaded");
        }
        if !send(events, batch) {
            return Ok(());
        }
        let seen = watch.read_events_blocking(&mut buffer).map_err(unwatchable)?;
        touched = Touched::by(seen);
    }
}

fn watch(directory: &Path) -> io::Result<Inotify> {
    let watch = Inotify::init()?;
    let mask =
        WatchMask::CLOSE_WRITE | WatchMask::MOVE | WatchMask::CREATE | WatchMask::DELETE | WatchMask::ONLYDIR;
    watch.watches().add(directory, mask)?;
    Ok(watch)
}

/// What must be looked at again.
enum Touched {
    /// These files.
    Files(Vec<String>),
    /// Everything: at the start, after a lost event, and when the `..data` link moved through which a ConfigMap volume
    /// changes.
    All,
}

impl Touched {
    /// From events. Other files than manifests, such as an editor's, are of no interest.
    fn by(events: inotify::Events<'_>) -> Touched {
        let mut files = Vec::new();
        for event in events {
            match event.name.map(|name| name.to_string_lossy()) {
                None => return Touched::All,
                Some(name) if name.starts_with("..") => return Touched::All,
                Some(name) if set::is_manifest(&name) => files.push(name.into_owned()),
                Some(_) => {}
            }
        }
        Touched::Files(files)
    }
}

fn list_begins() -> Vec<Event> {
    Kind::ALL.map(Event::ListBegins).into()
}

fn list_ends() -> Vec<Event> {
    Kind::ALL.map(Event::ListEnds).into()
}

fn send(to: &Sender<Event>, events: Vec<Event>) -> bool {
    events.into_iter().all(|event| to.blocking_send(event).is_ok())
}

fn unreadable(directory: &Path, source: io::Error) -> Error {
    Error::Unreadable { path: directory.to_owned(), source }
}
