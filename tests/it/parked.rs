//! However many viewers wait for the next part of a stream, its origin hears of one.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use crate::support::client::{Http1, Http2, Request, Response};
use crate::support::content::{assert_same_bytes, piece};
use crate::support::edge::Setup;
use crate::support::origin::{Answer, Origin, Recorded};
use crate::support::wait::{Gate, eventually};

/// Viewers, of which every fourth speaks HTTP/2.
const VIEWERS: usize = 200;
const ONE_SPEAKS_HTTP2_IN: usize = 4;

const PLAYLIST: &str = "/live/index.m3u8";
const PARTS_PER_SEGMENT: usize = 4;

/// The part that the stream has reached when the viewers come, and the last one, two segments on.
const FIRST: usize = 10 * PARTS_PER_SEGMENT + 1;
const LAST: usize = FIRST + 7;

const PART_BYTES: usize = 20_001;

/// The playlist whose last part this is. A target duration so long that no deadline that follows from it passes here.
fn playlist(edge: usize) -> String {
    let (open, open_parts) = ((edge + 1) / PARTS_PER_SEGMENT, (edge + 1) % PARTS_PER_SEGMENT);
    let first = open - 3;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:60\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=45.0\n#EXT-X-PART-INF:PART-TARGET=15.0\n\
         #EXT-X-MEDIA-SEQUENCE:{first}\n"
    );
    for segment in first..=open {
        for part in 0..if segment == open { open_parts } else { PARTS_PER_SEGMENT } {
            let _ = writeln!(text, "#EXT-X-PART:DURATION=15.0,URI=\"{segment}.{part}.m4s\"");
        }
        if segment < open {
            let _ = write!(text, "#EXTINF:60.0,\n{segment}.m4s\n");
        }
    }
    text
}

fn reload(part: usize) -> String {
    format!("{PLAYLIST}?_HLS_msn={}&_HLS_part={}", part / PARTS_PER_SEGMENT, part % PARTS_PER_SEGMENT)
}

fn part_path(part: usize) -> String {
    format!("/live/{}.{}.m4s", part / PARTS_PER_SEGMENT, part % PARTS_PER_SEGMENT)
}

/// How far the viewers are: reloads sent, and answered.
#[derive(Default)]
struct Progress {
    sent: AtomicUsize,
    answered: AtomicUsize,
}

/// A viewer's connection.
enum Viewer {
    Http1(Http1),
    Http2(Http2),
}

impl Viewer {
    async fn get(&mut self, target: &str) -> Response {
        match self {
            Viewer::Http1(connection) => connection.ask(&Request::get(target)).await,
            Viewer::Http2(connection) => connection.get(target).await,
        }
    }

    /// From the playlist as it is to the last part, with every playlist and part between.
    async fn watch(mut self, progress: &Progress) {
        let (expected, got) = (playlist(FIRST), self.get(PLAYLIST).await);
        assert_eq!((got.status(), got.whole().as_ref()), (200, expected.as_bytes()));
        for part in FIRST + 1..=LAST {
            progress.sent.fetch_add(1, Ordering::AcqRel);
            let got = self.get(&reload(part)).await;
            progress.answered.fetch_add(1, Ordering::AcqRel);
            assert_eq!(got.status(), 200, "the reload for {part}");
            assert_same_bytes(got.whole(), playlist(part).as_bytes(), "the playlist");
            let got = self.get(&part_path(part)).await;
            assert_eq!(got.status(), 200, "part {part}");
            assert_same_bytes(got.whole(), &piece(part as u64, PART_BYTES), "a part");
        }
    }
}

async fn connect(who: usize, node: SocketAddr) -> Viewer {
    if who.is_multiple_of(ONE_SPEAKS_HTTP2_IN) {
        Viewer::Http2(Http2::connect(node).await)
    } else {
        Viewer::Http1(Http1::connect(node).await)
    }
}

/// An origin that holds each reload at the gate of its part. Gates stand in the order of the parts.
async fn live_origin(gates: &[Gate]) -> Origin {
    let origin = Origin::start().await;
    let number = |request: &Recorded, name: &str| -> usize {
        let (_, query) = request.target.split_once('?').expect("directives");
        let value = query.split('&').find_map(|pair| pair.strip_prefix(name)).expect(name);
        value.parse().expect("a number")
    };
    let held = gates.to_vec();
    origin.script(PLAYLIST, move |request, _| {
        if request.target == PLAYLIST {
            return Answer::ok(playlist(FIRST));
        }
        let part = number(request, "_HLS_msn=") * PARTS_PER_SEGMENT + number(request, "_HLS_part=");
        Answer::ok(playlist(part)).hold(&held[part - FIRST - 1])
    });
    for part in FIRST + 1..=LAST {
        origin.on(&part_path(part), Answer::ok(piece(part as u64, PART_BYTES)));
    }
    origin
}

/// 200 viewers wait for each of seven parts and fetch it: the origin gets one reload for each (msn, part), with its
/// directives, and one request for each part; nobody is answered before the origin has answered, and all get its bytes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_parked_at_the_live_edge_cost_the_origin_one_reload_for_each_part() {
    let gates: Vec<Gate> = (FIRST..LAST).map(|_| Gate::closed()).collect();
    let origin = live_origin(&gates).await;
    let edge = Setup::before(&origin)
        .server("h2c = true")
        .limits("coalesce_wait = \"30s\"")
        .origin("timeouts = { connect = \"10s\", first_byte = \"120s\", between_bytes = \"120s\" }")
        .start()
        .await;

    let progress = Arc::new(Progress::default());
    let mut viewers = JoinSet::new();
    for who in 0..VIEWERS {
        let (node, progress) = (edge.http(), Arc::clone(&progress));
        viewers.spawn(async move { connect(who, node).await.watch(&progress).await });
    }
    for (round, gate) in gates.iter().enumerate() {
        let all_sent = || progress.sent.load(Ordering::Acquire) == (round + 1) * VIEWERS;
        eventually("every viewer's reload at the node and one at the origin", || {
            if let Some(Err(failed)) = viewers.try_join_next() {
                std::panic::resume_unwind(failed.into_panic());
            }
            all_sent() && origin.requests(PLAYLIST) > round + 1
        })
        .await;
        assert_eq!(
            progress.answered.load(Ordering::Acquire),
            round * VIEWERS,
            "answered before the origin has"
        );
        gate.open();
    }
    viewers.join_all().await;

    let mut asked: BTreeMap<String, usize> = BTreeMap::new();
    for request in origin.recorded() {
        *asked.entry(request.target).or_default() += 1;
    }
    asked.remove(PLAYLIST);
    let expected = (FIRST + 1..=LAST).flat_map(|part| [reload(part), part_path(part)]);
    let expected: BTreeMap<String, usize> = expected.map(|target| (target, 1)).collect();
    assert_eq!(asked, expected);
}
