//! Sockets that listen.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::errno::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that may wait to be taken.
const BACKLOG: i32 = 1024;

/// Of the address's family only, so that the other can have the port too.
pub(crate) fn of_one_family(address: SocketAddr) -> io::Result<TcpListener> {
    listen(address, true)
}

/// `0.0.0.0` and `::` both mean every address of both families, as to programs in Go (`net.Listen`). A kernel without IPv6
/// leaves IPv4.
pub(crate) fn of_both_families(address: SocketAddr) -> io::Result<TcpListener> {
    of_both_families_by(listen, address)
}

fn of_both_families_by<L>(
    listen: impl Fn(SocketAddr, bool) -> io::Result<L>,
    address: SocketAddr,
) -> io::Result<L> {
    if !address.ip().is_unspecified() {
        return listen(address, true);
    }
    match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), address.port()), false) {
        Err(error) if lacks_ipv6(&error) => {
            listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()), true)
        }
        listener => listener,
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL]
        .iter()
        .any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// A port from which connections have just gone can be had.
fn listen(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let listener = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        listener.set_only_v6(only_v6)?;
    }
    listener.set_reuse_address(true)?;
    listener.set_nonblocking(true)?;
    listener.bind(&address.into())?;
    listener.listen(BACKLOG)?;
    TcpListener::from_std(listener.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a kernel that says this to IPv6 is listened to in the end.
    fn ends_at(address: &str, errno: Errno) -> Option<SocketAddr> {
        let listen = |address: SocketAddr, _| match address {
            SocketAddr::V6(_) => Err(errno.into()),
            SocketAddr::V4(_) => Ok(address),
        };
        of_both_families_by(listen, address.parse().unwrap()).ok()
    }

    #[test]
    fn a_kernel_without_ipv6_leaves_ipv4() {
        let everywhere = Some("0.0.0.0:1".parse().unwrap());
        for errno in [Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL] {
            assert_eq!((ends_at("0.0.0.0:1", errno), ends_at("[::]:1", errno)), (everywhere, everywhere));
            assert_eq!(ends_at("[2001:db8::1]:1", errno), None, "an address of IPv6 alone");
        }
        assert_eq!(ends_at("0.0.0.0:1", Errno::EADDRINUSE), None, "somebody else has the port");
    }
}
