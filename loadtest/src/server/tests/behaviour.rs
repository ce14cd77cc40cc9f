//! What the configurations are to make of an origin of live streams: playlists that end after a second, parts that are held, an
//! origin that fails, and segments that are not there yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;
use crate::origin::read_head;

/// How many ask at once.
const CLIENTS: usize = 50;

/// Requests at the origin that are no stampede of [`CLIENTS`].
const FEW: u64 = 5;

/// How long the origin takes for a playlist, and holds a part.
const TAKES: Duration = Duration::from_millis(400);

/// Until what is good for a second has ended for every server, however it rounds.
const ENDED: Duration = Duration::from_millis(2500);

const GOOD: u8 = 0;
const FAILS: u8 = 1;
const GONE: u8 = 2;
const MISSING: u8 = 3;

/// An origin whose answers are good for a second and take their time.
struct Live {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    mode: AtomicU8,
    requests: AtomicU64,
}

impl Live {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self { address, state }
    }

    fn becomes(&self, mode: u8) {
        self.state.mode.store(mode, Ordering::SeqCst);
    }

    fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// How many requests came since there were so many: one at least, which may come behind the answers, where a server sends what
    /// it holds and asks meanwhile.
    async fn asked_since(&self, before: u64) -> u64 {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        while self.requests() == before && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.requests() - before
    }
}

async fn serve(mut stream: TcpStream, state: Arc<State>) {
    let mut buffer = Vec::new();
    while let Ok(Some(_)) = read_head(&mut stream, &mut buffer).await {
        state.requests.fetch_add(1, Ordering::SeqCst);
        let answer = match state.mode.load(Ordering::SeqCst) {
            GOOD => "200 OK\r\nCache-Control: max-age=1\r\nContent-Length: 8\r\n\r\n#EXTM3U\n",
            FAILS => "503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            MISSING => "404 Not Found\r\nContent-Length: 0\r\n\r\n",
            _ => return,
        };
        tokio::time::sleep(TAKES).await;
        let answer = format!("HTTP/1.1 {answer}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn status(server: SocketAddr, path: &str) -> u16 {
    let answer = Client::connect(server).await.unwrap().plain("GET", path, "").await.unwrap();
    assert!(answer.status != 200 || answer.body == b"#EXTM3U\n");
    answer.status
}

async fn statuses(server: SocketAddr, path: &'static str) -> Vec<u16> {
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        tasks.spawn(status(server, path));
    }
    tasks.join_all().await
}

pub(super) async fn an_expired_playlist_is_fetched_once(kind: Kind) {
    let origin = Live::start().await;
    let server = start_before(kind, origin.address).await;
    assert_eq!(status(server.http, "/media/live/a/v0.m3u8").await, 200);
    for _ in 0..2 {
        tokio::time::sleep(ENDED).await;
        let before = origin.requests();
        assert_eq!(statuses(server.http, "/media/live/a/v0.m3u8").await, vec![200; CLIENTS]);
        // On a busy machine some come when the new version has ended as well, or between its last byte and its being stored; all
        // of them at the origin would be a stampede.
        let asked = origin.asked_since(before).await;
        assert!((1..=FEW).contains(&asked), "{}: {asked}", kind.as_str());
    }
}

pub(super) async fn held_requests_are_one(kind: Kind) {
    let origin = Live::start().await;
    let server = start_before(kind, origin.address).await;
    // Parts that players ask for before they are there (EXT-X-PRELOAD-HINT).
    for path in ["/media/live/a/v0/7.1.m4s", "/media/live/a/v0/7.2.m4s"] {
        let before = origin.requests();
        assert_eq!(statuses(server.http, path).await, vec![200; CLIENTS]);
        let asked = origin.requests() - before;
        assert!((1..=FEW).contains(&asked), "{}: {asked}", kind.as_str());
    }
}

pub(super) async fn what_was_good_is_served(kind: Kind) {
    let origin = Live::start().await;
    let server = start_before(kind, origin.address).await;
    for path in ["/media/live/a/v0.m3u8", "/media/live/a/v0/1.m4s"] {
        origin.becomes(GOOD);
        assert_eq!(status(server.http, path).await, 200);
        tokio::time::sleep(ENDED).await;
        for mode in [FAILS, GONE] {
            origin.becomes(mode);
            for _ in 0..3 {
                assert_eq!(status(server.http, path).await, 200, "{}: {path} {mode}", kind.as_str());
            }
        }
        assert!(status(server.http, "/media/live/a/never.m3u8").await >= 500, "{}", kind.as_str());
    }
}

pub(super) async fn what_was_not_there_is_soon_found(kind: Kind) {
    let origin = Live::start().await;
    let server = start_before(kind, origin.address).await;
    origin.becomes(MISSING);
    assert_eq!(status(server.http, "/media/live/a/v0/2.m4s").await, 404);
    origin.becomes(GOOD);
    let deadline = Instant::now() + SOON;
    while status(server.http, "/media/live/a/v0/2.m4s").await != 200 {
        assert!(Instant::now() < deadline, "{}", kind.as_str());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Requests on a connection: the kernel acknowledges at once what comes first on one, and later lets it wait.
const ON_ONE_CONNECTION: usize = 80;

/// The shortest time that Linux lets an acknowledgement wait. Who depends on one is never faster.
const ACKNOWLEDGES_AFTER: Duration = Duration::from_millis(40);

pub(super) async fn small_answers_do_not_wait(kind: Kind) {
    let (_origin, server) = start(kind).await;
    let object = Object::new("small", 4096, Duration::ZERO);
    until_hit(&server, &object).await;
    let host = server.h2c.unwrap();
    let stream = TcpStream::connect(host).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut took = Vec::new();
    for _ in 0..ON_ONE_CONNECTION {
        let request = http::Request::get(format!("http://{host}{}", object.path)).body(()).unwrap();
        let asked_at = Instant::now();
        sender = sender.ready().await.unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let mut body = answer.await.unwrap().into_body();
        let mut received = 0;
        while let Some(piece) = body.data().await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            received += piece.len();
        }
        assert_eq!(received, 4096);
        took.push(asked_at.elapsed());
    }
    connection.abort();
    // A busy machine makes some of them slow; what waits for an acknowledgement makes every one of them slow.
    let fastest = took[ON_ONE_CONNECTION / 2..].iter().min().unwrap();
    assert!(*fastest < ACKNOWLEDGES_AFTER / 2, "{}: {took:?}", kind.as_str());
}
