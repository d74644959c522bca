//! A blocking netlink socket in the calling thread's network namespace.
//!
//! The kernel works a whole `nf_tables` batch off inside `sendmsg`, so an asynchronous socket would
//! only block a runtime's worker: use this one on a thread of its own.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use netlink_sys::{Socket as Inner, SocketAddr};

use crate::Error;

/// Big enough for the largest chunk of a dump (the kernel caps those at 32 KiB).
const RECEIVE_BUFFER: usize = 64 * 1024;
/// Room for the acknowledgements of a badly refused batch.
const RECEIVE_QUEUE: usize = 4 * 1024 * 1024;
/// The kernel wants a little more than the message itself.
const SEND_OVERHEAD: usize = 4096;

/// A netlink socket with extended acknowledgements on.
pub struct Socket {
    inner: Inner,
    sequence: u32,
    messages: u64,
    buffer: Vec<u8>,
    send_queue: usize,
}

impl Socket {
    /// Opens a socket for one netlink protocol (12 is netfilter, 16 generic, 0 routing).
    pub fn open(protocol: i32) -> Result<Socket, Error> {
        let fail = |source| Error::Open { protocol, source };
        let mut inner = Inner::new(protocol as isize).map_err(fail)?;
        inner.bind_auto().map_err(fail)?;
        inner.connect(&SocketAddr::new(0, 0)).map_err(fail)?;
        inner.set_ext_ack(true).map_err(fail)?;
        inner.set_cap_ack(true).map_err(fail)?;
        let socket = Socket {
            inner,
            sequence: 0,
            messages: 0,
            buffer: Vec::with_capacity(RECEIVE_BUFFER),
            send_queue: 0,
        };
        // Without CAP_NET_ADMIN the default queue stays; that only costs a repeated dump.
        let _ = socket.force(libc::SO_RCVBUFFORCE, RECEIVE_QUEUE);
        Ok(socket)
    }

    /// The next `count` sequence numbers; returns the first.
    pub fn sequences(&mut self, count: u32) -> u32 {
        let first = self.sequence.wrapping_add(1);
        self.sequence = self.sequence.wrapping_add(count);
        self.messages += u64::from(count);
        first
    }

    /// How many messages were numbered so far, which is how many were sent.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Has the kernel refuse dump requests that it does not understand in full. Only then does it filter addresses by interface.
    pub fn check_strictly(&self) -> Result<(), Error> {
        let protocol = libc::NETLINK_ROUTE;
        self.inner.set_netlink_get_strict_chk(true).map_err(|source| Error::Open { protocol, source })
    }

    /// Joins a multicast group.
    pub fn subscribe(&self, group: u32) -> Result<(), Error> {
        self.inner.add_membership(group).map_err(Error::Receive)
    }

    /// Sends one contiguous buffer; grows the send queue first where it would not fit.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.make_room(bytes.len());
        let sent = self.inner.send(bytes, 0);
        sent.map(|_| ()).map_err(|source| Error::Send { bytes: bytes.len(), source })
    }

    /// Waits for the next datagram.
    pub fn receive(&mut self) -> Result<&[u8], Error> {
        self.receive_with(0)
    }

    /// The next datagram if one is queued already.
    pub fn receive_queued(&mut self) -> Result<Option<&[u8]>, Error> {
        match self.receive_with(libc::MSG_DONTWAIT) {
            Ok(_) => Ok(Some(&self.buffer)),
            Err(Error::Receive(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Limits how long [`Socket::receive`] waits.
    pub fn set_receive_timeout(&self, limit: std::time::Duration) -> Result<(), Error> {
        let time = libc::timeval {
            tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
            tv_usec: limit.subsec_micros().into(),
        };
        self.option(libc::SO_RCVTIMEO, &time).map_err(Error::Receive)
    }

    fn receive_with(&mut self, flags: i32) -> Result<&[u8], Error> {
        self.buffer.clear();
        let peeked = libc::MSG_PEEK | libc::MSG_TRUNC;
        let length = self.inner.recv(&mut self.buffer, flags | peeked).map_err(Error::Receive)?;
        self.buffer.clear();
        self.buffer.reserve(length);
        self.inner.recv(&mut self.buffer, flags).map_err(Error::Receive)?;
        Ok(&self.buffer)
    }

    fn make_room(&mut self, bytes: usize) {
        let wanted = bytes + SEND_OVERHEAD;
        if wanted <= self.send_queue {
            return;
        }
        if self.force(libc::SO_SNDBUFFORCE, wanted).is_ok() || self.force(libc::SO_SNDBUF, wanted).is_ok() {
            self.send_queue = wanted;
        }
    }

    fn force(&self, option: i32, bytes: usize) -> io::Result<()> {
        self.option(option, &i32::try_from(bytes).unwrap_or(i32::MAX))
    }

    #[expect(unsafe_code, reason = "netlink-sys has no setter for these socket options")]
    fn option<T>(&self, option: i32, value: &T) -> io::Result<()> {
        let length = u32::try_from(size_of::<T>()).unwrap_or(u32::MAX);
        // SAFETY: the descriptor is open for as long as `self.inner` lives, and the kernel reads exactly
        // `length` bytes of a live `T`, which is the plain C type that the option is documented to take.
        let status = unsafe {
            libc::setsockopt(
                self.inner.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                std::ptr::from_ref(value).cast(),
                length,
            )
        };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// Asks the kernel for the index of an interface by `ioctl`, and forgets it: a name that no interface has makes the kernel look
/// for a module.
#[expect(unsafe_code, reason = "netlink has no request that loads a module outside of any lock")]
pub(crate) fn look_up_interface(name: &CStr) {
    // SAFETY: the name is a string that ends with NUL and lives until the call returns; nothing is written to it.
    let _ = unsafe { libc::if_nametoindex(name.as_ptr()) };
}

/// A raw socket of an address family, for options that only such have.
#[expect(unsafe_code, reason = "neither the standard library nor netlink-sys has raw sockets")]
pub(crate) fn raw(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes three numbers.
    let descriptor = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::IPPROTO_RAW) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Has the kernel answer in place what an option's buffer asks.
#[expect(unsafe_code, reason = "the standard library has no getsockopt for options that it does not know")]
pub(crate) fn ask_option(socket: &OwnedFd, level: i32, option: i32, buffer: &mut [u8]) -> io::Result<()> {
    let mut length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
    // SAFETY: the descriptor is open, and the kernel reads and writes at most `length` bytes of the live buffer.
    let status = unsafe {
        libc::getsockopt(socket.as_raw_fd(), level, option, buffer.as_mut_ptr().cast(), &raw mut length)
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
