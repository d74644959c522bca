//! `explain`: where a packet would go, and why.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;

use anyhow::{Context, Error, bail};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::oneshot::planned;
use crate::cli::Explain;
use crate::question::Question;
use crate::settings::{Settings, Source};

/// Prints the answer of the manifests, or of the running daemon where none are named.
pub fn explain(options: &Explain) -> anyhow::Result<ExitCode> {
    let settings = Settings::from_flags(&options.flags)?;
    let question = Question::new(options.from, options.to, options.interface.clone()).map_err(Error::msg)?;
    let text = match &settings.source {
        Source::Manifests(_) => {
            let (plan, facts) = planned(&settings, None)?;
            question.answer(&plan, &facts)
        }
        Source::Api { .. } => ask(settings.metrics, &question)?,
    };
    write!(std::io::stdout().lock(), "{text}").context("cannot write")?;
    Ok(ExitCode::SUCCESS)
}

fn ask(metrics: Option<SocketAddr>, question: &Question) -> anyhow::Result<String> {
    ask_daemon(metrics, &format!("/explain?{}", question.to_query()))
}

/// A page of the daemon that serves this address, if it serves any.
pub(super) fn ask_daemon(metrics: Option<SocketAddr>, path: &str) -> anyhow::Result<String> {
    let address = reachable(metrics.context("the daemon serves no metrics address")?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (status, text) = runtime.block_on(get(address, path)).with_context(|| {
        format!("no daemon answers on {address}; name a directory with --manifests to do without")
    })?;
    if status != StatusCode::OK {
        bail!("the daemon on {address} says {status}: {}", text.trim_end());
    }
    Ok(text)
}

/// A daemon that listens everywhere is asked here.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    let request = Request::get(path).header("Host", address.to_string()).body(Empty::<Bytes>::new())?;
    let answer = sender.send_request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
