//! Revocations: whom they refuse and from when, what outlives a restart, what the operator is told, and that every node of
//! a fleet follows.

use std::path::Path;
use std::time::Duration;

use forebay::admission::token::cat;
use forebay::config::model::{KeyKind, Secret, TokenKey};
use serde_json::{Value, json};

use crate::support::client::{Request, ask, get};
use crate::support::edge::{Edge, Setup, refused as refused_start};
use crate::support::entitled::{
    admits, by_session, by_subject, join, member, origin, post, refused, revoke, setup,
};
use crate::support::origin::Origin;
use crate::support::redis::Redis;
use crate::support::signing::now;
use crate::support::wait::{eventually, within};

/// Every kind of revocation, of tokens that the node knows already: the next request is refused, others are not, and what
/// is taken back is admitted.
#[tokio::test]
async fn what_is_revoked_is_refused_from_the_next_request_on() {
    let origin = origin().await;
    let edge = setup(&origin, "").start().await;
    let (mine, other) = (by_subject("alice", "4711", None), by_subject("bob", "4712", None));
    let own = by_session("4711");
    let mut count = 0.0;
    for (order, refuses_own) in [
        (json!({ "session": "4711" }), true),
        (json!({ "subject": "alice", "for": "2h" }), false),
        (json!({ "key": "s1", "policy": "viewer", "until": now() + 60 }), false),
    ] {
        for target in [&mine, &other, &own] {
            assert!(admits(&edge.get(target).await, ""), "before {order}");
        }
        let told = revoke(&edge, order.clone()).await;
        assert_eq!(told["status"], "revoked");
        assert!(told["until"].as_u64().unwrap() > now());
        assert!(told.get("fleet").is_none(), "there is none");
        assert!(!admits(&edge.get(&mine).await, "revoked"), "{order}");
        assert_eq!(admits(&edge.get(&own).await, "revoked"), !refuses_own, "{order}");
        let is_of_all = order["key"] == "s1";
        assert_eq!(admits(&edge.get(&other).await, "revoked"), !is_of_all, "{order}");
        count += 1.0 + f64::from(u8::from(refuses_own)) + f64::from(u8::from(is_of_all));
        refused(&edge, "revoked", count).await;
        let mut restored = order.clone();
        for field in ["for", "until"] {
            restored.as_object_mut().unwrap().remove(field);
        }
        let (status, told) = post(edge.admin(), "/tokens/restore", &restored).await;
        assert_eq!((status, &told["status"]), (200, &json!("restored")), "{told}");
        assert_eq!(post(edge.admin(), "/tokens/restore", &restored).await.0, 404);
    }
    assert!(admits(&edge.get(&mine).await, ""));
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("forebay_token_revoked_total", &[]), count);
    assert_eq!(metrics.sum("forebay_token_revocations", &[]), 0.0);
}

/// A token that asks to be renewed, by a field of the answer or by a redirect, gets no new one once it is revoked.
#[tokio::test]
async fn what_is_revoked_is_not_renewed() {
    let secret = "403697de87af64611c1d32a05dab0fe1fcb715a86ab435f1ec99192d79569388";
    let key =
        TokenKey { id: "k1".into(), kind: KeyKind::Shared, bytes: Secret(hex::decode(secret).unwrap()) };
    let origin = origin().await;
    let edge = Setup::before(&origin)
        .site("token = \"viewer\"")
        .more("[token.viewer]\nformat = \"cat\"\nkeys = [{ id = \"k1\", secret_file = \"DIR/k1.key\" }]")
        .file("k1.key", secret)
        .start()
        .await;
    let target = |kind: &str| {
        let renewal = json!({ "type": kind, "expadd": 7200, "deadline": 3600 });
        let claims = json!({ "sub": "alice", "exp": now() + 600, "catr": renewal });
        format!("/live/1.m4s?cat={}", cat::sign(&claims, &key, None, &Default::default()).unwrap())
    };
    let (cookie, redirect) = (target("cookie"), target("redirect"));
    let renewed = edge.get(&cookie).await;
    assert_eq!((renewed.status(), renewed.get("set-cookie").is_some()), (200, true));
    assert_eq!(edge.get(&redirect).await.status(), 302);
    revoke(&edge, json!({ "subject": "alice" })).await;
    for target in [cookie, redirect] {
        let refused = edge.get(&target).await;
        assert_eq!(refused.status(), 403);
        assert_eq!((refused.get("set-cookie"), refused.get("location")), (None, None));
    }
    refused(&edge, "revoked", 2.0).await;
}

/// A preflight carries no credentials, and a request by another method is a request.
#[tokio::test]
async fn a_revocation_bears_on_every_method_and_not_on_preflights() {
    let origin = origin().await;
    let edge = setup(&origin, "").start().await;
    let target = by_session("4711");
    revoke(&edge, json!({ "session": "4711" })).await;
    assert_eq!(edge.ask(&Request::head(&target)).await.status(), 403);
    let preflight = Request::new("OPTIONS", &target)
        .header("origin", "https://player.test")
        .header("access-control-request-method", "GET");
    assert_eq!(edge.ask(&preflight).await.status(), 204);
    assert!(origin.recorded().is_empty(), "nothing reached the origin");
}

fn kept_in(origin: &Origin, file: &Path) -> Setup {
    setup(origin, "").more(&format!("[revocation]\nfile = \"{}\"", file.display()))
}

/// The kill comes right after the answer.
#[tokio::test]
async fn with_a_file_a_revocation_outlives_a_kill_and_so_does_that_it_was_taken_back() {
    let origin = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revocations");
    let edge = kept_in(&origin, &file).start().await;
    revoke(&edge, json!({ "session": "first" })).await;
    revoke(&edge, json!({ "session": "second" })).await;
    edge.kill().await;
    let edge = kept_in(&origin, &file).start().await;
    for session in ["first", "second"] {
        assert!(!admits(&edge.get(&by_session(session)).await, "revoked"), "{session}");
    }
    assert_eq!(post(edge.admin(), "/tokens/restore", &json!({ "session": "first" })).await.0, 200);
    edge.kill().await;
    // A last line that the kill has torn.
    let mut text = std::fs::read(&file).unwrap();
    text.extend_from_slice(b"0123456789abcdef {\"kind\":\"sess");
    std::fs::write(&file, &text).unwrap();
    let edge = kept_in(&origin, &file).start().await;
    assert!(admits(&edge.get(&by_session("first")).await, ""));
    assert!(!admits(&edge.get(&by_session("second")).await, "revoked"));
}

#[tokio::test]
async fn without_a_file_a_restart_forgets() {
    let origin = origin().await;
    let edge = setup(&origin, "").start().await;
    revoke(&edge, json!({ "session": "first" })).await;
    edge.kill().await;
    let edge = setup(&origin, "").start().await;
    assert!(admits(&edge.get(&by_session("first")).await, ""));
}

#[tokio::test]
async fn a_damaged_file_is_no_start_and_is_told_with_its_line() {
    let origin = origin().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("revocations");
    let edge = kept_in(&origin, &file).start().await;
    for session in ["first", "second"] {
        revoke(&edge, json!({ "session": session })).await;
    }
    edge.kill().await;
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("first", "other")).unwrap();
    let config = format!(
        "[server]\nhttp = [\"127.0.0.1:0\"]\n[revocation]\nfile = \"{}\"\n[origin.main]\n\
         servers = [\"http://127.0.0.1:1\"]\n[[site]]\nhosts = [\"*\"]\norigin = \"main\"\n",
        file.display()
    );
    let start = refused_start(&config).await;
    assert_eq!(start.code, Some(64), "{}", start.stderr);
    let told = format!("{}:2: is damaged", file.display());
    assert!(start.stderr.contains(&told) && start.stderr.contains("revocation.file"), "{}", start.stderr);
    assert!(start.listeners.is_empty());
}

/// The audit lines, once there are `count`.
async fn audit(edge: &Edge, count: usize) -> Vec<Value> {
    let lines = || -> Vec<Value> {
        let written = edge.everything_written();
        let lines = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["target"] == "forebay::audit").collect()
    };
    eventually(&format!("{count} audit lines"), || lines().len() >= count).await;
    lines()
}

#[tokio::test]
async fn the_operator_is_told_what_is_in_force_what_is_wrong_and_who_asked() {
    let origin = origin().await;
    let edge = setup(&origin, "").limits("revocations = 2").start().await;
    let until = now() + 600;
    revoke(&edge, json!({ "session": "4711", "until": until })).await;
    revoke(&edge, json!({ "key": "k1", "policy": "viewer", "until": until })).await;
    let (status, told) = post(edge.admin(), "/tokens/revoke", &json!({ "session": "4712" })).await;
    assert_eq!((status, &told["reason"]), (507, &json!("full")), "{told}");
    assert!(told["error"].as_str().unwrap().contains("limits.revocations"));
    let (status, told) =
        post(edge.admin(), "/tokens/revoke", &json!({ "session": "x", "policy": "other" })).await;
    assert_eq!(status, 400);
    assert!(told["error"].as_str().unwrap().contains("no token policy \"other\"; those there are: viewer"));
    assert_eq!(post(edge.admin(), "/tokens/restore", &json!({ "session": "4712" })).await.0, 404);

    let list = async |query: &str| {
        let response = get(edge.admin(), &format!("/tokens/revocations{query}")).await;
        (response.status(), serde_json::from_slice::<Value>(&response.body).unwrap())
    };
    let key = json!({ "key": "k1", "policy": "viewer", "until": until });
    assert_eq!(
        list("").await,
        (200, json!({ "total": 2, "revocations": [key, { "session": "4711", "until": until }] }))
    );
    assert_eq!(list("?limit=1").await, (200, json!({ "total": 2, "revocations": [key] })));
    for wrong in ["?limit=0", "?limit=10001", "?limit=x", "?other=1"] {
        assert_eq!(list(wrong).await.0, 400, "{wrong}");
    }
    let lines = audit(&edge, 5).await;
    let field = |name: &str| lines.iter().map(|line| line[name].clone()).collect::<Vec<_>>();
    assert_eq!(field("result"), ["revoked", "revoked", "refused", "refused", "refused"]);
    assert_eq!(lines[1]["named"], "k1");
    assert_eq!(lines[1]["policy"], "viewer");
    assert_eq!(field("reason")[2..], ["full", "order", "unknown"]);
    assert!(lines.iter().all(|line| line["by"] == "admin" && line["peer"].is_string()));
    let metrics = edge.metrics().await;
    assert_eq!(metrics.sum("forebay_token_revocations", &[("what", "session")]), 1.0);
}

#[tokio::test]
async fn the_command_line_revokes_lists_and_restores_on_a_running_node() {
    let origin = origin().await;
    let edge =
        setup(&origin, "").server("admin_token_file = \"DIR/token\"").file("token", "s3cret").start().await;
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let admin = format!("http://{}", edge.admin());
    let run = async |args: &[&str]| {
        let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_forebay"));
        tool.arg("token").args(args).args(["--admin", &admin]).env_remove("FOREBAY_CONFIG");
        let output = within("the tool", tool.output()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let with = ["--admin-token-file", token.to_str().unwrap()];
    let (code, out, err) = run(&["revoke", "--session", "4711", "--for", "2h", with[0], with[1]]).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("revoked session 4711, until "), "{out}");
    assert!(!admits(&edge.get(&by_session("4711")).await, "revoked"));
    let (code, out, _) = run(&["revocations", "--json", with[0], with[1]]).await;
    assert_eq!(code, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["total"], 1);
    let (code, out, _) = run(&["restore", "--session", "4711", with[0], with[1]]).await;
    assert_eq!((code, out.as_str()), (Some(0), "restored session 4711\n"));
    assert!(admits(&edge.get(&by_session("4711")).await, ""));
    let (code, _, err) = run(&["restore", "--session", "4711", with[0], with[1]]).await;
    assert_eq!(code, Some(64), "{err}");
    assert!(err.contains("no such revocation"), "{err}");
    let (code, _, err) = run(&["revoke", "--session", "4711"]).await;
    assert_eq!(code, Some(74), "{err}");
    assert!(err.contains("answered 401"), "{err}");
    for wrong in [&["revoke"][..], &["revoke", "--session", "a", "--key", "b"]] {
        assert_eq!(run(wrong).await.0, Some(2), "{wrong:?}");
    }
    let line = audit(&edge, 4).await.pop().unwrap();
    assert_eq!((&line["result"], &line["reason"]), (&json!("refused"), &json!("credential")));
}

/// Asks until the node decides so.
async fn comes_to(edge: &Edge, target: &str, is_admitted: bool) {
    within(&format!("admitted: {is_admitted}"), async {
        while admits(&edge.get(target).await, "revoked") != is_admitted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

async fn readiness(edge: &Edge) -> (u16, Value) {
    let response = get(edge.admin(), "/readyz").await;
    (response.status(), serde_json::from_slice(&response.body).unwrap())
}

#[tokio::test]
async fn every_node_of_a_fleet_refuses_what_one_was_told_also_one_that_starts_later() {
    let (origin, redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "").await, join(&origin, &redis, "").await);
    let target = by_session("4711");
    assert!(admits(&other.get(&target).await, ""));
    assert_eq!(revoke(&one, json!({ "session": "4711" })).await["fleet"], "told");
    assert!(!admits(&one.get(&target).await, "revoked"));
    comes_to(&other, &target, false).await;
    let late = member(&origin, &redis, "").start().await;
    assert!(!admits(&late.get(&target).await, "revoked"), "known before it serves");
    assert_eq!(
        post(other.admin(), "/tokens/restore", &json!({ "session": "4711" })).await.1["fleet"],
        "told"
    );
    for edge in [&one, &late] {
        comes_to(edge, &target, true).await;
    }
    assert_eq!(readiness(&one).await.1.get("warnings"), None);
    assert_eq!(one.metrics().await.sum("forebay_fleet_up", &[]), 1.0);
}

#[tokio::test]
async fn a_revocation_while_redis_is_away_holds_here_and_reaches_the_others_when_it_is_back() {
    let (origin, mut redis) = (origin().await, Redis::start().await);
    let (one, other) = (join(&origin, &redis, "").await, join(&origin, &redis, "").await);
    revoke(&one, json!({ "session": "before" })).await;
    comes_to(&other, &by_session("before"), false).await;
    redis.kill();
    within("a warning", async {
        while readiness(&one).await.1["warnings"][0]["name"] != "fleet" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(readiness(&one).await.0, 200, "it keeps no traffic away");
    assert_eq!(one.metrics().await.sum("forebay_fleet_up", &[]), 0.0);
    assert_eq!(revoke(&one, json!({ "session": "meanwhile" })).await["fleet"], "away");
    assert!(!admits(&one.get(&by_session("meanwhile")).await, "revoked"));
    assert!(!admits(&other.get(&by_session("before")).await, "revoked"), "what was known stands");
    redis.start_again().await;
    comes_to(&other, &by_session("meanwhile"), false).await;
    one.await_metric("forebay_fleet_up", &[], 1.0).await;
    // A node that starts while Redis is away serves, without what the others know.
    redis.kill();
    let late = member(&origin, &redis, "").start().await;
    assert!(admits(&late.get(&by_session("before")).await, ""));
    redis.start_again().await;
    comes_to(&late, &by_session("before"), false).await;
}

/// The list needs the token like everything else, and a page of another origin cannot revoke.
#[tokio::test]
async fn nobody_revokes_without_the_operators_token() {
    let origin = origin().await;
    let edge =
        setup(&origin, "").server("admin_token_file = \"DIR/token\"").file("token", "s3cret").start().await;
    assert_eq!(post(edge.admin(), "/tokens/revoke", &json!({ "session": "4711" })).await.0, 401);
    assert_eq!(get(edge.admin(), "/tokens/revocations").await.status(), 401);
    let foreign = Request::new("POST", "/tokens/revoke")
        .header("authorization", "Bearer s3cret")
        .header("origin", "https://elsewhere.test")
        .body(r#"{"session":"4711"}"#);
    assert_eq!(ask(edge.admin(), &foreign).await.status(), 403);
    assert!(admits(&edge.get(&by_session("4711")).await, ""));
}
