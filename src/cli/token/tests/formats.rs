//! Every format, from key files: what is signed is valid, says what was ordered, and is refused for what it is not.

use super::*;

const URL: &str = "https://live.example/live/ch1/main.m3u8?x=1";
const SIBLING: &str = "https://live.example/live/ch1/seg1.ts";
const ELSEWHERE: &str = "https://live.example/vod/main.m3u8";

/// How the tokens of a format are made in these tests.
struct Case {
    settings: &'static [&'static str],
    /// What is ordered beside the end.
    order: &'static [&'static str],
    /// What of the request has to be told to verify it.
    request: &'static [&'static str],
    /// What is printed of it.
    says: &'static [&'static str],
    /// What the URL, or the line, begins with.
    begins: &'static str,
    /// What it is refused as with another key.
    forged: &'static str,
    /// Whether it opens the rest of the directory.
    is_wide: bool,
}

fn cases() -> Vec<Case> {
    let case = Case {
        settings: &[],
        order: &[],
        request: &[],
        says: &[],
        begins: "",
        forged: "bad_mac",
        is_wide: true,
    };
    vec![
        Case {
            settings: &["--format", "edgeauth", "--set", "algorithm=sha1"],
            order: &["--id", "s1", "--data", "d", "--ip", "192.0.2.7", "--start", "1700000900"],
            request: &["--ip", "192.0.2.7"],
            says: &["st    1700000900 (", "acl   /live/ch1/*", "id    s1", "data  d"],
            begins: "https://live.example/hdnts=ip=192.0.2.7~",
            ..case
        },
        Case {
            settings: &[
                "--format",
                "jwt",
                "--set",
                "claims={path=\"prefix\",ip=\"ip\",c=\"country\",m=\"method\",n=\"streams\"}",
            ],
            order: &[
                "--id",
                "s1",
                "--subject",
                "alice",
                "--ip",
                "192.0.2.0/24",
                "--country",
                "SE",
                "--country",
                "NO",
                "--method",
                "GET",
                "--streams",
                "2",
                "--claims",
                "{\"plan\":\"gold\"}",
            ],
            request: &["--ip", "192.0.2.7", "--country", "no"],
            says: &[
                "alg   HS256\n",
                "plan  gold",
                "path  /live/ch1/",
                "ip    192.0.2.0/24",
                "c     [\"SE\",\"NO\"]",
                "sid   s1",
                "sub   alice",
                "n     2",
                "exp   1700004600 (",
            ],
            begins: "https://live.example/token=ey",
            ..case
        },
        Case {
            settings: &["--format", "cdni"],
            order: &["--subject", "alice", "--start", "1700000900"],
            says: &["cdniuc regex:https://live\\.example/live/ch1/.*", "sub    alice"],
            begins: "https://live.example/live/ch1/main.m3u8;URISigningPackage=ey",
            ..case
        },
        Case {
            settings: &["--format", "cat"],
            order: &[
                "--id",
                "s1",
                "--subject",
                "alice",
                "--ip",
                "192.0.2.7",
                "--method",
                "GET",
                "--country",
                "SE",
                "--header",
                "x-app: player",
            ],
            request: &["--ip", "192.0.2.7", "--country", "SE", "--header", "x-app: player"],
            says: &[
                "HS256",
                "key1",
                "alice",
                "{\"path\":{\"prefix\":\"/live/ch1/\"}}",
                "[\"192.0.2.7\"]",
                "[\"GET\"]",
            ],
            begins: "https://live.example/CTA-Common-Access-Token=",
            ..case
        },
        Case {
            settings: &["--format", "cloudfront"],
            order: &["--ip", "192.0.2.7", "--start", "1700000900"],
            request: &["--ip", "192.0.2.7"],
            says: &[
                "Resource        https://live.example/live/ch1/*",
                "IpAddress       192.0.2.7",
                "Key-Pair-Id     key1",
            ],
            begins: "https://live.example/live/ch1/main.m3u8?x=1&Policy=",
            ..case
        },
        Case {
            settings: &["--format", "secure_link"],
            order: &["--ip", "192.0.2.7"],
            request: &["--ip", "192.0.2.7"],
            says: &["expires 1700004600 ("],
            begins: "https://live.example/live/ch1/main.m3u8?x=1&md5=",
            is_wide: false,
            ..case
        },
        Case {
            settings: &["--format", "url_sig"],
            order: &["--ip", "192.0.2.7", "--field", "A=2"],
            request: &["--ip", "192.0.2.7"],
            says: &["C     192.0.2.7", "A     2 (HMAC-MD5)", "P     1110"],
            begins: "https://live.example/live/ch1/main.m3u8?x=1&C=192.0.2.7&E=1700004600&A=2&K=0&P=1110&S=",
            ..case
        },
        Case {
            settings: &["--format", "bunny"],
            order: &["--ip", "192.0.2.7", "--country", "SE", "--field", "limit=3000"],
            request: &["--ip", "192.0.2.7", "--country", "SE"],
            says: &["token_path      /live/ch1/", "token_countries SE", "limit           3000"],
            begins: "https://live.example/bcdn_token=HS256-1-",
            ..case
        },
        Case {
            settings: &[
                "--format",
                "cloudflare",
                "--set",
                "ttl=2h",
                "--set",
                "message=host_path",
                "--set",
                "separator=0",
            ],
            says: &["issued 1699997400 (", "end    1700004600 ("],
            begins: "https://live.example/live/ch1/main.m3u8?x=1&verify=1699997400-",
            is_wide: false,
            ..case
        },
        Case {
            settings: &["--format", "fastly", "--set", "directories=2"],
            says: &["expires 1700004600 ("],
            begins: "https://live.example/live/ch1/main.m3u8?x=1&token=1700004600_",
            ..case
        },
        Case {
            settings: &["--format", "media_cdn", "--set", "algorithm=sha1"],
            order: &["--id", "s1", "--data", "d", "--ip", "192.0.2.0/24", "--header", "x-app: player"],
            request: &["--ip", "192.0.2.7", "--header", "x-app: player"],
            says: &["PathGlobs /live/ch1/*", "SessionID s1", "Headers   x-app", "IPRanges  192.0.2.0/24"],
            begins: "https://live.example/edge-cache-token=PathGlobs=",
            ..case
        },
    ]
}

/// A folder with a key for a format, `own`, and another, `foreign`; what names them to sign and to verify.
fn keys(format: &str) -> (TempDir, [String; 2], [String; 2], [String; 2]) {
    let folder = folder();
    let place = |name: &str| folder.path().join(name).display().to_string();
    for name in ["own", "foreign"] {
        printed(&folder, &["keygen", "--format", format, "--out", &place(name)]);
    }
    let named = |kind: &str, name: &str| [kind.to_owned(), place(name)];
    let (sign, verify, foreign) = match format {
        "cloudfront" => (
            named("--private-key-file", "own"),
            named("--public-key-file", "own.pub"),
            named("--public-key-file", "foreign.pub"),
        ),
        _ => (named("--key-file", "own"), named("--key-file", "own"), named("--key-file", "foreign")),
    };
    (folder, sign, verify, foreign)
}

fn words<'w>(first: &'w str, parts: &[&[&'w str]]) -> Vec<&'w str> {
    std::iter::once(first).chain(parts.iter().flat_map(|part| part.iter().copied())).collect()
}

fn verdict(folder: &TempDir, words: &[&str]) -> (u8, String) {
    run_in(folder, words).unwrap()
}

#[test]
fn what_is_signed_is_valid_and_says_what_was_ordered() {
    for Case { settings, order, request, says, begins, forged, is_wide } in cases() {
        let format = settings[1];
        let (folder, sign, verify, foreign) = keys(format);
        let [sign, verify, foreign] = [&sign, &verify, &foreign].map(|it| [it[0].as_str(), it[1].as_str()]);
        let end = ["--exp", "1700004600"];
        let url = printed(&folder, &words("sign", &[settings, &sign, order, &end, &[URL]]));
        assert!(url.starts_with(begins), "{url}");
        let again = printed(&folder, &words("sign", &[settings, &sign, order, &end, &[&url]]));
        if !matches!(format, "jwt" | "cloudfront") {
            assert_eq!(again, url, "a token is replaced, not put beside another");
        }
        let (code, shown) = verdict(&folder, &words("verify", &[settings, &verify, request, &[&url]]));
        assert_eq!(code, 0, "{format}: {shown}");
        assert!(shown.contains("\nvalid, signed with "), "{shown}");
        for part in says {
            assert!(shown.contains(part), "{format}: {part}: {shown}");
        }
        let inspected = printed(&folder, &["inspect", &url]);
        assert!(
            inspected.contains(&format!(" {format}\n")) && inspected.ends_with("not verified"),
            "{inspected}"
        );
        let named = printed(&folder, &["inspect", "--format", format, &url]);
        assert!(named.lines().next().unwrap().ends_with(format), "{named}");

        let late = words("verify", &[settings, &verify, request, &["--at", "1700004600", &url]]);
        let (code, shown) = verdict(&folder, &late);
        assert!(code == 1 && shown.contains("refused: expired: its end has passed"), "{format}: {shown}");
        let (code, shown) = verdict(&folder, &words("verify", &[settings, &foreign, request, &[&url]]));
        assert!(code == 1 && shown.contains(&format!("refused: {forged}: ")), "{format}: {shown}");
        for (other, is_open) in [(SIBLING, is_wide), (ELSEWHERE, false)] {
            let moved = url.replace("/live/ch1/main.m3u8", other.trim_start_matches("https://live.example"));
            // The query is signed as well in this format, and in others not, or not alone.
            let moved = match format {
                "url_sig" => moved,
                _ => moved.replace("?x=1&", "?").replace("?x=1", ""),
            };
            let (code, shown) = verdict(&folder, &words("verify", &[settings, &verify, request, &[&moved]]));
            assert_eq!(code == 0, is_open, "{format}: {moved}: {shown}");
        }
    }
}

#[test]
fn every_reason_is_told_and_what_is_not_said_is_not_checked() {
    let folder = folder();
    let sign = ["sign", "--key-file", "@key", "--acl", "/live/*", "--ip", "192.0.2.7", "--exp", "1700001001"];
    let token = printed(&folder, &sign);
    let verify =
        ["verify", "--key-file", "@key", "--ip", "192.0.2.8", "--at", "1700001001", "--path", "/vod/a"];
    let (code, shown) = verdict(&folder, &[&verify[..], &[&token]].concat());
    assert_eq!(code, 1);
    for reason in ["expired", "path", "ip"] {
        assert_eq!(shown.matches(&format!("refused: {reason}: ")).count(), 1, "{shown}");
    }
    let claims = "claims={path=\"glob\",c=\"country\",m=\"method\"}";
    let settings = ["--format", "jwt", "--key-file", "@long", "--set", claims];
    std::fs::write(folder.path().join("long"), "k".repeat(43)).unwrap();
    let order = ["--acl", "/live/*", "--country", "SE", "--method", "POST"];
    let token = printed(&folder, &words("sign", &[&settings, &order]));
    let shown = printed(&folder, &words("verify", &[&settings, &[&token]]));
    for note in [
        "the country was not checked: give --country",
        "the method was not checked: give --method",
        "give --path",
    ] {
        assert!(shown.contains(note), "{note}: {shown}");
    }
    let told = ["--country", "NO", "--method", "GET", "--path", "/live/a", &token];
    let (code, shown) = verdict(&folder, &words("verify", &[&settings, &told]));
    assert!(code == 1 && shown.contains("refused: geo: ") && shown.contains("refused: method: "), "{shown}");
}

#[test]
fn a_token_stands_in_each_place_and_is_found_there() {
    let folder = folder();
    std::fs::write(folder.path().join("0"), "0".repeat(32)).unwrap();
    let cases: [(&[&str], &str, &str); 9] = [
        (&["--place", "path"], "edgeauth", "/hdnts="),
        (&["--place", "query"], "edgeauth", "/live/ch1/a.m3u8?hdnts=exp="),
        (&["--place", "path_parameter"], "edgeauth", "/live/ch1/a.m3u8;hdnts=exp="),
        (&["--place", "cookie"], "edgeauth", "Cookie: hdnts=exp="),
        (&["--place", "header", "--name", "authorization"], "edgeauth", "authorization: Bearer exp="),
        (&["--place", "header", "--name", "x-token"], "edgeauth", "x-token: exp="),
        (&["--place", "query"], "bunny", "/live/ch1/a.m3u8?token=HS256-"),
        (&["--place", "path_parameter"], "url_sig", "/live/ch1;urlsig="),
        (&["--set", "word=true"], "secure_link", "/live/"),
    ];
    for (place, format, begins) in cases {
        let key = if format == "edgeauth" { "@key" } else { "@0" };
        let policy = words("--format", &[&[format, "--key-file", key], place]);
        let printed_token = printed(&folder, &words("sign", &[&policy, &["/live/ch1/a.m3u8"]]));
        assert!(printed_token.starts_with(begins), "{printed_token}");
        let mut verify = words("verify", &[&policy, &[&printed_token]]);
        if printed_token.contains(": ") {
            verify.extend(["--path", "/live/ch1/a.m3u8"]);
        }
        let (code, shown) = verdict(&folder, &verify);
        assert_eq!(code, 0, "{format} {place:?}: {printed_token}\n{shown}");
        if !printed_token.contains(": ") {
            let inspected = printed(&folder, &["inspect", "--format", format, &printed_token]);
            assert!(inspected.ends_with("not verified"), "{inspected}");
        }
    }
    let cookies = ["--place", "cookie", "--format", "cloudfront"];
    printed(
        &folder,
        &["keygen", "--format", "cloudfront", "--out", &folder.path().join("cf").display().to_string()],
    );
    let line = printed(&folder, &words("sign", &[&cookies, &["--private-key-file", "@cf", URL]]));
    assert!(line.starts_with("Cookie: CloudFront-Policy="), "{line}");
    let cookie = line.trim_start_matches("Cookie: ");
    let verify = words("verify", &[&cookies, &["--public-key-file", "@cf.pub", "--cookie", cookie, SIBLING]]);
    assert_eq!(verdict(&folder, &verify).0, 0);
}

#[test]
fn what_a_signature_covers_and_a_token_does_not_say_is_asked_for() {
    for (format, order, request, part) in [
        ("url_sig", vec![], vec!["--path", "/live/ch1/a"], "give a whole URL"),
        ("bunny", vec!["--place", "query", "--url", "/live/a"], vec![], "give --path"),
        ("bunny", vec!["--ip", "192.0.2.7"], vec![], "give --ip"),
        ("media_cdn", vec!["--header", "x-app: player", "--acl", "/live/*"], vec![], "give --header"),
        ("fastly", vec![], vec![], "give --path"),
    ] {
        let (folder, sign, verify, _) = keys(format);
        let [sign, verify] = [&sign, &verify].map(|it| [it[0].as_str(), it[1].as_str()]);
        let is_bare = order.contains(&"--url") || order.contains(&"--acl");
        let order = if is_bare { order } else { [order, vec![URL]].concat() };
        let signed = printed(&folder, &words("sign", &[&["--format", format], &sign, &order]));
        let token = match format {
            "url_sig" | "fastly" => signed.split(['?', '&']).skip(2).collect::<Vec<_>>().join("&"),
            _ if is_bare => signed,
            _ => signed.split('/').nth(3).unwrap().to_owned(),
        };
        let place: &[&str] = if token.starts_with("token=HS256") { &["--place", "query"] } else { &[] };
        let line = words("verify", &[&["--format", format], &verify, place, &request, &[&token]]);
        let message = run_in(&folder, &line).unwrap_err();
        assert!(message.contains("its signature covers") && message.contains(part), "{format}: {message}");
    }
}

#[test]
fn keys_by_url_are_fetched() {
    let folder = folder();
    let file = folder.path().join("pair").display().to_string();
    printed(&folder, &["keygen", "--format", "jwt", "--algorithm", "es256", "--out", &file]);
    let pem = std::fs::read_to_string(format!("{file}.pub")).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, base64).unwrap();
    let coordinate = |range: std::ops::Range<usize>| {
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &der[range])
    };
    let (x, y) = (coordinate(27..59), coordinate(59..91));
    let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"k1","x":"{x}","y":"{y}"}}]}}"#);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/jwks", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut asked).unwrap();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", set.len());
        stream.write_all(format!("{head}{set}").as_bytes()).unwrap();
        drop(stream);
        // The next one is told nothing. The port stays this server's till then.
        drop(listener.accept().unwrap());
    });
    let paths = ["--format", "jwt", "--set", "claims.path=glob"];
    let private = format!("k1={file}");
    let token =
        printed(&folder, &words("sign", &[&paths, &["--private-key-file", &private, "--acl", "/live/*"]]));
    let by_url = format!("jwks.url={url}");
    let verify = words("verify", &[&paths, &["--set", &by_url, &token]]);
    assert!(printed(&folder, &verify).ends_with("valid, signed with k1"));
    let (code, shown) = verdict(&folder, &verify);
    assert!(code == 1 && shown.contains("refused: unavailable: "), "{shown}");
    server.join().unwrap();
}

#[test]
fn a_path_alone_is_verified_without_its_site() {
    let (folder, sign, verify, _) = keys("cloudfront");
    let [sign, verify] = [&sign, &verify].map(|it| [it[0].as_str(), it[1].as_str()]);
    let url = printed(&folder, &words("sign", &[&["--format", "cloudfront"], &sign, &[URL]]));
    let path = url.trim_start_matches("https://live.example");
    let shown = printed(&folder, &words("verify", &[&["--format", "cloudfront"], &verify, &[path]]));
    assert!(
        shown.contains("note  the host, and what depends on it, was not checked: give a whole URL"),
        "{shown}"
    );
}

#[test]
fn one_url_is_signed_alone() {
    for format in [
        "edgeauth",
        "jwt",
        "cdni",
        "cat",
        "cloudfront",
        "secure_link",
        "url_sig",
        "bunny",
        "fastly",
        "media_cdn",
    ] {
        let (folder, sign, verify, _) = keys(format);
        let settings: &[&str] = match format {
            "jwt" => &["--format", format, "--set", "claims.path=exact"],
            "secure_link" => {
                &["--format", format, "--set", "expression=${secure_link_expires}${uri} $secret"]
            }
            _ => &["--format", format],
        };
        let [sign, verify] = [&sign, &verify].map(|it| [it[0].as_str(), it[1].as_str()]);
        let target = "https://live.example/live/ch1/main.m3u8";
        let url = printed(&folder, &words("sign", &[settings, &sign, &["--url", target, target]]));
        let (code, shown) = verdict(&folder, &words("verify", &[settings, &verify, &[&url]]));
        assert_eq!(code, 0, "{format}: {shown}");
        let other = url.replace("main.m3u8", "seg1.ts");
        assert_eq!(verdict(&folder, &words("verify", &[settings, &verify, &[&other]])).0, 1, "{format}");
    }
}

#[test]
fn an_order_that_a_format_cannot_express_is_named_with_its_remedy() {
    let folder = folder();
    std::fs::write(folder.path().join("long"), "k".repeat(43)).unwrap();
    let jwt = "claims.path=prefix";
    for (words, part) in [
        (
            vec!["--format", "bunny", "--id", "x", "/a/b"],
            "--id: a token of \"bunny\" cannot say so; remove it, or use one of: edgeauth, jwt",
        ),
        (vec!["--format", "fastly", "--acl", "/*", "/a/b"], "--set directories=N"),
        (vec!["--format", "cdni", "--ip", "192.0.2.1", "/a/b"], "`cdniip` is encrypted"),
        (vec!["--format", "secure_link", "/a/b"], "give the client's address"),
        (vec!["--format", "bunny", "--field", "x=1", "/a/b"], "it has: limit"),
        (vec!["--format", "bunny", "--acl", "*.ts", "/a/b"], "write DIRECTORY/*"),
        (vec!["--format", "bunny", "--exp", "5", "/a/b"], "ten digits"),
        (vec!["--format", "bunny", "--place", "cookie", "/a/b"], "give --place"),
        (vec!["--format", "url_sig", "/a.ts"], "signs nothing of the URL"),
        (vec!["--format", "url_sig", "--key-file", "x=@long", "/a/b"], "0 to 15"),
        (vec!["--format", "cloudflare", "--set", "ttl=1h", "--expires-in", "2h", "/a/b"], "within that time"),
        (vec!["--format", "cloudflare", "/a/b"], "--set ttl: is missing"),
        (vec!["--format", "jwt", "/a/b"], "--set claims: names no claim"),
        (
            vec!["--format", "jwt", "--set", jwt, "--url", "/a/b"],
            "no claim of the policy can say which paths",
        ),
        (vec!["--format", "jwt", "--set", jwt, "--streams", "2", "/a/b"], "--set claims.streams=streams"),
        (vec!["--format", "jwt", "--set", jwt, "--set", "algorithms=[\"ES256\"]", "/a/b"], "add its own"),
        (vec!["--format", "jwt", "--claims", "[]", "/a/b"], "no JSON object"),
        (vec!["--format", "edgeauth", "--ip", "192.0.2.0/24", "/a/b"], "give an address"),
        (vec!["--format", "edgeauth", "--key-id", "x", "/a/b"], "it has: key1"),
        (vec!["--format", "edgeauth", "--set", "algorithm=crc", "/a/b"], "crc"),
        (vec!["--format", "edgeauth", "--set", "algorithm", "/a/b"], "write KEY=VALUE"),
        (vec!["--format", "edgeauth", "--session", "/a/b"], "--config"),
    ] {
        let key = if words.contains(&"edgeauth") { "@key" } else { "@long" };
        let own = words.contains(&"--key-file");
        let keys: &[&str] = if own { &[] } else { &["--key-file", key] };
        let line = [&["sign"], keys, words.as_slice()].concat();
        let line: Vec<String> =
            line.iter().map(|word| word.replace("x=@", &format!("x={}/", folder.path().display()))).collect();
        let line: Vec<&str> = line.iter().map(String::as_str).collect();
        let message = run_in(&folder, &line).unwrap_err();
        assert!(message.contains(part), "{words:?}: {message}");
    }
}

#[test]
fn a_policy_of_a_configuration_signs_verifies_and_makes_sessions() {
    let folder = folder();
    let text = "[server]\nhttp = [\"127.0.0.1:0\"]\n[origin.o]\nservers = [\"http://127.0.0.1:1\"]\n\
                [[site]]\nhosts = [\"a.example\"]\norigin = \"o\"\ntoken = \"viewer\"\n\
                [[site]]\nhosts = [\"b.example\"]\norigin = \"o\"\ntoken = \"studio\"\n\
                [token.viewer]\nformat = \"edgeauth\"\nkeys = [{ id = \"k1\", secret_file = \"key\" }]\n\
                bind = { address = [\"10.0.0.0/8\"] }\n\
                [token.viewer.session]\nkeys = [{ id = \"s1\", secret_file = \"other\" }]\nbind = [\"address\"]\n\
                [token.studio]\nformat = \"edgeauth\"\nkeys = [{ id = \"k2\", secret_file = \"other\" }]\n";
    std::fs::write(folder.path().join("forebay.toml"), text).unwrap();
    let config = ["--config", "@forebay.toml", "--policy", "viewer"];
    let url = printed(&folder, &words("sign", &[&config, &[URL]]));
    let shown = printed(&folder, &words("verify", &[&config, &["--ip", "10.1.2.3", &url]]));
    assert!(shown.ends_with("valid, signed with k1"), "{shown}");
    let (code, shown) = verdict(&folder, &words("verify", &[&config, &["--ip", "192.0.2.1", &url]]));
    assert!(
        code == 1 && shown.contains("refused: ip: "),
        "what the policy asks of every client counts: {shown}"
    );

    let session = ["--session", "--ip", "10.1.2.3", "--subject", "alice", "--streams", "2", "--id", "s 9"];
    let url = printed(&folder, &words("sign", &[&config, &session, &[URL]]));
    assert!(
        url.starts_with(
            "https://live.example/hdntl=ip=10.1.2.3~exp=1700087400~acl=/live/ch1/*~id=s%209~data="
        ),
        "{url}"
    );
    let shown = printed(&folder, &words("verify", &[&config, &["--ip", "10.1.2.3", &url]]));
    assert!(shown.contains("it is a session token") && shown.ends_with("valid, signed with s1"), "{shown}");

    for (words, part) in [
        (vec!["sign", "--config", "@forebay.toml", "/a"], "give --policy, one of"),
        (vec!["sign", "--config", "@forebay.toml", "--policy", "x", "/a"], "there is no [token.x]"),
        (
            vec!["sign", "--config", "@forebay.toml", "--policy", "studio", "--session", "/a"],
            "makes no session tokens",
        ),
        (vec!["sign", "--config", "@forebay.toml", "--policy", "viewer", "--session", "/a"], "give it"),
        (
            vec!["sign", "--config", "@forebay.toml", "--policy", "viewer", "--place", "header", "/a"],
            "takes no token there",
        ),
        (vec!["sign", "--config", "@forebay.toml", "--key-file", "@key", "/a"], "cannot be used with"),
        (vec!["sign", "--config", "@none", "/a"], "none"),
    ] {
        let message = run_in(&folder, &words).unwrap_err();
        assert!(message.contains(part), "{words:?}: {message}");
    }
}

#[test]
fn the_nodes_own_token_is_read_in_its_url() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!(
        "https://live.example.com/hdntl=exp={}~acl=/live/*~data=sub=alice~hmac={}/live/a.m3u8",
        u32::MAX,
        "0".repeat(64)
    );
    let shown = printed(&folder, &["inspect", &url]);
    assert!(shown.contains("edgeauth") && shown.contains("sub=alice"), "{shown}");
}

#[test]
fn inspecting_names_other_formats_it_may_be_and_what_is_none() {
    let folder = folder();
    let token = printed(&folder, &["sign", "--key-file", "@key", "--acl", "/live/*"]);
    let shown = printed(&folder, &["inspect", &token]);
    assert!(
        shown.starts_with("format edgeauth\n") && shown.contains("may also be one of: media_cdn"),
        "{shown}"
    );
    for (words, part) in [
        (vec!["inspect", "abc"], "it has no token of any format"),
        (vec!["inspect", "--format", "jwt", &token], "it has no token of \"jwt\""),
        (vec!["inspect", "/live/a.ts"], "it has no token of any format"),
    ] {
        let message = run_in(&folder, &words).unwrap_err();
        assert!(message.contains(part), "{words:?}: {message}");
    }
    let claims = ["--claims", "{\"note\":\"\\u001b[2J\"}", "--set", "claims.path=glob", "--acl", "/*"];
    std::fs::write(folder.path().join("long"), "k".repeat(43)).unwrap();
    let token = printed(&folder, &words("sign", &[&["--format", "jwt", "--key-file", "@long"], &claims]));
    let shown = printed(&folder, &["inspect", &token]);
    assert!(shown.contains("note   \\u{1b}[2J") && !shown.contains('\u{1b}'), "{shown}");
}
