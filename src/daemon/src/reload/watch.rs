//! When to look at a file again.

use std::io;
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchMask};

const BUFFER: usize = 16 * 1024;

/// Watches the directory of a file, and that of what it is a link to: in a volume of a ConfigMap the file is a link through
/// `..data`, which is replaced as a whole. The file itself is watched too, since it may be mounted alone.
pub(super) struct Watch {
    inotify: Inotify,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Watch {
    pub(super) fn new(path: &Path) -> io::Result<Watch> {
        Ok(Watch { inotify: Inotify::init()?, path: path.to_owned(), buffer: vec![0; BUFFER] })
    }

    /// Watches what is there now. A directory that is not there, because it is being replaced, is not watched; the one that is
    /// the file's own never goes in a pod.
    pub(super) fn renew(&self) {
        let directory = WatchMask::CLOSE_WRITE | WatchMask::MOVE | WatchMask::CREATE | WatchMask::DELETE;
        let file = WatchMask::CLOSE_WRITE | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let mut watches = self.inotify.watches();
        let target = self.path.canonicalize().ok();
        for path in [Some(&self.path), target.as_ref()].into_iter().flatten() {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let _ = watches.add(parent.unwrap_or(Path::new(".")), directory);
        }
        if let Some(target) = target {
            let _ = watches.add(target, file);
        }
    }

    /// Blocks until the file may have changed.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        loop {
            let seen = self.inotify.read_events_blocking(&mut self.buffer)?;
            // What is created is not written yet, unless it is a link; its end is an event too.
            let is_link = || self.path.symlink_metadata().is_ok_and(|file| file.is_symlink());
            if seen.into_iter().any(|event| !event.mask.contains(EventMask::CREATE) || is_link()) {
                return Ok(());
            }
        }
    }
}
