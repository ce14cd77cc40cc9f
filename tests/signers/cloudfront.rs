//! CloudFront's signed URLs and cookies by @aws-sdk/cloudfront-signer and botocore.

use forebay::admission::token::{Policy, Presented, Reason};
use serde_json::{Value, json};

use crate::bench::{CLIENT, END, START, get, only_as_it_is, only_as_it_is_in_cookies, policy, refused};
use crate::scripts::{KEYS, orders, tokens};

const URL: &str = "https://live.example.com/live/a.ts?v=1";
const RESOURCE: &str = "https://live.example.com/live/*";

fn policy_of(public: &str) -> Policy {
    let table = "format = \"cloudfront\"\nkeys = [{ id = \"K1EXAMPLE\", public_key_file = \"key\" }]";
    policy(table, &[("key", public)])
}

/// The query of a signed URL.
fn query(url: &str) -> &str {
    url.split_once('?').expect("a query").1
}

#[track_caller]
fn canned_policy_holds(policy: &Policy, query: &str) {
    let live = get("/live/a.ts");
    only_as_it_is(policy, query, &live);
    let reason = |request: &Presented<'_>| refused(policy, query, request);
    assert_eq!(reason(&get("/live/b.ts")), Reason::BadMac);
    assert_eq!(reason(&Presented { host: "vod.example.com", ..live }), Reason::BadMac);
    assert_eq!(reason(&Presented { secure: false, ..live }), Reason::BadMac);
    assert_eq!(reason(&Presented { now_unix: END, ..live }), Reason::Expired);
}

#[track_caller]
fn custom_policy_holds(policy: &Policy, query: &str) {
    // What such a policy says is no word about the query that a URL had.
    let query = query.strip_prefix("v=1&").expect("the query of the URL comes first");
    let live = get("/live/a.ts");
    only_as_it_is(policy, query, &live);
    let reason = |request: &Presented<'_>| refused(policy, query, request);
    assert_eq!(reason(&get("/vod/a.ts")), Reason::Path);
    assert_eq!(reason(&Presented { now_unix: END, ..live }), Reason::Expired);
    assert_eq!(reason(&Presented { now_unix: START - 1, ..live }), Reason::NotYet);
    let other = "192.0.2.11".parse().expect("an address");
    assert_eq!(reason(&Presented { client: other, ..live }), Reason::Ip);
    assert!(policy.admit(&Presented { query: Some(query), ..get("/live/b.ts") }).is_ok());
}

#[test]
fn urls_and_cookies_of_the_aws_sdk_verify_and_no_altered_one_does() {
    let end = END * 1000;
    let statement = json!({ "Statement": [{ "Resource": RESOURCE, "Condition": {
        "DateLessThan": { "AWS:EpochTime": END }, "DateGreaterThan": { "AWS:EpochTime": START },
        "IpAddress": { "AWS:SourceIp": format!("{CLIENT}/32") },
    } }] });
    let order = |pem: &str, hash: &str, custom: bool, cookies: bool| -> Value {
        let mut options = json!({ "keyPairId": "K1EXAMPLE", "privateKey": pem, "algorithm": hash });
        if custom {
            options["policy"] = statement.to_string().into();
        } else {
            options["dateLessThan"] = end.into();
        }
        // With a policy, a URL for cookies is passed over.
        options["url"] = URL.into();
        json!({ "options": options, "cookies": cookies })
    };
    let signers = [("SHA1", &KEYS.rsa), ("SHA256", &KEYS.rsa), ("SHA256", &KEYS.p256)];
    let all: Vec<Value> = signers
        .iter()
        .flat_map(|(hash, (private, _))| {
            let kinds = [(false, false), (true, false), (false, true), (true, true)];
            kinds.map(|(custom, cookies)| order(private, hash, custom, cookies))
        })
        .collect();
    let made = orders("cloudfront-signer.mjs", &all);
    for ((_, (_, public)), made) in signers.iter().zip(made.chunks(4)) {
        let policy = policy_of(public);
        canned_policy_holds(&policy, query(made[0].as_str().expect("a URL")));
        custom_policy_holds(&policy, query(made[1].as_str().expect("a URL")));
        for cookies in &made[2..] {
            let cookies = cookies.as_object().expect("cookies").iter();
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let pairs: Vec<String> = cookies.map(|(name, value)| format!("{name}={}", text(value))).collect();
            let request = Presented { query: Some("v=1"), ..get("/live/a.ts") };
            only_as_it_is_in_cookies(&policy, &pairs.join("; "), &request);
        }
    }
}

#[test]
fn urls_of_botocore_verify_and_no_altered_one_does() {
    let (private, public) = &KEYS.rsa;
    let canned = json!({ "pem": private, "key_id": "K1EXAMPLE", "url": URL, "end": END });
    let mut custom = canned.clone();
    custom["resource"] = RESOURCE.into();
    custom["start"] = START.into();
    custom["network"] = CLIENT.into();
    let made = tokens("botocore_cloudfront.py", &[canned, custom]);
    let policy = policy_of(public);
    canned_policy_holds(&policy, query(&made[0]));
    custom_policy_holds(&policy, query(&made[1]));
}
