//! Binds the addresses, and hands them to the engine.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{ListenerConfig, Listeners, PreTlsCallback};
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ListenFds};
use pingora::services::listening::Service;
use socket2::{Domain, Socket, Type};

use super::{READ_BUFFER_BYTES, StartError, WRITE_BUFFER_BYTES};
use crate::config::model::Server;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 65_535;

/// Bound sockets; nobody accepts from them yet. Each address of viewers has one socket per thread: the kernel spreads
/// connections over them, and a connection stays with its thread.
pub(super) struct Sockets {
    http: Vec<Vec<TcpListener>>,
    https: Vec<Vec<TcpListener>>,
    admin: Option<TcpListener>,
}

/// Binds every address of the configuration, those of viewers `threads` times.
pub(super) fn bind(server: &Server, threads: usize) -> Result<Sockets, StartError> {
    let bind = |key: String, address, sockets| {
        bind_all(address, sockets).map_err(|source| StartError::Bind { key, address, source })
    };
    let http = server
        .http
        .iter()
        .enumerate()
        .map(|(place, address)| bind(format!("server.http[{place}]"), *address, threads));
    let https = server
        .https
        .iter()
        .enumerate()
        .map(|(place, tls)| bind(format!("server.https[{place}].listen"), tls.listen, threads));
    let admin = server.admin.map(|address| bind("server.admin".to_owned(), address, 1)).transpose()?;
    Ok(Sockets {
        http: http.collect::<Result<_, _>>()?,
        https: https.collect::<Result<_, _>>()?,
        admin: admin.and_then(|mut sockets| sockets.pop()),
    })
}

/// Binds an address `sockets` times. A port that was asked for is bound alone before, so that one in use by another
/// process is noticed; a port that the system chooses is nobody else's.
fn bind_all(address: SocketAddr, sockets: usize) -> std::io::Result<Vec<TcpListener>> {
    if address.port() != 0 {
        socket(address, false)?.listen(BACKLOG)?;
    }
    let first = listening(address)?;
    let bound = first.local_addr()?;
    let others = (1..sockets).map(|_| listening(bound));
    std::iter::once(Ok(first)).chain(others).collect()
}

fn listening(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = socket(address, true)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, shared: bool) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn addresses(listeners: &[Vec<TcpListener>]) -> Vec<SocketAddr> {
    listeners.iter().filter_map(|sockets| sockets.first()?.local_addr().ok()).collect()
}

impl Sockets {
    pub(super) fn http_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.http)
    }

    pub(super) fn https_addresses(&self) -> Vec<SocketAddr> {
        addresses(&self.https)
    }

    pub(super) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// The operator's listener.
    pub(super) fn take_admin(&mut self) -> Option<TcpListener> {
        self.admin.take()
    }

    /// The engine's service for one thread: its socket of each address. `before_tls` sees each TLS connection before its
    /// handshake.
    pub(super) fn take_service<A: ServerApp + Send + Sync + 'static>(
        &mut self,
        tls: Vec<TlsSettings>,
        before_tls: Option<PreTlsCallback>,
        app: A,
    ) -> (Service<A>, ListenFds) {
        let mut listeners = Listeners::new();
        if let Some(before_tls) = before_tls {
            listeners.set_pre_tls_callback(before_tls);
        }
        let mut fds = Fds::new();
        let plain = self.http.iter_mut().filter_map(Vec::pop).map(|socket| (socket, None));
        let secure = self.https.iter_mut().filter_map(Vec::pop).zip(tls.into_iter().map(Some));
        for (place, (socket, tls)) in plain.chain(secure).enumerate() {
            // The engine finds a socket by its name in this table.
            let name = format!("viewers-{place}");
            fds.add(name.clone(), socket.into_raw_fd());
            let buffers = L4BufferSettings::new(READ_BUFFER_BYTES, WRITE_BUFFER_BYTES);
            let endpoint = ListenerConfig::tcp(name).l4_buffer(buffers);
            listeners.add_listener(match tls {
                Some(tls) => endpoint.tls(tls),
                None => endpoint,
            });
        }
        (Service::with_listeners("viewers".to_owned(), listeners, app), Arc::new(Mutex::new(fds)))
    }
}
