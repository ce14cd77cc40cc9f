//! A server that does byte for byte what its script says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

use crate::config::model::OriginServer;

/// What the server does after a request, step by step. Without [`Step::Close`] the connection stays open.
#[derive(Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    Close,
    /// Neither sends nor closes until the client is gone.
    Hold,
    /// Goes on after this time.
    Pause(Duration),
    /// Goes on when the test says so.
    Await(Arc<Notify>),
}

/// Sends `text` as it is.
pub(super) fn send(text: impl AsRef<[u8]>) -> Step {
    Step::Send(text.as_ref().to_vec())
}

/// An answer with a length, on a connection that stays open.
pub(super) fn answer(status: u16, body: &str) -> Vec<Step> {
    vec![send(format!("HTTP/1.1 {status} Scripted\r\nContent-Length: {}\r\n\r\n{body}", body.len()))]
}

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Number of its connection, from 0.
    pub(super) connection: usize,
    pub(super) head: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// The running server; stops when dropped.
pub(super) struct Scripted {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    open: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

type Script = dyn Fn(usize, &Seen) -> Vec<Step> + Send + Sync;

impl Scripted {
    /// `script` gets the number of the request, from 0, and the request.
    pub(super) async fn start(script: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::run(None, script).await
    }

    /// The same behind TLS.
    pub(super) async fn start_tls(
        acceptor: TlsAcceptor,
        script: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        Self::run(Some(acceptor), script).await
    }

    /// Always the same steps.
    pub(super) async fn always(steps: Vec<Step>) -> Self {
        Self::start(move |_, _| steps.clone()).await
    }

    async fn run(
        tls: Option<TlsAcceptor>,
        script: impl Fn(usize, &Seen) -> Vec<Step> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let open = Arc::new(AtomicUsize::new(0));
        let script: Arc<Script> = Arc::new(script);
        let state = (Arc::clone(&seen), Arc::clone(&open));
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, open, script, tls) =
                    (Arc::clone(&state.0), Arc::clone(&state.1), Arc::clone(&script), tls.clone());
                serving.spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    match tls {
                        None => serve(stream, connection, &seen, &*script).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, connection, &seen, &*script).await;
                            }
                        }
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, seen, open, task }
    }

    /// As the configuration names it.
    pub(super) fn server(&self) -> OriginServer {
        OriginServer { tls: false, host: self.address.ip().to_string(), port: self.address.port() }
    }

    /// Requests seen so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().clone()
    }

    /// Connections open at the moment.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    connection: usize,
    seen: &Mutex<Vec<Seen>>,
    script: &Script,
) {
    while let Some(head) = read_head(&mut stream).await {
        let request = Seen { connection, head };
        let number = {
            let mut seen = seen.lock();
            seen.push(request.clone());
            seen.len() - 1
        };
        for step in script(number, &request) {
            match step {
                Step::Send(bytes) => {
                    if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
                        return;
                    }
                }
                Step::Close => {
                    let _ = stream.shutdown().await;
                    return;
                }
                Step::Pause(time) => tokio::time::sleep(time).await,
                Step::Await(go) => go.notified().await,
                Step::Hold => {
                    let _ = stream.read(&mut [0]).await;
                    return;
                }
            }
        }
    }
}

async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

/// A port of loopback that refuses connections for as long as this is held: bound, and never listening.
pub(super) struct Refusing {
    _socket: TcpSocket,
    port: u16,
}

impl Refusing {
    pub(super) fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let port = socket.local_addr().unwrap().port();
        Self { _socket: socket, port }
    }

    pub(super) fn server(&self) -> OriginServer {
        OriginServer { tls: false, host: "127.0.0.1".to_owned(), port: self.port }
    }
}
