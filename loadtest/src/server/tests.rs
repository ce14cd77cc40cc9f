//! Every server as a run uses it: the node, and the peers of Debian's packages, which scripts/setup.sh installs. [`behaviour`] has
//! what their configuration is to make of an HLS origin.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::time::{Duration, Instant};

mod behaviour;

use super::*;
use crate::content::Object;
use crate::http1::Client;

/// How long an object may take to become a hit, or to be gone, on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// The node's binary beside the tests' own, or the released one.
fn setup() -> Setup {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    let forebay = ["debug/forebay", "release/forebay"]
        .map(|name| target.join(name))
        .into_iter()
        .find(|path| path.is_file());
    Setup { forebay: forebay.unwrap_or_default(), memory: "256MiB".into(), ..Setup::default() }
}

/// The server in front of this address. It has to be there: a test without it would prove nothing.
async fn start_before(kind: Kind, origin: SocketAddr) -> Server {
    let setup = setup();
    if kind.version(&setup).await.is_none() {
        match kind.package() {
            Some(package) => panic!("{package} is not installed: apt-get install {package}, or make setup"),
            None => panic!("the node is not built: cargo build -p forebay"),
        }
    }
    Server::before(kind, &setup, origin, None).await.unwrap_or_else(|error| panic!("{error:#}"))
}

async fn start(kind: Kind) -> (Origin, Server) {
    let origin = Origin::start().unwrap();
    let server = start_before(kind, origin.address()).await;
    (origin, server)
}

/// Fetches the object, byte for byte, until the cache says that it has it.
async fn until_hit(server: &Server, object: &Object) {
    let deadline = Instant::now() + SOON;
    let mut client = Client::connect(server.http).await.unwrap();
    while !client.get(object).await.unwrap_or_else(|error| panic!("{error:#}")).hit {
        assert!(Instant::now() < deadline, "{}: {} is no hit", server.kind.as_str(), object.path);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn serves_hits_byte_for_byte(kind: Kind) {
    let (origin, server) = start(kind).await;
    for size in [0, 1, 4096, 300_001, 2_000_000] {
        let object = Object::new("a", size, Duration::ZERO);
        until_hit(&server, &object).await;
        assert_eq!(origin.requests(&object), 1, "{}: {size}", kind.as_str());
    }
    let memory_files = server.cache_files().bytes();
    match kind {
        Kind::Nginx | Kind::Ats if Path::new(SHARED_MEMORY).is_dir() => assert!(memory_files >= 2_000_000),
        _ => assert_eq!(memory_files, 0, "{}", kind.as_str()),
    }
    let object = Object::new("a", 300_001, Duration::ZERO);
    let h2c = server.h2c.unwrap();
    crate::http2::get(h2c, &object).await.unwrap_or_else(|error| panic!("{}: {error:#}", kind.as_str()));
    assert_eq!(origin.requests(&object), 1, "{}", kind.as_str());
}

async fn purges_what_is_below_a_path(kind: Kind) {
    let (origin, server) = start(kind).await;
    let object = Object::new("gone", 50_000, Duration::ZERO);
    let other = Object::new("stays", 50_000, Duration::ZERO);
    until_hit(&server, &object).await;
    until_hit(&server, &other).await;
    // What is not below the path stays, of a server that can tell.
    let elsewhere = server.purge("/nowhere.at+all/", true).await.unwrap();
    assert_eq!(elsewhere, Purged::Done);
    if kind != Kind::Ats {
        until_hit(&server, &object).await;
        assert_eq!(origin.requests(&object), 1, "{}", kind.as_str());
    }
    let before = origin.requests(&other);
    for hard in [true, false] {
        let requests = origin.requests(&object);
        let path = &object.path[..object.path.len() - 1];
        assert_eq!(server.purge(path, hard).await.unwrap(), Purged::Done);
        Client::connect(server.http).await.unwrap().get(&object).await.unwrap();
        assert_eq!(origin.requests(&object), requests + 1, "{} hard {hard}", kind.as_str());
        until_hit(&server, &object).await;
    }
    if kind != Kind::Ats {
        until_hit(&server, &other).await;
        assert_eq!(origin.requests(&other), before, "{}", kind.as_str());
    }
}

async fn comes_back_on_its_addresses(kind: Kind, keeps: bool) {
    let (origin, mut server) = start(kind).await;
    let object = Object::new("kept", 300_001, Duration::ZERO);
    let (http, h2c) = (server.http, server.h2c);
    for kill in [false, true] {
        until_hit(&server, &object).await;
        // Traffic Server writes its directory every two seconds: a kill forgets what was not in it.
        tokio::time::sleep(Duration::from_secs(if kind == Kind::Ats { 5 } else { 0 })).await;
        let (requests, pid) = (origin.requests(&object), server.pid().unwrap());
        let connected = Client::connect(http).await.unwrap();
        server.restart(kill).await.unwrap_or_else(|error| panic!("kill {kill}: {error:#}"));
        drop(connected);
        assert!(!crate::proc::runs(pid), "{} kill {kill}", kind.as_str());
        assert_eq!((server.http, server.h2c), (http, h2c));
        until_hit(&server, &object).await;
        let asked = origin.requests(&object) - requests;
        assert_eq!(asked, u64::from(!keeps), "{} kill {kill}", kind.as_str());
    }
}

macro_rules! promises {
    ($($name:ident: $kind:expr, $keeps:expr;)*) => { $(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn serves_hits_byte_for_byte_over_both_protocols_and_asks_once() {
                serves_hits_byte_for_byte($kind).await;
            }

            #[tokio::test]
            async fn purges_what_is_below_a_path_and_nothing_else() {
                purges_what_is_below_a_path($kind).await;
            }

            #[tokio::test]
            async fn comes_back_on_its_addresses_after_an_end_and_after_a_kill() {
                comes_back_on_its_addresses($kind, $keeps).await;
            }

            #[tokio::test]
            async fn an_expired_playlist_is_fetched_once_however_many_ask() {
                behaviour::an_expired_playlist_is_fetched_once($kind).await;
            }

            #[tokio::test]
            async fn requests_that_the_origin_holds_are_one_at_the_origin() {
                behaviour::held_requests_are_one($kind).await;
            }

            #[tokio::test]
            async fn small_answers_on_one_http2_connection_wait_for_no_acknowledgement() {
                behaviour::small_answers_do_not_wait($kind).await;
            }

            #[tokio::test]
            async fn what_was_good_is_served_while_the_origin_fails() {
                behaviour::what_was_good_is_served($kind).await;
            }

            #[tokio::test]
            async fn what_was_not_there_is_soon_found() {
                behaviour::what_was_not_there_is_soon_found($kind).await;
            }
        }
    )* };
}

promises! {
    forebay: Kind::Forebay, false;
    nginx: Kind::Nginx, true;
    varnish: Kind::Varnish, false;
    ats: Kind::Ats, true;
}

#[tokio::test]
async fn the_origin_itself_can_neither_be_purged_nor_restarted() {
    let origin = Origin::start().unwrap();
    let mut server = Server::start(Kind::Direct, &setup(), &origin).await.unwrap();
    assert_eq!(server.purge("/", true).await.unwrap(), Purged::NotOffered);
    assert!(server.restart(false).await.is_err() && server.pid().is_err());
}

#[tokio::test]
async fn a_server_that_does_not_start_says_why() {
    let origin = Origin::start().unwrap();
    let setup =
        Setup { memory: "1GiB".into(), nginx: "/bin/false".into(), varnish: "/no/such".into(), ..setup() };
    let error = format!("{:#}", Server::start(Kind::Nginx, &setup, &origin).await.unwrap_err());
    assert!(error.starts_with("starting nginx") && error.contains("exit status: 1"), "{error}");
    let error = format!("{:#}", Server::start(Kind::Varnish, &setup, &origin).await.unwrap_err());
    assert!(error.contains("/no/such"), "{error}");
    let setup = Setup { memory: "lots".into(), ..setup };
    let error = format!("{:#}", Server::start(Kind::Ats, &setup, &origin).await.unwrap_err());
    assert!(error.contains("\"lots\": a size"), "{error}");
}
