//! What `forebay explain` and `GET /explain` tell is what the node does: each is asked for the same requests, and
//! compared with the node's answers.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::support::client::{Request, ask};
use crate::support::edge::{Edge, Setup};
use crate::support::origin::{Answer, Origin};
use crate::support::signing::{KEY_HEX, valid};

const LIVE: &str = "#EXTM3U\n#EXT-X-TARGETDURATION:600\n#EXTINF:6,\n1.ts\n";

const RULES: &str = "
    [[site.rule]]
    path = '/api/*'
    bypass = true
    [[site.rule]]
    kind = 'image'
    ttl = '10m'
    browser_ttl = '30s'
    [[site.rule]]
    path = '/list/*'
    key = { query = ['page'] }
    ttl = '400s'
    [[site.rule]]
    path = '/obey/*'
    obey_client = true
    [[site.rule]]
    path = '/lang/*'
    request_headers = { accept-language = 'de*' }
    key = { headers = ['accept-language'] }
    ttl = '800s'
    [[site.rule]]
    path = '/held/*'
    low_latency = { reload = 'edge', delta = 'edge' }
    [[site]]
    hosts = ['signed.test']
    origin = 'main'
    token = 'viewer'
    [[site]]
    hosts = ['header.test']
    origin = 'main'
    token = 'field'
    [token.field]
    format = 'edgeauth'
    keys = [{ id = 'k', secret_file = 'DIR/k.key' }]
    places = ['header']
    names = ['authorization']
    [token.viewer]
    format = 'edgeauth'
    keys = [{ id = 'k', secret_file = 'DIR/k.key' }]
";

/// A request, and the origin's answer to it.
struct Case {
    request: Request,
    status: u16,
    control: &'static str,
    playlist: &'static str,
    /// Further fields of the answer.
    fields: &'static [(&'static str, &'static str)],
}

fn case(request: Request, status: u16, control: &'static str) -> Case {
    Case { request, status, control, playlist: "", fields: &[] }
}

fn cases() -> Vec<Case> {
    let signed = format!("/hdnts={}/a/1.m4s?x=1", valid("/a/*"));
    let bearer = format!("Bearer {}", valid("/a/*"));
    vec![
        // A token in a field is no credential of the origin's: it does not reach it, and what is fetched is shared.
        case(
            Request::get("/a/17.m4s").header("host", "header.test").header("authorization", &bearer),
            200,
            "max-age=3600",
        ),
        case(Request::get("/a/1.m4s"), 200, "max-age=3600"),
        case(Request::get("/a/2.m4s?b=2&a=1&utm_source=x"), 200, "max-age=600, s-maxage=1200"),
        case(Request::get("/a/3.m4s"), 404, "max-age=3600"),
        case(Request::get("/a/4.m4s"), 200, "no-store"),
        case(Request::get("/a/5.m4s"), 200, "private"),
        case(Request::get("/a/6.json"), 200, "public, max-age=300"),
        case(Request::get("/a/poster.jpg"), 200, "max-age=1"),
        case(Request::get("/list/x?page=2&sort=up"), 200, "no-cache"),
        case(Request::get("/lang/x").header("accept-language", "de-AT"), 200, "max-age=1"),
        case(Request::get("/lang/x").header("accept-language", "fr"), 200, "max-age=3600"),
        case(Request::get("/a/./b/../%41%2f.m4s?&q=%7E"), 200, "max-age=3600"),
        case(Request::get("/a/%zz.m4s"), 200, "max-age=3600"),
        case(Request::get("/api/me?x=1"), 200, "max-age=3600"),
        case(Request::new("DELETE", "/a/7.m4s"), 200, "max-age=3600"),
        case(Request::get("/a/8.m4s").host("unknown.test"), 200, "max-age=3600"),
        case(Request::get("/a/1.m4s").host("signed.test"), 200, "max-age=3600"),
        case(Request::get(&signed).host("signed.test"), 200, "max-age=700"),
        case(Request::get("/a/10.m4s").header("authorization", "Basic eDp5"), 200, "max-age=3600"),
        case(Request::get("/a/11.m4s").header("authorization", "Basic eDp5"), 200, "public, max-age=3600"),
        case(Request::get("/a/12.m4s").header("cache-control", "no-store"), 200, "max-age=3600"),
        case(Request::get("/obey/1.m4s").header("cache-control", "no-store"), 200, "max-age=3600"),
        Case {
            fields: &[("vary", "x-a, Accept-Language")],
            ..case(Request::get("/a/13.m4s").header("x-a", "1"), 200, "max-age=3600")
        },
        Case { fields: &[("vary", "*")], ..case(Request::get("/a/14.m4s"), 200, "max-age=3600") },
        Case {
            fields: &[("vary", "a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17")],
            ..case(Request::get("/a/15.m4s"), 200, "max-age=3600")
        },
        Case {
            fields: &[
                ("date", "Tue, 01 Sep 2026 10:00:00 GMT"),
                ("expires", "Fri, 01 Sep 2028 10:00:00 GMT"),
            ],
            ..case(Request::get("/a/16.m4s"), 200, "public, s-maxage=400000000")
        },
        Case { playlist: LIVE, ..case(Request::get("/a/index.m3u8"), 200, "max-age=3600") },
        Case {
            playlist: LIVE,
            ..case(Request::get("/held/index.m3u8?_HLS_skip=YES&a=1&_HLS_msn=0"), 200, "max-age=3600")
        },
    ]
}

fn host(request: &Request) -> &str {
    request.headers.iter().find(|(name, _)| name == "host").map_or("edge.test", |(_, host)| host)
}

async fn explained(edge: &Edge, case: &Case) -> Value {
    let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let url = format!("http://{}{}", host(&case.request), case.request.target);
    let control = format!("cache-control: {}", case.control);
    let mut path = format!(
        "/explain?url={}&method={}&status={}&response_header={}",
        encoded(&url),
        case.request.method,
        case.status,
        encoded(&control)
    );
    for (name, value) in case.request.headers.iter().filter(|(name, _)| name != "host") {
        path.push_str(&format!("&header={}", encoded(&format!("{name}: {value}"))));
    }
    for (name, value) in case.fields {
        path.push_str(&format!("&response_header={}", encoded(&format!("{name}: {value}"))));
    }
    if !case.playlist.is_empty() {
        path.push_str(&format!("&playlist={}", encoded(case.playlist)));
    }
    let response = ask(edge.admin(), &Request::get(&path)).await;
    assert_eq!(response.status(), 200, "{path}");
    serde_json::from_slice(&response.body).unwrap()
}

/// For each case: what is told of storing, target, freshness and what viewers are told is what the node does.
#[tokio::test]
async fn what_is_explained_is_what_the_node_does() {
    let origin = Origin::start().await;
    let setup = Setup::before(&origin).hosts("[\"edge.test\"]").more(RULES).file("k.key", KEY_HEX);
    let edge = setup.start().await;
    for case in cases() {
        let (status, control, body, fields) = (case.status, case.control, case.playlist, case.fields);
        origin.otherwise(move |_, _| {
            let answer = Answer::status(status).body(body).cache_control(control);
            fields.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
        });
        let before = origin.recorded().len();
        let told = explained(&edge, &case).await;
        let what = format!("{} {}{}: {told}", case.request.method, host(&case.request), case.request.target);
        let response = edge.ask(&case.request).await;
        let reached: Vec<String> =
            origin.recorded()[before..].iter().map(|request| request.target.clone()).collect();
        match told["cache"].as_str().unwrap() {
            "store" => {
                assert_eq!(response.status(), case.status, "{what}");
                assert_eq!(told["origin"]["target"], reached[0].as_str(), "{what}");
                assert!(
                    is_ttl(response.get("cache-status"), &told["answer"]["ttl_seconds"]),
                    "{what}: {response:?}"
                );
                let lines = response.head.headers.iter().filter(|(name, _)| name == "cache-control");
                let lines: Vec<&str> = lines.map(|(_, value)| &**value).collect();
                assert_eq!(told["answer"]["viewer_cache_control"], lines.join(", "), "{what}");
                // Each field that is told to be sent is, and each by which the answer varies has its own answers.
                let last = origin.recorded().pop().unwrap();
                for name in told["origin"]["fields"].as_array().into_iter().flatten() {
                    assert!(last.header(name.as_str().unwrap()).is_some(), "{name}: {what}: {last:?}");
                }
                assert_eq!(edge.ask(&case.request).await.outcome(), "hit", "{what}");
                for name in told["answer"]["varies_by"].as_array().into_iter().flatten() {
                    let other = case.request.clone().header(name.as_str().unwrap(), "another");
                    let other = edge.ask(&other).await;
                    assert!(other.get("cache-status").unwrap().contains("fwd=vary-miss"), "{name}: {what}");
                }
                assert!(response.get("cache-status").unwrap().contains("; stored"), "{what}: {response:?}");
            }
            "pass" | "bypass" => {
                assert_eq!(response.status(), case.status, "{what}");
                assert_eq!(response.outcome(), "bypass", "{what}");
                assert_eq!(told["origin"]["target"], reached[0].as_str(), "{what}");
            }
            "denied" => {
                assert_eq!(told["status"], response.status(), "{what}");
                assert_eq!(told["reason"], String::from_utf8_lossy(&response.body).trim(), "{what}");
                assert!(reached.is_empty(), "{what}");
            }
            other => panic!("{other}: {what}"),
        }
    }
}

/// Whether `ttl` of Cache-Status is what was told, less what has passed since the answer came. The times of the cases
/// are further apart than that.
fn is_ttl(status: Option<&str>, told: &Value) -> bool {
    let left = status.and_then(|text| text.split("; ttl=").nth(1)?.split(';').next()?.parse::<f64>().ok());
    let passed = left.zip(told.as_f64()).map(|(left, told)| told - left);
    passed.is_some_and(|passed| (0.0..30.0).contains(&passed))
}

/// The command line tells the same as the running node, from the file alone, with the line of the rule.
#[tokio::test]
async fn the_command_line_explains_without_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("forebay.toml");
    let text = "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.main]\nservers = [\"http://127.0.0.1:1\"]\n\
                [[site]]\nhosts = [\"*\"]\norigin = \"main\"\n\n[[site.rule]]\nkind = \"image\"\nttl = \"10m\"\n";
    std::fs::write(&config, text).unwrap();
    let explain = async |args: &[&str]| {
        let mut tool = tokio::process::Command::new(env!("CARGO_BIN_EXE_forebay"));
        let output = tool.arg("explain").arg("--config").arg(&config).args(args).output().await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, err) = explain(&["http://a.example/poster.jpg", "--json"]).await;
    assert_eq!(code, Some(0), "{err}");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&told["cache"], &told["answer"]["ttl_seconds"]), (&json!("store"), &json!(600.0)));
    assert_eq!(told["answer"]["rule"]["place"], "site[0].rule[0]");
    assert_eq!(told["answer"]["rule"]["line"], 9);
    let fields = ["--response-header", "Cache-Control: no-store", "--header", "Accept: */*"];
    let (code, out, _) = explain(&[&["http://a.example/a.json"], &fields[..]].concat()).await;
    assert_eq!(code, Some(0));
    assert!(out.starts_with("cache     pass: the answer is not kept (no_store)\n"), "{out}");
    let (code, _, err) = explain(&["/a.json"]).await;
    assert_eq!(code, Some(64));
    assert!(err.contains("is no absolute URL"), "{err}");
    let (code, _, err) = explain(&["http://a.example/a.m3u8", "--playlist", "/nowhere/a.m3u8"]).await;
    assert_eq!(code, Some(64));
    assert!(err.contains("/nowhere/a.m3u8"), "{err}");
}
