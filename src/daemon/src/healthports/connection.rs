use std::convert::Infallible;
use std::pin::pin;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tracing::{debug, error};

use super::page::Page;

/// How long a connection may take for the head of a request: these ports are open to whoever reaches the node.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pause after a connection could not be taken, as when there are too many files.
const PAUSE: Duration = Duration::from_millis(100);

/// Answers everybody, until dropped. Connections go on as long as the page does.
pub(super) async fn accept(listener: TcpListener, page: Page) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, page.clone()))),
            Err(error) => {
                error!(service = %page.service, %error, "cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Answers until the client has enough or the socket is closed. What was asked by then is answered.
async fn converse(stream: TcpStream, page: Page) {
    let ready = page.ready.clone();
    let answer = service_fn(move |_| {
        let response = page.answer(Instant::now());
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(PATIENCE).title_case_headers(true);
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), answer));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closed(ready) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "connection ended");
    }
}

async fn closed(mut ready: watch::Receiver<u32>) {
    while ready.changed().await.is_ok() {}
}
