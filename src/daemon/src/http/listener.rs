//! Listens and answers, again and again if need be.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::SocketAddr;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tracing::{debug, error, info};

use super::reply::Reply;
use super::{Asking, Pages};
use crate::socket;

/// How long to wait before an address is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    #[source]
    pub source: std::io::Error,
}

/// Serves for ever: a page to whoever asks for it.
pub(super) async fn serve<P, F>(
    address: Option<SocketAddr>,
    hard_fail: bool,
    pages: Pages,
    page: P,
) -> Result<Infallible, BindError>
where
    P: Fn(Pages, Asking) -> F + Copy + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    let Some(address) = address else { return pending().await };
    loop {
        match socket::of_both_families(address) {
            Ok(listener) => {
                info!(%address, "listening");
                accept(&listener, &pages, page).await;
            }
            Err(source) if hard_fail => return Err(BindError { address, source }),
            Err(source) => error!(%address, error = %source, "cannot listen, will be retried"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn accept<P, F>(listener: &TcpListener, pages: &Pages, page: P)
where
    P: Fn(Pages, Asking) -> F + Copy + Send + 'static,
    F: Future<Output = Reply> + Send + 'static,
{
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                error!(%error, "cannot accept");
                return;
            }
        };
        let pages = pages.clone();
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let reply = page(pages.clone(), Asking(request.into_parts().0));
                async move { Ok::<_, Infallible>(reply.await) }
            });
            if let Err(error) = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await {
                debug!(%error, "connection ended");
            }
        });
    }
}
