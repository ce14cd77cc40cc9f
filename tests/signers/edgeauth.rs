//! Akamai EdgeAuth, by both of the packages that are named `akamai-edgeauth`.

use forebay::admission::token::{Policy, Presented, Reason};
use serde_json::{Value, json};

use crate::bench::{CLIENT, END, NOW, START, get, only_as_it_is, policy, refused};
use crate::scripts::tokens;

const KEY: &str = "00112233445566778899aabbccddeeff";
const SALT: &str = "a-pinch-of-salt";

/// Names of the options of a package, in the order: start, end, session, escape early, and what it calls salt, key, IP
/// address, payload and algorithm.
type Names = [&'static str; 9];

const NODE: Names =
    ["startTime", "endTime", "sessionId", "escapeEarly", "salt", "key", "ip", "payload", "algorithm"];
const PYTHON: Names =
    ["start_time", "end_time", "session_id", "escape_early", "salt", "key", "ip", "payload", "algorithm"];

/// Options that say everything that a token can say.
fn everything(names: Names) -> Value {
    let [start, end, session, early, salt, key, ip, payload, algorithm] = names;
    json!({
        start: START, end: END, session: "viewer 7", early: true, salt: SALT, key: KEY, ip: CLIENT,
        payload: "tier=gold~&", algorithm: "sha256",
    })
}

/// Options that say no more than has to be said.
fn little(names: Names, hash: &str) -> Value {
    let [_, end, _, early, _, key, _, _, algorithm] = names;
    json!({ end: END, early: hash == "sha256", key: KEY, algorithm: hash })
}

fn policy_of(more: &str) -> Policy {
    let keys = "format = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"key\" }]\n";
    policy(&format!("{keys}{more}"), &[("key", KEY), ("salt", SALT)])
}

fn both_kinds_of_tokens_verify(script: &str, names: Names) {
    let with_acl = |options| json!({ "options": options, "acl": ["/live/*", "/vod/?/*"] });
    let with_url = |options| json!({ "options": options, "url": "/live/a b/seg~1.ts" });
    let orders = [
        with_acl(everything(names)),
        with_url(everything(names)),
        with_url(little(names, "sha256")),
        with_acl(little(names, "sha1")),
        with_acl(little(names, "md5")),
    ];
    let made: [String; 5] = tokens(script, &orders).try_into().expect("a token for each order");
    let [acl, url, url_only, sha1, md5] = made.map(|token| format!("hdnts={token}"));

    let salted = policy_of("salt_file = \"salt\"");
    let (live, vod) = (get("/live/1/a.ts"), get("/vod/7/a.ts"));
    only_as_it_is(&salted, &acl, &live);
    only_as_it_is(&salted, &acl, &vod);
    assert_eq!(refused(&salted, &acl, &get("/other/a.ts")), Reason::Path);
    assert_eq!(refused(&salted, &acl, &get("/vod/77/a.ts")), Reason::Path);
    let other = "192.0.2.11".parse().expect("an address");
    assert_eq!(refused(&salted, &acl, &Presented { client: other, ..live }), Reason::Ip);
    assert_eq!(refused(&salted, &acl, &Presented { now_unix: END, ..live }), Reason::Expired);
    assert_eq!(refused(&salted, &acl, &Presented { now_unix: START - 1, ..live }), Reason::NotYet);

    let file = get("/live/a%20b/seg~1.ts");
    only_as_it_is(&salted, &url, &file);
    assert_eq!(refused(&salted, &url, &get("/live/a%20b/seg~2.ts")), Reason::BadMac);
    let plain = policy_of("");
    only_as_it_is(&plain, &url_only, &file);
    assert_eq!(refused(&plain, &url, &file), Reason::BadMac, "without the salt");

    for (hash, query, stranger) in [("sha1", &sha1, &md5), ("md5", &md5, &sha1)] {
        let policy = policy_of(&format!("edgeauth = {{ algorithm = \"{hash}\" }}"));
        only_as_it_is(&policy, query, &live);
        assert_eq!(refused(&policy, stranger, &live), Reason::Malformed, "{hash}");
        assert_eq!(refused(&policy, query, &Presented { now_unix: NOW + 7200, ..live }), Reason::Expired);
    }
}

#[test]
fn tokens_of_akamai_edgeauth_for_node_verify_and_no_altered_one_does() {
    both_kinds_of_tokens_verify("akamai-edgeauth.mjs", NODE);
}

#[test]
fn tokens_of_akamai_edgeauth_for_python_verify_and_no_altered_one_does() {
    both_kinds_of_tokens_verify("akamai_edgeauth.py", PYTHON);
}
