//! `forebay demo`: an origin with real media, the node in front of it, and a page where a player shows both at work.
//!
//! Decides how the three are put together: everything on this machine, ports chosen by the system but for the page's,
//! a key made for the occasion. The parts know nothing of each other beyond their addresses. Called by the command line;
//! tests start the origin alone, or the whole.

// What is shown.
pub mod media;
pub mod origin;

// Who shows it, to whom.
pub mod audience;
pub mod links;
pub mod page;
pub mod stats;

// What they stand on.
pub mod client;
mod node;

use std::future::Future;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use self::node::Key;
use self::origin::DemoOrigin;
use self::page::{PLAYER, Page, Streams, streams_at};
use crate::clock::Clock;

/// How long origin and page wait for their connections to end; a browser keeps some open.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What `forebay demo` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoOptions {
    /// Address of the page. The node listens on the same IP address; port 0 lets the system choose.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub page: SocketAddr,

    /// Print one line of JSON with every address, in place of the line for people.
    #[arg(long)]
    pub json: bool,

    /// Serve the demo's origin alone, at this address, for nodes elsewhere.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "page")]
    pub origin: Option<SocketAddr>,
}

/// What `--json` prints of an origin alone.
#[derive(Debug, Serialize)]
struct OriginAddress {
    origin: SocketAddr,
}

/// Every address of a running demo: the line that `--json` prints.
#[derive(Debug, Serialize)]
struct Addresses {
    page: String,
    node: SocketAddr,
    admin: SocketAddr,
    origin: SocketAddr,
    #[serde(flatten)]
    streams: Streams,
}

/// Runs the demo until Ctrl-C or SIGTERM.
///
/// # Errors
/// The binary has no player embedded, an address cannot be bound, or the node does not start.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    if let Some(address) = options.origin {
        return run_origin(address, options.json).await;
    }
    let player =
        PLAYER.context("this forebay was built without the player: run `make setup`, then build again")?;
    let ended = ended()?;
    let clock = Clock::system();
    let (stop, stopped) = watch::channel(());

    let page_listener = bind_page(options.page).await?;
    let page_address = page_listener.local_addr()?;
    let origin = DemoOrigin::new(clock.clone())?;
    let origin_listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the demo origin's listener")?;
    let origin_address = origin_listener.local_addr()?;
    let origin_stop = stop_of(stopped.clone());
    let origin_task = tokio::spawn(async move { origin.serve(origin_listener, origin_stop).await });

    let key = Key::make().context("the demo's key")?;
    let node = node::start(&key, page_address.ip(), origin_address, clock.clone()).await?;
    let (http, admin) = (reachable(node::http_address(&node)?), node::admin_address(&node)?);
    let links = Arc::new(key.links(clock));
    let host = url_host(reachable(page_address).ip());
    let addresses = Addresses {
        page: format!("http://{host}:{}/", page_address.port()),
        node: http,
        admin,
        origin: origin_address,
        streams: streams_at(&links, &host, http),
    };
    let page = Page { player, node: http, admin, links };
    let page_task = tokio::spawn(page.serve(page_listener, stop_of(stopped)));

    announce(&addresses, options.json)?;
    ended.await;
    stop.send_replace(());
    end(page_task, "the page").await;
    node.shutdown().await;
    end(origin_task, "the origin").await;
    Ok(())
}

/// Runs the origin alone until Ctrl-C or SIGTERM.
async fn run_origin(address: SocketAddr, json: bool) -> anyhow::Result<()> {
    let ended = ended()?;
    let (stop, stopped) = watch::channel(());
    let origin = DemoOrigin::new(Clock::system())?;
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("the demo origin's listener, {address}"))?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move { origin.serve(listener, stop_of(stopped)).await });
    let line = match json {
        true => serde_json::to_string(&OriginAddress { origin: address })?,
        false => format!("The demo's origin is at http://{address}/  (Ctrl-C ends it)"),
    };
    writeln!(io::stdout(), "{line}")?;
    ended.await;
    stop.send_replace(());
    end(task, "the origin").await;
    Ok(())
}

/// The page's listener: where it was wanted, or on a free port beside it when that one is taken.
async fn bind_page(wanted: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(wanted).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && wanted.port() != 0 => {
            let listener = TcpListener::bind((wanted.ip(), 0)).await.context("the page's listener")?;
            writeln!(io::stderr(), "forebay demo: {wanted} is taken; the page has another port")?;
            Ok(listener)
        }
        bound => bound.with_context(|| format!("the page's listener, {wanted}")),
    }
}

fn announce(addresses: &Addresses, json: bool) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string(addresses)?)?;
    } else {
        writeln!(out, "The demo is at {}  (Ctrl-C ends it)", addresses.page)?;
        writeln!(
            out,
            "  origin {}, node {}, metrics http://{}/metrics",
            addresses.origin, addresses.node, addresses.admin
        )?;
        writeln!(out, "  for another player: {}", addresses.streams.live)?;
    }
    out.flush()?;
    Ok(())
}

/// Ready when Ctrl-C is pressed or SIGTERM comes; both are caught from the call on.
fn ended() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Ready when the sender says so, or is gone.
async fn stop_of(mut stopped: watch::Receiver<()>) {
    // An error means that the sender is gone, which ends the demo just as well.
    let _ = stopped.changed().await;
}

/// Waits for a server to end its connections, and cuts them off when that takes long.
async fn end(mut server: JoinHandle<io::Result<()>>, name: &str) {
    match tokio::time::timeout(END_LIMIT, &mut server).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "{name} of the demo"),
        Ok(Err(error)) => tracing::warn!(%error, "{name} of the demo"),
        Err(_elapsed) => server.abort(),
    }
}

/// An address at which a listener on all addresses can be reached from this machine.
fn reachable(listener: SocketAddr) -> SocketAddr {
    let ip = match listener.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listener.port())
}

/// An address as it stands in a URL.
fn url_host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_taken_port_moves_the_page_to_a_free_one() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wanted = taken.local_addr().unwrap();
        let moved = bind_page(wanted).await.unwrap().local_addr().unwrap();
        assert_eq!(moved.ip(), wanted.ip());
        assert_ne!(moved.port(), wanted.port());
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_named_in_the_error() {
        let error = bind_page("192.0.2.1:8080".parse().unwrap()).await.unwrap_err();
        assert!(error.to_string().contains("192.0.2.1:8080"), "{error:#}");
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_over_loopback() {
        for (listener, address) in
            [("0.0.0.0:80", "127.0.0.1:80"), ("[::]:80", "[::1]:80"), ("192.0.2.7:80", "192.0.2.7:80")]
        {
            assert_eq!(reachable(listener.parse().unwrap()), address.parse().unwrap());
        }
    }
}
