//! What a ConfigMap looks like to a pod that mounts it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;

/// A volume of a ConfigMap as the kubelet makes it: what it holds, one file, changes by the replacement of one link.
pub struct Volume {
    directory: TempDir,
    key: &'static str,
}

impl Volume {
    /// Without a version yet. The key is the file's name.
    pub fn empty(key: &'static str) -> Volume {
        Volume { directory: TempDir::with_prefix("kubeweir-configmap-").unwrap(), key }
    }

    /// Where programs find the file.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join(self.key)
    }

    /// Replaces what it holds.
    pub fn put(&self, text: &str) {
        let place = |name: &str| self.directory.path().join(name);
        let version = (0..).map(|number| place(&format!("..version-{number}")));
        let version = version.into_iter().find(|path| !path.exists()).unwrap();
        fs::create_dir(&version).unwrap();
        fs::write(version.join(self.key), text).unwrap();
        let old = fs::read_link(place("..data")).ok();
        symlink(version.file_name().unwrap(), place("..data_tmp")).unwrap();
        fs::rename(place("..data_tmp"), place("..data")).unwrap();
        if let Some(old) = old {
            // A name that was used once is not used again.
            fs::remove_file(self.directory.path().join(old).join(self.key)).unwrap();
        }
        if !self.file().is_symlink() {
            symlink(format!("..data/{}", self.key), self.file()).unwrap();
        }
    }

    /// Takes the file away, as where the key is deleted.
    pub fn remove(&self) {
        fs::remove_file(self.file()).unwrap();
    }
}
