use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use crate::sctp::Raw;
use crate::{Error, Namespace};

/// A tiny server: it tells every client its own name and the address it sees the client under, as
/// `NAME PEER-ADDRESS PEER-PORT\n`, over TCP (one answer for each connection), UDP (one for each datagram) and SCTP (in
/// the INIT-ACK).
pub struct Server {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    namespace: Option<Namespace>,
}

impl Server {
    /// Listens on all these addresses and ports inside the namespace; returns when it does.
    pub fn start(
        namespace: &Namespace,
        name: &str,
        addresses: &[IpAddr],
        ports: &[u16],
    ) -> io::Result<Server> {
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let name: Arc<str> = name.into();
        let sockets: Vec<SocketAddr> =
            addresses.iter().flat_map(|ip| ports.iter().map(|port| SocketAddr::new(*ip, *port))).collect();
        for address in addresses {
            answer_sctp(namespace, &name, *address, ports)?;
        }
        let thread = namespace.spawn(move || serve(&name, &sockets, stopped, &ready));
        is_ready.recv().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        Ok(Server { stop, thread: Some(thread), namespace: None })
    }

    /// Keeps the namespace for as long as the server.
    #[must_use]
    pub fn with_namespace(mut self, namespace: Namespace) -> Server {
        self.namespace = Some(namespace);
        self
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    name: &Arc<str>,
    sockets: &[SocketAddr],
    mut stopped: watch::Receiver<bool>,
    ready: &std::sync::mpsc::Sender<io::Result<()>>,
) {
    let work = async {
        let bound = listen(name, sockets).await;
        let failed = bound.is_err();
        let _ = ready.send(bound);
        if !failed {
            let _ = stopped.wait_for(|stop| *stop).await;
        }
        Ok(())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    if let Err(error) = runtime.and_then(|runtime| runtime.block_on(work)) {
        let _ = ready.send(Err(error));
    }
}

/// How long the SCTP thread listens before it looks whether anybody still needs it.
const BEAT: Duration = Duration::from_millis(200);

/// Answers SCTP on an address, until the namespace is needed by nobody else.
fn answer_sctp(namespace: &Namespace, name: &Arc<str>, address: IpAddr, ports: &[u16]) -> io::Result<()> {
    let bind = || {
        let raw = Raw::bind(address)?;
        raw.set_patience(BEAT).map(|()| raw)
    };
    let raw = namespace.run(bind).map_err(io::Error::other)??;
    let (name, ports, alive) = (Arc::clone(name), ports.to_vec(), Arc::downgrade(&namespace.alive()));
    std::thread::spawn(move || {
        while alive.upgrade().is_some() {
            let Ok((from, packet)) = raw.receive() else { continue };
            if packet.is_question && ports.contains(&packet.port) {
                let peer = SocketAddr::new(from, packet.source_port);
                let _ = raw.send(packet.port, peer, Some(&greeting(&name, peer)));
            }
        }
    });
    Ok(())
}

async fn listen(name: &Arc<str>, sockets: &[SocketAddr]) -> io::Result<()> {
    for socket in sockets {
        let (tcp, udp) = (TcpListener::bind(socket).await?, UdpSocket::bind(socket).await?);
        tokio::spawn(accept(Arc::clone(name), tcp));
        tokio::spawn(answer(Arc::clone(name), udp));
    }
    Ok(())
}

async fn accept(name: Arc<str>, listener: TcpListener) {
    while let Ok((mut stream, peer)) = listener.accept().await {
        let text = greeting(&name, peer);
        tokio::spawn(async move {
            let _ = stream.write_all(text.as_bytes()).await;
            let _ = stream.shutdown().await;
        });
    }
}

async fn answer(name: Arc<str>, socket: UdpSocket) {
    let mut buffer = [0; 64];
    loop {
        // An error here is an ICMP answer to an earlier datagram of ours: go on.
        if let Ok((_, peer)) = socket.recv_from(&mut buffer).await {
            let _ = socket.send_to(greeting(&name, peer).as_bytes(), peer).await;
        }
    }
}

fn greeting(name: &str, peer: SocketAddr) -> String {
    format!("{name} {} {}\n", peer.ip().to_canonical(), peer.port())
}
