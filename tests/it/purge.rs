//! Purges: who may ask, what is named, what is answered and logged, and that what is purged is not served.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Request, Response, ask};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, now, sign_body, valid};
use crate::support::wait::eventually;

const HOOK_KEY: &str = "0123456789abcdef-cms";

/// Every path answers for an hour, tagged with its first folder.
async fn origin() -> Origin {
    let origin = Origin::start().await;
    origin.otherwise(|request, _| {
        let folder = request.path().split('/').nth(1).unwrap_or_default().to_owned();
        Answer::ok("media").cache_control("max-age=3600, stale-if-error=3600").header("cache-tag", &folder)
    });
    origin
}

async fn post(edge: &Edge, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    let mut request = Request::new("POST", path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    ask(edge.admin(), &request.body(body.to_owned())).await
}

fn json_of(response: &Response) -> Value {
    serde_json::from_slice(&response.body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&response.body)))
}

/// Purges over the admin listener; gives the document.
async fn purge(edge: &Edge, order: Value) -> Value {
    let response = post(edge, "/purge", &[], &order.to_string()).await;
    assert_eq!(response.status(), 200, "{order}: {}", json_of(&response));
    json_of(&response)
}

/// The audit lines, once there are `count`.
async fn audit(edge: &Edge, count: usize) -> Vec<Value> {
    let lines = || -> Vec<Value> {
        let text = edge.everything_written();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "forebay::audit").collect()
    };
    eventually(&format!("{count} audit lines"), || lines().len() >= count).await;
    lines()
}

async fn warm(edge: &Edge, paths: &[&str]) {
    for path in paths {
        assert_eq!(edge.get(path).await.status(), 200);
        assert_eq!(edge.get(path).await.outcome(), "hit", "{path}");
    }
}

/// What is named is fetched again, what is not is a hit still, for each way to name it.
#[tokio::test]
async fn what_a_purge_names_is_asked_for_again_and_nothing_else() {
    let origin = origin().await;
    let edge = Setup::before(&origin).start().await;
    let url = |path: &str| format!("http://edge.test{path}");
    let all = ["/a/1.m4s", "/a/2.m4s?x=1", "/b/1.m4s"];
    let mut generation = 0;
    for (order, named) in [
        (json!({ "url": url("/a/1.m4s") }), &all[..1]),
        (json!({ "url": [url("/a/2.m4s?utm_source=m&x=1"), url("/a/1.m4s")] }), &all[..2]),
        (json!({ "prefix": url("/a/") }), &all[..2]),
        (json!({ "tag": "b" }), &all[2..]),
        (json!({ "tag": ["a", "b"], "site": "*" }), &all[..]),
        (json!({ "site": "*" }), &all[..]),
        (json!({ "everything": true }), &all[..]),
    ] {
        for mode in ["soft", "hard"] {
            warm(&edge, &all).await;
            let mut order = order.clone();
            order["mode"] = mode.into();
            let told = purge(&edge, order.clone()).await;
            assert!(told["generation"].as_u64().unwrap() > generation, "{told}");
            generation = told["generation"].as_u64().unwrap();
            for path in all {
                let outcome = edge.get(path).await.outcome().to_owned();
                assert_eq!(outcome != "hit", named.contains(&path), "{path} is a {outcome} after {order}");
            }
        }
    }
}

/// A soft purge keeps the copy for when the origin fails; a hard one does not.
#[tokio::test]
async fn after_a_soft_purge_a_failing_origin_is_covered_and_after_a_hard_one_not() {
    let origin = Origin::start().await;
    for path in ["/soft.m4s", "/hard.m4s"] {
        let kept = Answer::ok("media").cache_control("max-age=3600, stale-if-error=3600");
        origin.on_each(path, vec![kept, Answer::status(500)]);
    }
    let edge = Setup::before(&origin).origin("retry = { attempts = 1 }").start().await;
    for (mode, status) in [("soft", 200), ("hard", 500)] {
        let path = format!("/{mode}.m4s");
        assert_eq!(edge.get(&path).await.status(), 200);
        purge(&edge, json!({ "url": format!("http://edge.test{path}"), "mode": mode })).await;
        assert_eq!(edge.get(&path).await.status(), status, "{mode}");
    }
}

/// A dry run counts what is in memory, and removes nothing.
#[tokio::test]
async fn a_dry_run_counts_and_purges_nothing() {
    let origin = origin().await;
    let edge = Setup::before(&origin).start().await;
    let all = ["/a/1.m4s", "/a/2.m4s", "/b/1.m4s"];
    warm(&edge, &all).await;
    for (order, count) in [
        (json!({ "prefix": "http://edge.test/a/" }), 2),
        (json!({ "tag": "b" }), 1),
        (json!({ "url": "http://edge.test/none.m4s" }), 0),
        (json!({ "everything": true }), 3),
    ] {
        let mut order = order;
        order["dry_run"] = true.into();
        let told = purge(&edge, order.clone()).await;
        assert_eq!(told["status"], "dry_run");
        assert_eq!(told["targets"][0]["objects_in_memory"], count, "{order}: {told}");
    }
    for path in all {
        assert_eq!(edge.get(path).await.outcome(), "hit", "{path}");
    }
}

/// Each order is answered with what it came to, and is one line of the log, also at `log.level = "off"`; the token of a
/// URL is in neither.
#[tokio::test]
async fn every_purge_is_told_and_logged_without_its_token() {
    let origin = origin().await;
    let policy =
        "[token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k\", secret_file = \"DIR/k.key\" }]\n";
    let setup = Setup::before(&origin).site("token = \"viewer\"").more(policy).file("k.key", KEY_HEX);
    let edge = setup.access("stdout\"\nlevel = \"off").start().await;
    let url = format!("http://edge.test/hdnts={}/live/1.m4s?q=1", valid("/live/*"));
    let told = purge(&edge, json!({ "url": url, "mode": "hard" })).await;
    assert_eq!(told["targets"][0]["url"], "/live/1.m4s?q=1");
    assert_eq!(told["targets"][0]["site"], "*");
    purge(&edge, json!({ "everything": true, "dry_run": true })).await;
    let refused = post(&edge, "/purge", &[], &json!({ "url": "/live/1.m4s" }).to_string()).await;
    assert_eq!((refused.status(), &json_of(&refused)["reason"]), (400, &json!("url")));
    let lines = audit(&edge, 3).await;
    let of = |line: &Value, names: &[&str]| names.iter().map(|name| line[*name].clone()).collect::<Vec<_>>();
    let names = ["result", "by", "what", "site", "named", "mode", "dry_run"];
    let expected = json!(["purged", "admin", "url", "*", "/live/1.m4s?q=1", "hard", false]);
    assert_eq!(Value::from(of(&lines[0], &names)), expected);
    assert_eq!(lines[0]["generation"], told["generation"]);
    let expected = json!(["dry_run", "admin", "everything", null, null, "soft", true]);
    assert_eq!(Value::from(of(&lines[1], &names)), expected);
    assert_eq!(Value::from(of(&lines[2], &["result", "by", "reason"])), json!(["refused", "admin", "url"]));
    assert!(lines.iter().all(|line| line["peer"].as_str().unwrap().starts_with("127.0.0.1:")), "{lines:?}");
    assert!(!edge.everything_written().contains("hmac"), "a token is in the log");
}

/// The admin token guards purges; a request without it is refused and logged.
#[tokio::test]
async fn without_the_admin_token_nothing_is_purged() {
    let origin = origin().await;
    let setup = Setup::before(&origin).server("admin_token_file = \"DIR/token\"").file("token", "s3cret");
    let edge = setup.start().await;
    warm(&edge, &["/a/1.m4s"]).await;
    let order = json!({ "everything": true }).to_string();
    assert_eq!(post(&edge, "/purge", &[], &order).await.status(), 401);
    assert_eq!(edge.get("/a/1.m4s").await.outcome(), "hit");
    let lines = audit(&edge, 1).await;
    assert_eq!((&lines[0]["result"], &lines[0]["reason"]), (&json!("refused"), &json!("credential")));
    let bearer = [("authorization", "Bearer s3cret")];
    assert_eq!(post(&edge, "/purge", &bearer, &order).await.status(), 200);
}

/// The method is off unless addresses are named; then they may, and others get 403.
#[tokio::test]
async fn the_purge_method_is_for_named_addresses_alone() {
    let origin = origin().await;
    let method = Request::new("PURGE", "/a/1.m4s");
    let off = Setup::before(&origin).start().await;
    assert_eq!(off.ask(&method).await.status(), 405);
    let on = Setup::before(&origin)
        .server("trusted_proxies = [\"127.0.0.1\"]")
        .more("[purge]\nmethod_from = [\"192.0.2.0/24\"]")
        .start()
        .await;
    assert_eq!(on.ask(&method).await.status(), 403, "127.0.0.1 is not named");
    let as_named = |request: &Request| request.clone().header("x-forwarded-for", "192.0.2.7");
    let response = on.ask(&as_named(&method)).await;
    assert_eq!(response.status(), 200);
    let told = json_of(&response);
    assert_eq!((&told["mode"], &told["targets"][0]["url"]), (&json!("soft"), &json!("/a/1.m4s")));
    let hard = on.ask(&as_named(&method).header("forebay-purge", "hard")).await;
    assert_eq!(json_of(&hard)["mode"], "hard");
    for mode in ["yes", ""] {
        let wrong = on.ask(&as_named(&method).header("forebay-purge", mode)).await;
        assert_eq!((wrong.status(), &json_of(&wrong)["reason"]), (400, &json!("mode")), "{mode:?}");
    }
    assert_eq!(on.ask(&Request::new("POST", "/a/1.m4s")).await.status(), 405);
    let lines = audit(&on, 5).await;
    let clients: Vec<_> = lines.iter().map(|line| line["client"].as_str().unwrap_or_default()).collect();
    assert_eq!(clients, ["127.0.0.1", "192.0.2.7", "192.0.2.7", "192.0.2.7", "192.0.2.7"]);
    assert_eq!(lines[0]["reason"], "purge_address");
    assert_eq!(origin.recorded().len(), 0, "a PURGE reached the origin");
}

/// The method purges the object that the same URL gets.
#[tokio::test]
async fn the_purge_method_purges_its_own_url() {
    let origin = origin().await;
    let edge = Setup::before(&origin).more("[purge]\nmethod_from = [\"127.0.0.1\"]").start().await;
    warm(&edge, &["/a/1.m4s?x=1", "/a/1.m4s"]).await;
    assert_eq!(edge.ask(&Request::new("PURGE", "/a/1.m4s?x=1&utm_source=y")).await.status(), 200);
    assert_ne!(edge.get("/a/1.m4s?x=1").await.outcome(), "hit");
    assert_eq!(edge.get("/a/1.m4s").await.outcome(), "hit");
}

/// A signed order is done once; unsigned, altered, old and repeated ones are refused, each with its word.
#[tokio::test]
async fn the_hook_takes_each_signature_once_and_needs_no_token() {
    let origin = origin().await;
    let hook = "[purge]\nhook = { keys = [{ id = \"old\", secret_file = \"DIR/old\" }, \
                { id = \"cms\", secret_file = \"DIR/hook\" }], window = \"1h\" }";
    let setup = Setup::before(&origin)
        .server("admin_token_file = \"DIR/token\"")
        .more(hook)
        .file("token", "s3cret")
        .file("old", "another-key-of-the-cms")
        .file("hook", &format!("{HOOK_KEY}\n"));
    let edge = setup.start().await;
    let order = json!({ "url": "http://edge.test/a/1.m4s", "mode": "hard" }).to_string();
    let signature = sign_body(HOOK_KEY, "cms", now(), &order);
    let long_ago = sign_body(HOOK_KEY, "cms", now() - 2 * 3600, &order);
    let send = async |signature: &str, body: &str| {
        let headers = [("forebay-signature", signature)];
        let response = post(&edge, "/purge/hook", &headers[..usize::from(!signature.is_empty())], body).await;
        (response.status(), json_of(&response)["reason"].as_str().unwrap_or("done").to_owned())
    };
    assert_eq!(send("", &order).await, (401, "missing".to_owned()));
    assert_eq!(send("v1=00", &order).await, (401, "malformed".to_owned()));
    assert_eq!(send(&signature.replace("cms", "other"), &order).await, (401, "unknown_key".to_owned()));
    assert_eq!(send(&signature.replace("cms", "old"), &order).await, (401, "bad_mac".to_owned()));
    assert_eq!(send(&signature, r#"{"everything": true}"#).await, (401, "bad_mac".to_owned()));
    assert_eq!(send(&long_ago, &order).await, (401, "outside_window".to_owned()));
    assert_eq!(send(&signature, &order).await, (200, "done".to_owned()));
    assert_eq!(send(&signature, &order).await, (409, "replayed".to_owned()));
    let lines = audit(&edge, 8).await;
    let told: Vec<_> = lines.iter().map(|line| (&line["result"], &line["key"], &line["by"])).collect();
    let (refused, none) = (json!("refused"), Value::Null);
    assert!(told.iter().all(|(_, _, by)| **by == "hook"), "{told:?}");
    assert_eq!((told[0].0, told[0].1), (&refused, &none));
    assert_eq!((told[3].0, told[3].1), (&refused, &json!("old")));
    assert_eq!((told[6].0, told[6].1), (&json!("purged"), &json!("cms")));
}

/// The command line asks the running node, and says with its exit status what came of it.
#[tokio::test]
async fn the_command_line_purges_on_a_running_node() {
    let origin = origin().await;
    let setup = Setup::before(&origin).server("admin_token_file = \"DIR/token\"").file("token", "s3cret");
    let edge = setup.start().await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let admin = format!("http://{}", edge.admin());
    let purge = async |args: &[&str]| {
        let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_forebay"));
        tool.arg("purge").args(args).args(["--admin", &admin]).env_remove("FOREBAY_CONFIG");
        let output = tokio::time::timeout(Duration::from_secs(120), tool.output()).await.unwrap().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let file = ["--admin-token-file", token.to_str().unwrap()];
    let (code, out, err) = purge(&[
        "--url",
        "http://edge.test/a?b=1",
        "--url",
        "http://edge.test/c",
        "--hard",
        "--wait",
        file[0],
        file[1],
    ])
    .await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("purged (hard) url /a?b=1, site *, generation "), "{out}");
    assert_eq!(out.lines().count(), 2, "{out}");
    let (code, out, _) = purge(&["--everything", "--dry-run", "--json", file[0], file[1]]).await;
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["status"], "dry_run");
    let (code, _, err) = purge(&["--prefix", "/a", file[0], file[1]]).await;
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("prefix: has no scheme and host"), "{err}");
    let (code, _, err) = purge(&["--everything"]).await;
    assert_eq!(code, Some(74), "{err}");
    assert!(err.contains("answered 401"), "{err}");
    for wrong in [&["--everything", "--url", "http://a/"][..], &["--hard"][..]] {
        assert_eq!(purge(wrong).await.0, Some(2), "{wrong:?}");
    }
}
