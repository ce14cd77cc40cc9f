//! A bucket of an object store as origin: what it is asked for is signed, and what it says of errors stays between the
//! two. The store of these tests checks signatures by an implementation of its own.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::client::Request;
use crate::support::content::{assert_same_bytes, content};
use crate::support::edge::{Edge, Setup};
use crate::support::s3::{self, Key, REGION, Store};
use crate::support::wait::{eventually, within};

const MIB: usize = 1024 * 1024;
const PLAYLIST: &str =
    "#EXTM3U\n#EXT-X-TARGETDURATION:6\n#EXTINF:6,\nseg 1+a.ts\n#EXTINF:6,\nseg-2.ts\n#EXT-X-ENDLIST\n";

/// A node before a store, with the credentials of `key`, and further members of `s3`.
fn before(store: &Store, key: &Key, more: &str) -> Setup {
    let token = if key.token.is_some() { ", session_token_file = \"DIR/token\"" } else { "" };
    let s3 = format!(
        "s3 = {{ region = \"{REGION}\", bucket = \"vod\", access_key_file = \"DIR/id\", \
         secret_key_file = \"DIR/secret\"{token}{more} }}"
    );
    Setup::before(&store.origin)
        .origin(&s3)
        .file("id", &key.id)
        .file("secret", &format!("{}\n", key.secret))
        .file("token", key.token.as_deref().unwrap_or_default())
}

async fn assert_ok(edge: &Edge, target: &str, body: &[u8]) {
    let response = edge.get(target).await;
    assert_eq!(response.status(), 200, "{target}");
    assert_same_bytes(response.whole(), body, target);
}

/// A film's playlist and segments come out of a bucket, byte for byte, whatever characters their names have; the second time
/// they are hits, and the store is asked nothing.
#[tokio::test]
async fn a_film_is_served_out_of_a_bucket() {
    let store = Store::start("vod").await;
    let (first, second) = (content(1, 300_000), content(2, 1_000_000));
    let odd = content(3, 1000);
    store.put("films/a b/index.m3u8", PLAYLIST);
    store.put("films/a b/seg 1+a.ts", first.clone());
    store.put("films/a b/seg-2.ts", second.clone());
    store.put("films/(x)='y'!*@:,;$&~é.ts", odd.clone());
    let edge = before(&store, &s3::key(), ", prefix = \"films\"").start().await;
    for outcome in ["miss", "hit"] {
        let playlist = edge.get("/a%20b/index.m3u8").await;
        assert_eq!((playlist.status(), playlist.outcome()), (200, outcome));
        assert_eq!(playlist.whole(), PLAYLIST);
    }
    assert_ok(&edge, "/a%20b/seg%201+a.ts", &first).await;
    assert_ok(&edge, "/a%20b/seg-2.ts", &second).await;
    assert_ok(&edge, "/(x)='y'!*@:,;$&~%C3%A9.ts", &odd).await;
    assert_eq!(store.refused(), [""; 0]);
    let asked = store.origin.recorded();
    assert_eq!(asked.len(), 4);
    assert!(asked.iter().all(|request| request.header("x-amz-security-token").is_none()));
}

/// Ranges of a large object cost its slices, each signed and conditional on the version; HEAD is signed as well.
#[tokio::test]
async fn slices_and_heads_of_an_object_are_signed() {
    let store = Store::start("vod").await;
    let film = content(4, 5 * MIB + 17);
    store.put("film.mp4", film.clone());
    let edge = before(&store, &s3::key(), "").limits("slice_above = \"1MiB\"").start().await;
    let head = edge.ask(&Request::head("/film.mp4")).await;
    assert_eq!((head.status(), head.get("content-length")), (200, Some("5242897")));
    for (start, end) in [(3 * MIB + 5, 4 * MIB + 5), (0, 10), (5 * MIB, 5 * MIB + 17)] {
        let range = Request::get("/film.mp4").range(&format!("bytes={start}-{}", end - 1));
        let response = edge.ask(&range).await;
        assert_eq!(response.status(), 206);
        assert_same_bytes(response.whole(), &film[start..end], "a part");
    }
    assert_ok(&edge, "/film.mp4", &film).await;
    assert_eq!(store.refused(), [""; 0]);
    let asked = store.origin.recorded();
    assert!(asked.iter().any(|request| request.header("range").is_some()));
    assert!(asked.iter().any(|request| request.header("if-range").is_some()));
}

/// What passes through is signed, too, and without what a viewer could have the store do otherwise: its query, fields of the
/// store's own, credentials.
#[tokio::test]
async fn what_passes_through_is_signed_and_nothing_of_a_viewer_is() {
    let store = Store::start("vod").await;
    let body = content(5, 50_000);
    store.put("live/now.ts", body.clone());
    let rules = "[[site.rule]]\npath = \"/live/*\"\nbypass = true";
    let edge = before(&store, &s3::key(), ", query = [\"versionId\"]").more(rules).start().await;
    let request = Request::get("/live/now.ts?acl&versionId=a%2Bb%20c&list-type=2")
        .header("x-amz-acl", "public-read")
        .header("authorization", "Basic eA==")
        .header("cookie", "a=b")
        .header("content-type", "text/plain")
        .range("bytes=100-199");
    let response = edge.ask(&request).await;
    assert_eq!(response.status(), 206);
    assert_same_bytes(response.whole(), &body[100..200], "a part");
    let asked = store.origin.recorded();
    assert_eq!(asked[0].target, "/vod/live/now.ts?versionId=a%2Bb%20c");
    assert_eq!((asked[0].header("x-amz-acl"), asked[0].header("cookie")), (None, None));
    let preflight = edge.ask(&Request::new("OPTIONS", "/live/now.ts")).await;
    assert_eq!(preflight.status(), 403, "only reads are signed");
    assert_eq!(preflight.whole(), "");
    assert_eq!(store.origin.recorded()[1].header("authorization"), None);
}

/// A wrong key is refused by the store, which viewers are told by the status alone; it is not kept longer than an error is,
/// and the log has the store's word for it.
#[tokio::test]
async fn a_wrong_key_is_a_403_without_words_and_not_kept_as_content() {
    let store = Store::start("vod").await;
    store.put("a.ts", content(6, 1000));
    let wrong = Key { secret: "not-the-secret-of-this-store".to_owned(), ..s3::key() };
    let rules = "[[site.rule]]\npath = \"/pass/*\"\nbypass = true";
    let edge = before(&store, &wrong, "").more(rules).start().await;
    for path in ["/a.ts", "/pass/a.ts"] {
        let response = edge.get(path).await;
        assert_eq!((response.status(), response.whole().len()), (403, 0), "{path}");
        assert_eq!(response.get("content-type"), None);
    }
    store.take(&wrong);
    within("the object, once the key is right", async {
        while edge.get("/a.ts").await.status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (_, written) = edge.stop().await;
    assert!(written.contains("SignatureDoesNotMatch"), "the log has the store's word");
    assert!(!written.contains(&wrong.secret) && !written.contains(&wrong.id));
}

/// An object that is not there is a 403 to a key that may not list, and a rule says for how long that holds.
#[tokio::test]
async fn a_missing_object_is_kept_for_as_long_as_a_rule_says() {
    let store = Store::start("vod").await;
    let rules = "[[site.rule]]\nstatus = [403]\nttl = \"1h\"";
    let edge = before(&store, &s3::key(), "").more(rules).start().await;
    for outcome in ["miss", "hit"] {
        let response = edge.get("/missing.ts").await;
        assert_eq!((response.status(), response.whole().len(), response.outcome()), (403, 0, outcome));
    }
    for path in ["/", "/a/..%2Fb.ts"] {
        assert_eq!(edge.get(path).await.status(), 400, "{path} names no object");
    }
    assert_eq!(store.origin.recorded().len(), 1);
}

/// Temporary credentials are signed with their token, and when the files are replaced, the new ones are used: no restart.
#[tokio::test]
async fn replaced_credentials_are_used_without_a_restart() {
    let store = Store::start("vod").await;
    let first = Key { token: Some("token/of+the=first".to_owned()), ..s3::key() };
    let second =
        Key { token: Some("token-of-the-second".to_owned()), ..Key::new("ASIASECOND", "another+secret") };
    let folder = tempfile::tempdir().unwrap();
    let write = |key: &Key| {
        for (name, text) in [("id", &key.id), ("secret", &key.secret), ("token", key.token.as_ref().unwrap())]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
    };
    write(&first);
    store.take(&first);
    for number in 0..100 {
        store.put(&format!("{number}.ts"), content(number, 100));
    }
    let place = folder.path().display();
    let s3 = format!(
        "s3 = {{ region = \"{REGION}\", bucket = \"vod\", access_key_file = \"{place}/id\", \
         secret_key_file = \"{place}/secret\", session_token_file = \"{place}/token\" }}"
    );
    let edge = Setup::before(&store.origin).origin(&s3).start().await;
    assert_ok(&edge, "/0.ts", &content(0, 100)).await;
    store.take(&second);
    assert_eq!(edge.get("/1.ts").await.status(), 403);
    write(&second);
    edge.await_said("new credentials for the object store are in use").await;
    assert_ok(&edge, "/2.ts", &content(2, 100)).await;
    // Files that cannot be used leave what there is.
    std::fs::write(folder.path().join("secret"), "").unwrap();
    edge.await_said("credentials for the object store cannot be read again").await;
    assert_ok(&edge, "/3.ts", &content(3, 100)).await;
}

/// In the virtual style the bucket stands before the host, and health checks are signed as well.
#[tokio::test]
async fn the_bucket_may_stand_before_the_host_and_checks_are_signed() {
    let store = Store::start("vod").await;
    let body = content(7, 5000);
    store.put("a.ts", body.clone());
    store.put("health", "ok");
    let lines =
        "host = \"s3.example.com\"\nhealth = { path = \"/health\", interval = \"20ms\", timeout = \"1m\" }";
    let edge = before(&store, &s3::key(), ", style = \"virtual\"").origin(lines).start().await;
    assert_ok(&edge, "/a.ts", &body).await;
    eventually("a health check", || store.origin.requests("/health") > 2).await;
    assert_eq!(store.refused(), [""; 0]);
    assert!(store.origin.recorded().iter().all(|asked| asked.header("host") == Some("vod.s3.example.com")));
}

/// What the node asks a store for is, to the letter, what the package botocore would ask it for: target and signature.
#[tokio::test]
async fn requests_are_those_of_another_signer() {
    let store = Store::start("vod").await;
    let names =
        ["plain.ts", "a b/c+d.ts", "(x)='y'!*@:,;$&~[1].ts", "été/ü%41.ts", "dir//a..b/.c.ts", "x?y#z.ts"];
    for (number, name) in names.iter().enumerate() {
        store.put(name, content(number as u64, 1000));
    }
    let key = Key { token: Some("a/token+with=signs".to_owned()), ..s3::key() };
    store.take(&key);
    let edge = before(&store, &key, "").site("merge_slashes = false").start().await;
    let sent: Vec<String> = names
        .iter()
        .map(|name| {
            // As a browser would: only what cannot stand in a path is encoded.
            let plain = |byte: &u8| byte.is_ascii_graphic() && !b"%?#[]".contains(byte);
            let spell = |byte: u8| match plain(&byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            };
            format!("/{}", name.bytes().map(spell).collect::<String>())
        })
        .collect();
    for (path, number) in sent.iter().zip(0..) {
        assert_ok(&edge, path, &content(number, 1000)).await;
    }
    let asked = store.origin.recorded();
    let orders: Vec<_> = asked
        .iter()
        .zip(names)
        .map(|(request, name)| {
            serde_json::json!({
                "method": request.method, "host": request.header("host"), "bucket": "vod", "name": name,
                "region": REGION, "id": key.id, "secret": key.secret, "token": key.token,
                "time": request.header("x-amz-date"),
            })
        })
        .collect();
    let signed = botocore(&orders);
    assert_eq!((asked.len(), signed.len()), (names.len(), names.len()));
    for (request, signed) in asked.iter().zip(signed) {
        assert_eq!(signed["target"], request.target);
        assert_eq!(signed["authorization"], request.header("authorization").unwrap());
    }
}

/// What the script beside the signers of tokens makes of orders.
fn botocore(orders: &[serde_json::Value]) -> Vec<serde_json::Value> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut child = Command::new(root.join("target/signers/bin/python"))
        .arg(root.join("tests/signers/botocore_s3.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the packages of tests/signers: run `make setup`");
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(orders).unwrap()).unwrap();
    serde_json::from_slice(&child.wait_with_output().unwrap().stdout).expect("a list")
}
