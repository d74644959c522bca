//! What a ConfigMap looks like to a pod that mounts it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A volume of one `ConfigMap` or several as the kubelet makes it: what it holds, however many files, changes by the replacement of one link.
pub struct Volume {
    directory: TempDir,
    key: &'static str,
    beside: Vec<(String, String)>,
}

impl Volume {
    /// Without a version yet. The key is the file's name.
    pub fn empty(key: &'static str) -> Volume {
        Volume { directory: TempDir::with_prefix("kubeweir-configmap-").unwrap(), key, beside: Vec::new() }
    }

    /// With another file, which stays as it is.
    #[must_use]
    pub fn with(mut self, name: &str, text: &str) -> Volume {
        self.beside.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Where programs find all of it.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where programs find the file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join(self.key)
    }

    /// Replaces what it holds: the file is this one now.
    pub fn put(&self, text: &str) {
        let place = |name: &str| self.directory.path().join(name);
        let version = (0..).map(|number| place(&format!("..version-{number}")));
        let version = version.into_iter().find(|path| !path.exists()).unwrap();
        fs::create_dir(&version).unwrap();
        for (name, text) in self.files(text) {
            fs::write(version.join(name), text).unwrap();
        }
        let old = fs::read_link(place("..data")).ok();
        symlink(version.file_name().unwrap(), place("..data_tmp")).unwrap();
        fs::rename(place("..data_tmp"), place("..data")).unwrap();
        if let Some(old) = old {
            // A name that was used once is not used again.
            for (name, _) in self.files(text) {
                fs::remove_file(place("").join(&old).join(name)).unwrap();
            }
        }
        for (name, _) in self.files(text).filter(|(name, _)| !place(name).is_symlink()) {
            symlink(format!("..data/{name}"), place(name)).unwrap();
        }
    }

    fn files<'a>(&'a self, text: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let beside = self.beside.iter().map(|(name, text)| (name.as_str(), text.as_str()));
        std::iter::once((self.key, text)).chain(beside)
    }

    /// Takes the file away, as where the key is deleted.
    pub fn remove(&self) {
        fs::remove_file(self.file()).unwrap();
    }
}
