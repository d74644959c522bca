//! All files of a directory and what they say together.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tracing::warn;

use super::parse::{Id, Object, ParseError, parse};
use crate::convert::Strings;
use crate::event::{Event, Kind};

/// The files of a directory. Of several that hold the same object, the one whose name comes first counts.
pub(super) struct Manifests {
    directory: PathBuf,
    node: String,
    strings: Strings,
    files: BTreeMap<Arc<str>, File>,
    /// Each object with the files that hold it, ordered by their names.
    objects: BTreeMap<Id, Vec<(Arc<str>, Object)>>,
}

/// A file as last read.
#[derive(Default)]
struct File {
    stamp: Option<Stamp>,
    broken: bool,
    ids: Box<[Id]>,
}

/// A file as just read.
#[derive(Default)]
struct Fresh {
    stamp: Option<Stamp>,
    objects: BTreeMap<Id, Object>,
}

/// What changes when a file's content does, also behind a symbolic link.
type Stamp = (SystemTime, u64, u64);

/// Whether a file of this name is a manifest.
pub(super) fn is_manifest(name: &str) -> bool {
    let extensions = ["yaml", "yml", "json"];
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    !name.starts_with('.') && extension.is_some_and(|extension| extensions.contains(&extension))
}

impl Manifests {
    pub(super) fn new(directory: &Path, node: &str) -> Manifests {
        Manifests {
            directory: directory.to_owned(),
            node: node.to_owned(),
            strings: Strings::default(),
            files: BTreeMap::new(),
            objects: BTreeMap::new(),
        }
    }

    /// How many objects there are.
    pub(super) fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether no file is broken.
    pub(super) fn all_good(&self) -> bool {
        self.files.values().all(|file| !file.broken)
    }

    /// Looks at every file. Returns what changed, and the files that are not valid.
    pub(super) fn scan(&mut self) -> io::Result<(Vec<Event>, Vec<ParseError>)> {
        let mut names: BTreeSet<String> = self.files.keys().map(ToString::to_string).collect();
        for entry in fs::read_dir(&self.directory)? {
            names.extend(entry?.file_name().to_str().filter(|name| is_manifest(name)).map(str::to_owned));
        }
        let changed: Vec<String> = names.into_iter().filter(|name| self.is_stale(name)).collect();
        Ok(self.reload(&changed))
    }

    fn is_stale(&self, name: &str) -> bool {
        let known = self.files.get(name);
        known.is_none_or(|file| file.stamp != stamp(&self.directory.join(name)))
    }

    /// Reads these files again. Returns what changed, and the files that are not valid.
    pub(super) fn reload(&mut self, names: &[String]) -> (Vec<Event>, Vec<ParseError>) {
        let (mut events, mut broken) = (Vec::new(), Vec::new());
        for name in BTreeSet::from_iter(names) {
            match self.read(name) {
                Ok(file) => self.replace(name, file, &mut events),
                Err(error) => {
                    self.files.entry(name.as_str().into()).or_default().broken = true;
                    broken.push(error);
                }
            }
        }
        (events, broken)
    }

    /// A file's content; nothing if it is gone.
    fn read(&mut self, name: &str) -> Result<Option<Fresh>, ParseError> {
        let path = self.directory.join(name);
        let stamp = stamp(&path);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(ParseError { file: name.to_owned(), line: 1, reason: error.to_string() });
            }
        };
        let content = parse(name, &text, &self.node, &mut self.strings)?;
        for complaint in content.complaints {
            warn!(file = name, complaint, "part of an object is ignored");
        }
        let mut objects = BTreeMap::new();
        for (id, object) in content.objects {
            if objects.insert(id.clone(), object).is_some() {
                warn!(file = name, kind = %id.0, name = %id.1, "object given twice in one file: the last counts");
            }
        }
        Ok(Some(Fresh { stamp, objects }))
    }

    fn replace(&mut self, name: &str, fresh: Option<Fresh>, events: &mut Vec<Event>) {
        let name: Arc<str> = name.into();
        let old = self.files.remove(&name).unwrap_or_default();
        let is_there = fresh.is_some();
        let mut fresh = fresh.unwrap_or_default();
        let ids: Box<[Id]> = fresh.objects.keys().cloned().collect();
        let gone: Vec<&Id> = old.ids.iter().filter(|id| !fresh.objects.contains_key(*id)).collect();
        for id in gone.into_iter().chain(&ids) {
            let object = fresh.objects.remove(id);
            events.extend(self.hold(id, &name, object));
        }
        if is_there {
            self.files.insert(name, File { stamp: fresh.stamp, broken: false, ids });
        }
    }

    /// Notes what a file says of an object. Returns the event, if that changes what counts.
    fn hold(&mut self, id: &Id, file: &Arc<str>, object: Option<Object>) -> Option<Event> {
        let holders = self.objects.remove(id).unwrap_or_default();
        let before = holders.first().map(|(_, object)| object.clone());
        let (others, mut holders): (Vec<_>, Vec<_>) = (holders, Vec::with_capacity(1));
        let was_held = others.iter().any(|(holder, _)| holder == file);
        if !was_held && !others.is_empty() && object.is_some() {
            warn!(%file, kind = %id.0, name = %id.1, "object given in several files: the first counts");
        }
        holders.extend(others.into_iter().filter(|(holder, _)| holder != file));
        if let Some(object) = object {
            let at = holders.partition_point(|(holder, _)| holder < file);
            holders.insert(at, (Arc::clone(file), object));
        }
        let after = holders.first().map(|(_, object)| object.clone());
        if !holders.is_empty() {
            self.objects.insert(id.clone(), holders);
        }
        (before != after).then(|| event(id, after, &self.node))
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn event(id: &Id, object: Option<Object>, this_node: &str) -> Event {
    match (object, id.0) {
        (Some(Object::Service(service, version)), _) => Event::Service(service, version),
        (Some(Object::Slice(slice, version, trigger)), _) => Event::Slice(slice, version, trigger),
        (Some(Object::Node(node)), _) => Event::Node(node),
        (Some(Object::OtherNode(addresses)), _) => Event::OtherNode(Arc::clone(&id.1.name), addresses),
        (Some(Object::ServiceCidr(prefixes)), _) => Event::ServiceCidr(Arc::clone(&id.1.name), prefixes),
        (None, Kind::Service) => Event::ServiceGone(id.1.clone()),
        (None, Kind::EndpointSlice) => Event::SliceGone(id.1.clone()),
        (None, Kind::Node) if *id.1.name == *this_node => Event::NodeGone,
        (None, Kind::Node) => Event::OtherNodeGone(Arc::clone(&id.1.name)),
        (None, Kind::ServiceCidr) => Event::ServiceCidrGone(Arc::clone(&id.1.name)),
    }
}
