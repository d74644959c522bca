//! Kernels that were fetched for guests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::GuestError;

/// A kernel to boot: a directory with `vmlinux`, `release` and `lib/modules`, as `e2e/guest/kernels.sh` leaves it.
#[derive(Clone, Debug)]
pub struct Kernel {
    directory: PathBuf,
    name: String,
    release: String,
}

impl Kernel {
    /// The kernel of this name, for example `6.1`, among those below a directory.
    pub fn find(kernels: &Path, name: &str) -> Result<Kernel, GuestError> {
        let directory = kernels.join(name);
        let missing = |_| GuestError::NoKernel { name: name.to_owned(), place: kernels.to_owned() };
        let release = fs::read_to_string(directory.join("release")).map_err(missing)?;
        let directory = directory.canonicalize().map_err(missing)?;
        Ok(Kernel { directory, name: name.to_owned(), release: release.trim().to_owned() })
    }

    /// The name it was found by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What `uname -r` says in it.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// A file in the kernel's directory.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn modules(&self) -> PathBuf {
        self.directory.join("lib/modules").join(&self.release)
    }

    /// The files of these modules and of all they need, in the order in which they can be loaded. What is built into the
    /// kernel needs none.
    pub(super) fn files_of(&self, modules: &[&str]) -> Result<Vec<PathBuf>, GuestError> {
        let text = |file: &str| {
            let path = self.modules().join(file);
            fs::read_to_string(&path).map_err(|source| GuestError::File { path, source })
        };
        let (needs, builtin) = (text("modules.dep")?, text("modules.builtin")?);
        let mut files: Vec<PathBuf> = Vec::new();
        for module in modules {
            let is_it = |path: &str| stem(path) == *module;
            if builtin.lines().any(is_it) {
                continue;
            }
            let line = needs.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| is_it(path));
            let (own, needed) = line.ok_or_else(|| self.lacks(module))?;
            // `modules.dep` names what must be there first last.
            for file in needed.split_whitespace().rev().chain([own]) {
                let file = self.modules().join(file);
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Ok(files)
    }

    fn lacks(&self, module: &str) -> GuestError {
        let source = io::Error::new(io::ErrorKind::NotFound, format!("the kernel lacks the module {module}"));
        GuestError::File { path: self.modules(), source }
    }
}

/// A module's name by the name of its file.
fn stem(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split('.').next().unwrap_or_default().replace('-', "_")
}
