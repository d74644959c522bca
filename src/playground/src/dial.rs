use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use crate::probe::any;

/// Connects over TCP from a port that no other connection of the namespace has, whatever its destination.
///
/// A kernel that chooses the port itself may give the same one to connections to different addresses. IPVS tells replies of a
/// real server apart by the client's address and port alone (`ip_vs_conn_out_get`), so that of two such connections at one time,
/// through two virtual servers to one real server, the older gets no more answers.
pub fn connect(to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    connect_from(0, to, patience)
}

/// Connects over TCP from this port.
pub fn connect_from(port: u16, to: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::new(any(to.ip()), port).into())?;
    socket.connect_timeout(&to.into(), patience)?;
    Ok(socket.into())
}
