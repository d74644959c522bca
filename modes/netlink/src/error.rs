use std::io;

/// A kernel error number, positive (`ENOENT` is 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Errno(pub i32);

impl Errno {
    /// No such object.
    pub const ENOENT: Errno = Errno(libc::ENOENT);
    /// No such virtual server, in IPVS's words.
    pub const ESRCH: Errno = Errno(libc::ESRCH);
    /// No such interface.
    pub const ENODEV: Errno = Errno(libc::ENODEV);
    /// The interface has no such address.
    pub const EADDRNOTAVAIL: Errno = Errno(libc::EADDRNOTAVAIL);
    /// The request makes no sense.
    pub const EINVAL: Errno = Errno(libc::EINVAL);
    /// The object exists already, in another shape.
    pub const EEXIST: Errno = Errno(libc::EEXIST);
    /// Something still refers to the object.
    pub const EBUSY: Errno = Errno(libc::EBUSY);
    /// The kernel does not know how.
    pub const EOPNOTSUPP: Errno = Errno(libc::EOPNOTSUPP);
    /// The generation named by the batch is not the current one.
    pub const ERESTART: Errno = Errno(85);
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// What can go wrong between us and the kernel's netlink code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket could not be made or set up. Not retried: permissions or kernel configuration.
    #[error("cannot open a netlink socket (protocol {protocol})")]
    Open {
        /// Netlink protocol number, for example 12 for netfilter.
        protocol: i32,
        /// What the system call said.
        #[source]
        source: io::Error,
    },
    /// Sending failed before the kernel looked at the message.
    #[error("cannot send {bytes} bytes")]
    Send {
        /// Size of the message or batch.
        bytes: usize,
        /// What the system call said.
        #[source]
        source: io::Error,
    },
    /// Receiving failed.
    #[error("cannot receive")]
    Receive(#[source] io::Error),
    /// The kernel refused a single request (batches report a [`batch::Failure`](crate::batch::Failure) instead).
    #[error("the kernel refused the request: {errno}{}", words(message.as_ref()))]
    Refused {
        /// The error number.
        errno: Errno,
        /// The kernel's own words, where it had any.
        message: Option<String>,
    },
    /// A message breaks the netlink format. The kernel is trusted, so this is a bug on one side.
    #[error("malformed netlink message: {0}")]
    Malformed(&'static str),
    /// An attribute would exceed the format's 65,535 bytes.
    #[error("a netlink attribute of {0} bytes does not fit")]
    AttributeTooLong(usize),
    /// The kernel knows no generic netlink family of this name and could not load the module that has it.
    #[error("the kernel has no generic netlink family {0}: its module is not loaded")]
    NoFamily(String),
    /// The kernel acknowledged fewer requests than it was sent: read its state again before the next one.
    #[error("{missing} of {sent} requests were not answered")]
    Unanswered {
        /// How many have no answer.
        missing: usize,
        /// How many were sent at once.
        sent: usize,
    },
    /// A dump was interrupted by other writers more often than we are willing to repeat it.
    #[error("the dump was interrupted {0} times by concurrent changes")]
    Unstable(u32),
}

fn words(message: Option<&String>) -> String {
    message.map(|text| format!(" ({text})")).unwrap_or_default()
}
