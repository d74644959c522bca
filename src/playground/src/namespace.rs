use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace that exists while this value or a clone of it does.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: Arc<str>,
    file: Arc<File>,
}

/// Building or using the playground failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A namespace could not be made or entered: root is needed.
    #[error("namespace {name}: cannot {what}")]
    Namespace {
        /// Our name for the namespace.
        name: String,
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A link, address or route could not be set up.
    #[error("namespace {name}: cannot {what}")]
    Link {
        /// Our name for the namespace.
        name: String,
        /// What was tried.
        what: String,
        /// Why not.
        #[source]
        source: rtnetlink::Error,
    },
    /// An interface is not there.
    #[error("namespace {name}: no interface {interface}")]
    NoInterface {
        /// Our name for the namespace.
        name: String,
        /// The interface.
        interface: String,
    },
}

impl Namespace {
    /// Makes a namespace whose loopback interface is up. The name is only for messages.
    pub fn new(name: &str) -> Result<Namespace, Error> {
        let fail = |what| move |source| Error::Namespace { name: name.to_owned(), what, source };
        let unshared = || -> io::Result<File> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            File::open("/proc/thread-self/ns/net")
        };
        let made = thread::scope(|scope| scope.spawn(unshared).join());
        let file = made.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())).map_err(fail("be made"))?;
        let namespace = Namespace { name: name.into(), file: Arc::new(file) };
        namespace.up("lo")?;
        Ok(namespace)
    }

    /// Our name for it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a closure on a new thread inside the namespace and waits for it. A panic in the closure goes on here.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        let entered = || {
            self.enter()?;
            Ok(work())
        };
        match thread::scope(|scope| scope.spawn(entered).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Starts a thread that stays inside the namespace.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<Result<T, Error>> {
        let namespace = self.clone();
        thread::spawn(move || {
            namespace.enter()?;
            Ok(work())
        })
    }

    /// Starts a program inside the namespace.
    pub fn start(&self, command: &mut Command) -> Result<Child, Error> {
        let what = "start a program";
        self.run(|| command.spawn())?.map_err(|source| self.fail(what, source))
    }

    /// Writes a sysctl below `/proc/sys/net`, for example `ipv4/ip_forward`.
    pub fn sysctl(&self, name: &str, value: &str) -> Result<(), Error> {
        let path = format!("/proc/sys/net/{name}");
        self.run(|| fs::write(path, value))?.map_err(|source| self.fail("write a sysctl", source))
    }

    /// Something that lives as long as the namespace.
    pub(crate) fn alive(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    /// The open namespace file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    fn enter(&self) -> Result<(), Error> {
        let entered = setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET);
        entered.map_err(|errno| self.fail("be entered", errno.into()))
    }

    pub(crate) fn fail(&self, what: &'static str, source: io::Error) -> Error {
        Error::Namespace { name: self.name.to_string(), what, source }
    }
}
