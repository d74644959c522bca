//! The kernel's parameters below `/proc/sys`: reading and writing them, and what is written of connection tracking.
//!
//! What is below `net` shows the network namespace of the reader.

pub mod conntrack;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// Permission of anybody at all to write.
const WRITE: u32 = 0o222;

/// A parameter as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current {
    /// Its value.
    pub value: i64,
    /// Whether it is to be set here. If not, it is the same for all network namespaces, and the initial one's to set.
    pub settable: bool,
}

/// Parameters by their path below `/proc/sys`. One that is not there does not exist.
pub type Values = BTreeMap<&'static str, Current>;

/// A parameter that has to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Write {
    /// Path below `/proc/sys`.
    pub path: &'static str,
    /// The value that it must have.
    pub value: i64,
}

/// A parameter that is not as it should be, and does not take its value here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unset {
    /// What it was to be.
    pub write: Write,
    /// Why not.
    pub why: Arc<str>,
}

/// Those of these that exist, below this directory, usually `/proc/sys`.
pub fn read(root: &Path, paths: &[&'static str]) -> Values {
    let current = |path: &'static str| {
        let file = root.join(path);
        let value = number(&file)?;
        let settable = fs::metadata(&file).ok()?.permissions().mode() & WRITE != 0;
        Some((path, Current { value, settable }))
    };
    paths.iter().filter_map(|path| current(path)).collect()
}

/// Sets one of them.
pub fn write(root: &Path, write: &Write) -> io::Result<()> {
    fs::write(root.join(write.path), write.value.to_string())
}

/// As `sysctl` names it.
pub fn name(path: &str) -> String {
    path.replace('/', ".")
}

/// The number that is all of a file.
pub(crate) fn number(file: &Path) -> Option<i64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", name(self.path), self.value)
    }
}
