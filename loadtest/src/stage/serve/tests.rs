#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::control::{Line, Order, Told, accept};
use super::super::sample::{ms, scenario, stage, text};
use super::*;
use crate::content;
use crate::scenario::{Fault, Wrong};

const FILM: &str = "/media/vod/film/v1.m3u8";

/// An answer as it came over the socket.
#[derive(Debug)]
struct Got {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// The peer closed the connection within or after it.
    closed: bool,
}

impl Got {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    fn length(&self) -> usize {
        self.field("content-length").unwrap().parse().unwrap()
    }
}

/// A fault for all of the run, on media and on what else ends so.
fn always(what: Wrong) -> Fault {
    Fault { at: Duration::ZERO, over: Duration::from_secs(3600), paths: "**/*.m4s".into(), share: 1.0, what }
}

fn low_latency_by_ranges() -> Scenario {
    let mut scenario = scenario(vec![]);
    scenario.streams[1].parts_are_ranges = true;
    (scenario.streams[1].segment, scenario.streams[1].part) = (ms(1_000), ms(250));
    scenario
}

/// A server that has begun, and where it is.
async fn started(scenario: Scenario) -> (Arc<Server>, SocketAddr) {
    let server = Server::new(scenario);
    server.begin(SystemTime::now()).unwrap();
    let address = listening(&server).await;
    (server, address)
}

async fn listening(server: &Arc<Server>) -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(Arc::clone(server).accept(listener));
    address
}

async fn ask(stream: &mut TcpStream, request: &str) {
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: origin\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads an answer to its end: as many bytes as are announced, or, if it `closes`, to the end of the connection.
async fn receive(stream: &mut TcpStream, is_head: bool, closes: bool) -> Got {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        assert!(
            stream.read_buf(&mut bytes).await.unwrap() > 0,
            "no head: {:?}",
            String::from_utf8_lossy(&bytes)
        );
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut got = Got { status, head, body: bytes[end..].to_vec(), closed: false };
    if closes {
        stream.read_to_end(&mut got.body).await.unwrap();
        got.closed = true;
    } else if !is_head && status != 304 {
        let chunked = got.field("transfer-encoding").is_some();
        let length = if chunked { usize::MAX } else { got.length() };
        while got.body.len() < length && !(chunked && got.body.ends_with(b"0\r\n\r\n")) {
            if stream.read_buf(&mut got.body).await.unwrap() == 0 {
                got.closed = true;
                break;
            }
        }
    }
    got
}

async fn get(stream: &mut TcpStream, target: &str) -> Got {
    ask(stream, &format!("GET {target}")).await;
    receive(stream, false, false).await
}

/// The second segment of the film, and its bytes.
async fn segment(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let playlist = String::from_utf8(get(stream, FILM).await.body).unwrap();
    let uri = playlist.lines().filter(|line| !line.starts_with('#')).nth(1).unwrap();
    let path = format!("/media/vod/film/{uri}");
    let expected = content::expected(&path).unwrap();
    let mut bytes = vec![0; usize::try_from(expected.bytes).unwrap()];
    expected.content.fill(0, &mut bytes);
    (path, bytes)
}

async fn with_fault(what: Wrong) -> (Arc<Server>, TcpStream, String, Vec<u8>) {
    let (server, address) = started(scenario(vec![always(what)])).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (path, bytes) = segment(&mut stream).await;
    (server, stream, path, bytes)
}

#[tokio::test]
async fn all_there_is_comes_over_one_connection_as_the_stage_says() {
    let (server, address) = started(scenario(vec![])).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (path, bytes) = segment(&mut stream).await;
    let got = get(&mut stream, &path).await;
    assert_eq!((got.status, got.body == bytes, got.field("content-type")), (200, true, Some("video/mp4")));
    // On paper and over the socket: the same text.
    let paper = super::super::sample::get(&stage(vec![]), FILM, Duration::ZERO);
    assert_eq!(String::from_utf8(get(&mut stream, FILM).await.body).unwrap(), paper);
    ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nRange: bytes=70000-140000\r\nX: ")).await;
    let got = receive(&mut stream, false, false).await;
    assert_eq!((got.status, &got.body[..]), (206, &bytes[70_000..=140_000]));
    assert_eq!(got.field("content-range").unwrap(), format!("bytes 70000-140000/{}", bytes.len()));
    ask(&mut stream, &format!("HEAD {path}")).await;
    let head = receive(&mut stream, true, false).await;
    assert_eq!((head.status, head.length(), head.body.len()), (200, bytes.len(), 0));
    let tag = head.field("etag").unwrap().to_owned();
    ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nIf-None-Match: {tag}\r\nX: ")).await;
    let known = receive(&mut stream, false, false).await;
    assert_eq!((known.status, known.field("content-length")), (304, None));
    let nothing = get(&mut stream, "/nothing").await;
    assert_eq!(nothing.status, 404);
    let not_found = nothing.body.len() as u64;
    ask(&mut stream, "POST /media/vod/film/index.m3u8").await;
    let refused = receive(&mut stream, false, false).await;
    assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")));

    let ledger = server.ledger();
    assert_eq!((ledger.requests, ledger.connections, ledger.connections_now), (8, 1, 1));
    let kind =
        |name: &str| (ledger.kinds[name].objects, ledger.kinds[name].requests, ledger.kinds[name].most);
    // The whole three times, and a range.
    assert_eq!((kind("segment"), kind("playlist"), kind("other")), ((2, 4, 3), (1, 2, 2), (2, 2, 1)));
    assert_eq!(ledger.kinds["segment"].most_for, path);
    assert_eq!(ledger.bytes, 2 * paper.len() as u64 + bytes.len() as u64 + 70_001 + not_found);
}

#[tokio::test]
async fn requests_that_are_sent_at_once_are_answered_in_order_and_a_last_one_closes() {
    let (_server, address) = started(scenario(vec![])).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let one = "GET /media/vod/film/index.m3u8 HTTP/1.1\r\nHost: a\r\n\r\n";
    let requests = format!("{one}{one}GET /x HTTP/1.1\r\nConnection: close\r\n\r\n");
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut all = String::new();
    stream.read_to_string(&mut all).await.unwrap();
    assert_eq!(
        (all.matches("HTTP/1.1 200 OK\r\n").count(), all.matches("HTTP/1.1 404 ").count()),
        (2, 1),
        "{all}"
    );
    assert_eq!(all.matches("connection: close\r\n").count(), 1, "{all}");
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_connection_ends() {
    let (_server, address) = started(scenario(vec![])).await;
    let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(head::HEAD_BYTES_MAX));
    for request in ["\u{1}\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", &long] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = Vec::new();
        // Bytes that were not read reset the connection after the answer.
        stream.read_to_end(&mut all).await.ok();
        assert!(all.starts_with(b"HTTP/1.1 400 Bad Request\r\n"), "{:?}", String::from_utf8_lossy(&all));
    }
}

#[tokio::test]
async fn a_status_comes_instead_and_the_connection_stays() {
    let (server, mut stream, path, _) = with_fault(Wrong::Status(503)).await;
    for _ in 0..2 {
        let got = get(&mut stream, &path).await;
        assert_eq!((got.status, &got.body[..], got.closed), (503, &b"a fault of the origin\n"[..], false));
        assert_eq!(got.field("cache-control"), None);
    }
    assert_eq!(server.ledger().faults, [2]);
}

#[tokio::test]
async fn a_delayed_answer_begins_later_and_is_whole() {
    let (_server, mut stream, path, bytes) = with_fault(Wrong::Delay(ms(300))).await;
    let began = Instant::now();
    ask(&mut stream, &format!("GET {path}")).await;
    stream.readable().await.unwrap();
    assert!(began.elapsed() >= ms(300), "{:?}", began.elapsed());
    assert!(receive(&mut stream, false, false).await.body == bytes);
}

#[tokio::test]
async fn a_throttled_body_takes_its_time_but_its_head_does_not() {
    // 800 KB in about 0.6 s.
    let (_server, mut stream, path, bytes) = with_fault(Wrong::Throttle(10_000_000)).await;
    let began = Instant::now();
    ask(&mut stream, &format!("GET {path}")).await;
    let got = receive(&mut stream, false, false).await;
    let least = Duration::from_secs_f64(bytes.len() as f64 * 8.0 / 10_000_000.0);
    assert!(began.elapsed() >= least, "{:?} {least:?}", began.elapsed());
    assert!(got.body == bytes && !got.closed);
}

#[tokio::test]
async fn a_broken_transfer_ends_short_of_its_length() {
    let (_server, mut stream, path, bytes) = with_fault(Wrong::Break(0.4)).await;
    let got = get(&mut stream, &path).await;
    let whole = bytes.len();
    assert_eq!((got.status, got.length(), got.body.len(), got.closed), (200, whole, whole * 4 / 10, true));
    assert!(bytes.starts_with(&got.body));
}

#[tokio::test]
async fn a_wrong_length_is_announced_around_the_right_body() {
    for more in [1000, -1000] {
        let (_server, mut stream, path, bytes) = with_fault(Wrong::Length(more)).await;
        ask(&mut stream, &format!("GET {path}")).await;
        let got = receive(&mut stream, false, true).await;
        assert_eq!(got.length() as i64, bytes.len() as i64 + more);
        assert!(got.body == bytes && got.closed, "{more}");
    }
}

#[tokio::test]
async fn one_byte_is_another_one_and_all_others_are_right() {
    let (_server, mut stream, path, bytes) = with_fault(Wrong::Corrupt(0.7)).await;
    let got = get(&mut stream, &path).await;
    let wrong: Vec<usize> = (0..bytes.len()).filter(|at| got.body[*at] != bytes[*at]).collect();
    assert_eq!((got.body.len(), wrong), (bytes.len(), vec![bytes.len() * 7 / 10]));
}

#[tokio::test]
async fn in_an_outage_the_connection_is_closed_without_a_byte() {
    let (server, mut stream, path, _) = with_fault(Wrong::Outage).await;
    ask(&mut stream, &format!("GET {path}")).await;
    let mut all = Vec::new();
    stream.read_to_end(&mut all).await.unwrap();
    assert_eq!((all.len(), server.ledger().faults), (0, vec![1]));
}

/// On a clock that goes on when nothing else can: how busy the machine is does not matter.
#[tokio::test(start_paused = true)]
async fn stale_and_backward_playlists_come_over_sockets_too() {
    for (what, sequence) in [(Wrong::Stale, 9994), (Wrong::Backward(3), 9991)] {
        let (server, address) =
            started(scenario(vec![Fault { paths: "**/*.m3u8".into(), ..always(what) }])).await;
        // As if the run had begun 3 s ago; a segment comes in 1 s.
        server.begin(SystemTime::now() - ms(3_000)).unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = String::from_utf8(get(&mut stream, "/media/live/sport/v0.m3u8").await.body).unwrap();
        assert!(text.contains(&format!("#EXT-X-MEDIA-SEQUENCE:{sequence}\n")), "{text}");
    }
}

/// On a clock that goes on when nothing else can: how busy the machine is does not matter.
#[tokio::test(start_paused = true)]
async fn a_blocking_reload_comes_when_its_part_does() {
    let server = Server::new(scenario(vec![]));
    let address = listening(&server).await;
    let epoch = Instant::now();
    server.begin(SystemTime::now()).unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let got = get(&mut stream, "/media/live/news/v0.m3u8?_HLS_msn=10000&_HLS_part=1").await;
    let took = epoch.elapsed();
    assert!(took >= ms(1_000), "{took:?}");
    let text = String::from_utf8(got.body).unwrap();
    assert!(text.contains("v0/10000.1."), "{text}");
    assert_eq!(
        server.ledger().kinds["reload"].most_for,
        "/media/live/news/v0.m3u8?_HLS_msn=10000&_HLS_part=1#10000.2"
    );
}

#[tokio::test]
async fn who_waits_on_a_timeline_that_stands_still_is_answered_on_the_one_that_begins() {
    let server = Server::new(scenario(vec![]));
    let address = listening(&server).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "GET /media/live/news/v0.m3u8?_HLS_msn=10000&_HLS_part=0").await;
    // It is held: it was asked for, and a part's time brings nothing.
    while server.ledger().requests == 0 {
        tokio::time::sleep(ms(1)).await;
    }
    assert!(tokio::time::timeout(ms(600), stream.readable()).await.is_err());
    server.begin(SystemTime::now()).unwrap();
    let got = receive(&mut stream, false, false).await;
    assert_eq!(got.status, 200);
    assert_eq!(server.ledger().requests, 1);
}

/// On a clock that goes on when nothing else can: how busy the machine is does not matter.
#[tokio::test(start_paused = true)]
async fn a_growing_segment_comes_as_it_is_published_and_is_right() {
    let (server, address) = started(low_latency_by_ranges()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = String::from_utf8(get(&mut stream, "/media/live/news/v0.m3u8").await.body).unwrap();
    let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).unwrap();
    let uri = hint.split_once("URI=\"").unwrap().1.split('"').next().unwrap();
    let path = format!("/media/live/news/{uri}");
    let expected = content::expected(&path).unwrap();
    let mut bytes = vec![0; usize::try_from(expected.bytes).unwrap()];
    expected.content.fill(0, &mut bytes);
    let began = Instant::now();
    // The whole, and from the first byte on to an end that is not known: chunks.
    let got = get(&mut stream, &path).await;
    assert!(began.elapsed() >= ms(400), "it did not grow: {:?}", began.elapsed());
    assert!(got.status == 200 && got.body == bytes);
    server.begin(SystemTime::now()).unwrap();
    let path = path_of_first(&server);
    ask(&mut stream, &format!("GET {path} HTTP/1.1\r\nRange: bytes=100-9007199254740991\r\nX: ")).await;
    let got = receive(&mut stream, false, false).await;
    assert_eq!((got.status, got.field("content-range")), (206, Some("bytes 100-9007199254740991/*")));
    let expected = content::expected(&path).unwrap();
    let mut bytes = vec![0; usize::try_from(expected.bytes - 100).unwrap()];
    expected.content.fill(100, &mut bytes);
    assert!(unchunked(&got.body) == bytes);
    // The connection goes on after it.
    assert_eq!(get(&mut stream, "/nothing").await.status, 404);
}

/// The segment that grows first.
fn path_of_first(server: &Server) -> String {
    let scene = Arc::clone(&server.scene.borrow());
    let answer = super::super::sample::ask(&scene.stage, "/media/live/news/v0.m3u8", Duration::ZERO, &[]);
    let text = text(&answer);
    let hint = text.lines().find(|line| line.starts_with("#EXT-X-PRELOAD-HINT")).unwrap();
    format!("/media/live/news/{}", hint.split_once("URI=\"").unwrap().1.split('"').next().unwrap())
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let end = bytes.windows(2).position(|window| window == b"\r\n").unwrap();
        let length = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).unwrap(), 16).unwrap();
        bytes = &bytes[end + 2..];
        if length == 0 {
            assert_eq!(bytes, b"\r\n");
            return out;
        }
        out.extend_from_slice(&bytes[..length]);
        assert_eq!(&bytes[length..length + 2], b"\r\n");
        bytes = &bytes[length + 2..];
    }
}

#[tokio::test]
async fn a_peer_that_goes_away_while_it_is_held_frees_its_connection() {
    let server = Server::new(scenario(vec![]));
    let address = listening(&server).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    ask(&mut stream, "GET /media/live/news/v0.m3u8?_HLS_msn=10000&_HLS_part=0").await;
    while server.ledger().requests == 0 {
        tokio::time::sleep(ms(1)).await;
    }
    drop(stream);
    let gone = async {
        while server.ledger().connections_now > 0 {
            tokio::time::sleep(ms(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}

/// On a clock that goes on by itself when nothing else can: a minute is over at once.
#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_or_does_not_ask_is_given_up() {
    let mut scenario = scenario(vec![]);
    scenario.streams[2].bitrates = vec![100_000_000];
    let server = Server::new(scenario);
    let address = listening(&server).await;
    let mut reads_nothing = TcpStream::connect(address).await.unwrap();
    let text = super::super::sample::get(
        &Stage::new(&server.scenario, SystemTime::now()),
        "/media/vod/film/v0.m3u8",
        Duration::ZERO,
    );
    let uri = text.lines().find(|line| !line.starts_with('#')).unwrap();
    // 50 MB are more than both kernels' buffers take.
    ask(&mut reads_nothing, &format!("GET /media/vod/film/{uri}")).await;
    let _asks_nothing = TcpStream::connect(address).await.unwrap();
    let gone = async {
        while server.ledger().connections < 2 || server.ledger().connections_now > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(300), gone).await.unwrap();
}

#[tokio::test]
async fn while_the_timeline_stands_still_no_playlist_may_be_sent_again_and_media_may() {
    let server = Server::new(scenario(vec![]));
    let mut stream = TcpStream::connect(listening(&server).await).await.unwrap();
    let playlists =
        ["/media/live/sport/index.m3u8", "/media/live/sport/v0.m3u8", "/media/live/news/v0.m3u8", FILM];
    for path in playlists {
        let got = get(&mut stream, path).await;
        assert_eq!((got.status, got.field("cache-control")), (200, Some("no-cache")), "{path}");
    }
    let (segment, bytes) = segment(&mut stream).await;
    let got = get(&mut stream, &segment).await;
    assert!(got.body == bytes && got.field("cache-control").unwrap().starts_with("public, max-age="));
    server.begin(SystemTime::now()).unwrap();
    for path in playlists {
        let got = get(&mut stream, path).await;
        assert!(got.field("cache-control").unwrap().starts_with("public, max-age="), "{path}: {}", got.head);
    }
}

#[tokio::test]
async fn the_control_port_begins_a_run_forgets_what_was_before_and_tells_the_ledger() {
    let server = Server::new(scenario(vec![]));
    let media = listening(&server).await;
    let control = listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = control.local_addr().unwrap();
    tokio::spawn(accept(Arc::clone(&server), control));
    let line = Line::connect(address).await.unwrap();
    let mut stream = TcpStream::connect(media).await.unwrap();
    get(&mut stream, FILM).await;
    let Told::Ledger(before) = line.order(&Order::Ledger).await.unwrap() else { panic!() };
    assert_eq!((before.requests, before.connections), (1, 1));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let begin = Order::Begin { wall_epoch_ns: u64::try_from(now.as_nanos()).unwrap() };
    assert_eq!(line.order(&begin).await.unwrap(), Told::Begun);
    let Told::Ledger(after) = line.order(&Order::Ledger).await.unwrap() else { panic!() };
    assert_eq!((after.requests, after.connections, after.connections_now, after.kinds.len()), (0, 0, 1, 0));
    let mut raw = TcpStream::connect(address).await.unwrap();
    raw.write_all(b"{\"begin\": 5}\n").await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        raw.read_buf(&mut said).await.unwrap();
    }
    assert!(said.starts_with(b"{\"error\":\"no order: "), "{}", String::from_utf8_lossy(&said));
    // A line without an end is not read for ever.
    raw.write_all(&vec![b' '; 300 * 1024]).await.ok();
    assert_eq!(raw.read_to_end(&mut Vec::new()).await.unwrap_or(0), 0);
}
