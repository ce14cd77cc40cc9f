//! Binds the addresses, and hands them to the engine.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;

use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::listeners::tls::TlsSettings;
use pingora::listeners::{ListenerConfig, Listeners};
use pingora::protocols::l4::stream::L4BufferSettings;
use pingora::server::{Fds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use socket2::{Domain, Socket, Type};
use tokio::runtime::Runtime;

use super::{READ_BUFFER_BYTES, StartError, WRITE_BUFFER_BYTES};
use crate::config::model::Server;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 65_535;

/// Bound sockets; nobody accepts from them yet.
pub(super) struct Sockets {
    http: Vec<TcpListener>,
    https: Vec<TcpListener>,
    admin: Option<TcpListener>,
}

/// Binds every address of the configuration.
pub(super) fn bind(server: &Server) -> Result<Sockets, StartError> {
    let bind =
        |key: String, address| bind_one(address).map_err(|source| StartError::Bind { key, address, source });
    let http = server
        .http
        .iter()
        .enumerate()
        .map(|(place, address)| bind(format!("server.http[{place}]"), *address));
    let https = server
        .https
        .iter()
        .enumerate()
        .map(|(place, tls)| bind(format!("server.https[{place}].listen"), tls.listen));
    Ok(Sockets {
        http: http.collect::<Result<_, _>>()?,
        https: https.collect::<Result<_, _>>()?,
        admin: server.admin.map(|address| bind("server.admin".to_owned(), address)).transpose()?,
    })
}

fn bind_one(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn address(listener: &TcpListener) -> Option<SocketAddr> {
    listener.local_addr().ok()
}

impl Sockets {
    pub(super) fn http_addresses(&self) -> Vec<SocketAddr> {
        self.http.iter().filter_map(address).collect()
    }

    pub(super) fn https_addresses(&self) -> Vec<SocketAddr> {
        self.https.iter().filter_map(address).collect()
    }

    pub(super) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(address)
    }

    /// Starts accepting viewers; gives back the operator's listener.
    pub(super) fn serve(
        self,
        runtime: &Runtime,
        stopping: &ShutdownWatch,
        tls: Vec<TlsSettings>,
        app: impl ServerApp + Send + Sync + 'static,
    ) -> Option<TcpListener> {
        let mut listeners = Listeners::new();
        let mut fds = Fds::new();
        let plain = self.http.into_iter().map(|socket| (socket, None));
        let secure = self.https.into_iter().zip(tls.into_iter().map(Some));
        for (place, (socket, tls)) in plain.chain(secure).enumerate() {
            // The engine finds a socket by this name; two listeners never share one.
            let name = format!("{}#{place}", address(&socket).map(|a| a.to_string()).unwrap_or_default());
            fds.add(name.clone(), socket.into_raw_fd());
            let buffers = L4BufferSettings::new(READ_BUFFER_BYTES, WRITE_BUFFER_BYTES);
            let endpoint = ListenerConfig::tcp(name).l4_buffer(buffers);
            listeners.add_listener(match tls {
                Some(tls) => endpoint.tls(tls),
                None => endpoint,
            });
        }
        let mut service = Service::with_listeners("viewers".to_owned(), listeners, app);
        let stopping = stopping.clone();
        runtime.spawn(async move {
            service.start_service(Some(Arc::new(Mutex::new(fds))), stopping, 1).await;
        });
        self.admin
    }
}
