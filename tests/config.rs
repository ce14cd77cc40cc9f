//! Promises about configuration files: the generated ones under `conf/` say what the code does, the examples load, and
//! every mistake in `tests/config/invalid/` is told as the `.txt` beside it says.
//!
//! `UPDATE=1 cargo test --test config` rewrites the generated files and the `.txt` files, to be reviewed as a diff.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use forebay::config::formats::Word;
use forebay::config::reference::{reference_toml, schema};
use forebay::config::{self, Config, Diagnostics};

#[path = "support/mmdb.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the integration tests")]
mod mmdb;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Files of a folder with this extension, in order of their names.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    files.sort();
    files
}

/// Holds a file to what it should be, or writes it when `UPDATE` is set.
fn expect_file(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, expected).unwrap();
    }
    let found = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(found, expected, "{} is out of date: UPDATE=1 cargo test --test config", path.display());
}

fn parse(text: &str) -> Result<Config, Diagnostics> {
    config::parse(text, Path::new("forebay.toml"))
}

#[test]
fn the_reference_file_is_what_the_code_says() {
    expect_file(&Path::new(ROOT).join("conf/forebay.toml"), &reference_toml());
}

#[test]
fn the_schema_file_is_what_the_code_says() {
    let text = format!("{}\n", serde_json::to_string_pretty(&schema()).unwrap());
    expect_file(&Path::new(ROOT).join("conf/forebay.schema.json"), &text);
}

#[test]
fn the_reference_file_is_the_minimal_one_with_every_default_written_out() {
    let minimal = fs::read_to_string(Path::new(ROOT).join("conf/examples/minimal.toml")).unwrap();
    let minimal = format!("{:?}", parse(&minimal).unwrap());
    assert_eq!(format!("{:?}", parse(&reference_toml()).unwrap()), minimal);

    // The head of the file shows what such a line is; that one is none.
    let is_default = |line: &str| {
        !line.contains(" is a default: ")
            && line.strip_prefix('#').is_some_and(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let text = reference_toml();
    let defaults = text.lines().filter(|line| is_default(line)).count();
    let written: Vec<_> = text.lines().map(|line| if is_default(line) { &line[1..] } else { line }).collect();
    assert!(defaults >= 20, "only {defaults} defaults are shown");
    assert_eq!(format!("{:?}", parse(&written.join("\n")).unwrap()), minimal);
}

/// Examples are settings as they would be written, so nothing is wrong with them but what only their reader can have:
/// the files they name, and an origin that speaks TLS.
#[test]
fn the_examples_of_the_reference_file_are_right() {
    // `fallback` is left out: it names a section that is not there. So is a rule's `status`: it excludes `key`. So is a rule's `quota`, which asks for one by user, and excludes `disk`, and
    // `classify`, which excludes other conditions, `prefetch`, which excludes keys and conditions made of fields, and
    // `playlist` and `steering`, which are not of the kinds shown.
    let left_out = |line: &str| {
        ["fallback", "status", "quota = \"", "classify", "prefetch", "playlist = ", "steering = true"]
            .iter()
            .any(|key| line.starts_with(&format!("#     {key}")))
    };
    // A policy has the table of its own format alone.
    let of_format = |line: &str| {
        let others = Word::ALL.into_iter().filter(|word| *word != Word::EdgeAuth);
        others.into_iter().any(|word| line.starts_with(&format!("#     {} = ", word.as_str())))
    };
    let is_example = |line: &&str| !left_out(line) && !of_format(line) && !line.contains(" is an example ");
    let text = reference_toml();
    let lines: Vec<_> =
        text.lines().filter(is_example).map(|line| line.strip_prefix("#     ").unwrap_or(line)).collect();
    let mistakes = parse(&lines.join("\n")).unwrap_err();
    let (files, others): (Vec<_>, Vec<_>) =
        mistakes.0.into_iter().partition(|mistake| mistake.reason.contains("cannot be read: No such file"));
    let others: Vec<_> = others.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(others, ["origin.main.tls"]);
    let files: Vec<_> = files.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(
        files,
        [
            "server.https[0].cert",
            "server.https[0].key",
            "server.admin_token_file",
            "purge.hook.keys[0].secret_file",
            "fleet.keys[0].secret_file",
            "fleet.password_file",
            "geo.country",
            "geo.asn",
            "origin.main.tls.ca",
            "origin.main.tls.certificate",
            "origin.main.tls.key",
            "origin.main.s3.access_key_file",
            "origin.main.s3.secret_key_file",
            "origin.main.s3.session_token_file",
            "origin.main.proof.keys[0].secret_file",
            "token.viewer.keys[0].secret_file",
            "token.viewer.session.keys[0].secret_file",
            "token.viewer.salt_file",
        ]
    );
}

/// The files that `/etc/forebay/...` in an example stands for are made in a folder of the test's own.
#[test]
fn every_example_loads() {
    let mut examples = files("conf/examples", "toml");
    examples.retain(|path| !path.to_string_lossy().ends_with(".cases.toml"));
    assert!(examples.len() >= 2);
    for example in examples {
        let folder = tempfile::tempdir().unwrap();
        make_secrets(folder.path());
        let text = fs::read_to_string(&example).unwrap().replace("/etc/forebay/", "");
        if let Err(mistakes) = config::parse(&text, &folder.path().join("forebay.toml")) {
            panic!("{}:\n{mistakes}", example.display());
        }
    }
}

/// What an example says of requests is what comes of them: each file of cases is checked against its configuration.
#[test]
fn every_example_of_cases_holds() {
    let cases = files("conf/examples", "toml").into_iter();
    let cases: Vec<_> = cases.filter(|path| path.to_string_lossy().ends_with(".cases.toml")).collect();
    assert!(!cases.is_empty());
    for file in cases {
        let folder = tempfile::tempdir().unwrap();
        make_secrets(folder.path());
        let example = file.to_string_lossy().replace(".cases.toml", ".toml");
        let text = fs::read_to_string(example).unwrap().replace("/etc/forebay/", "");
        let config = folder.path().join("forebay.toml");
        fs::write(&config, text).unwrap();
        let mut tool = std::process::Command::new(env!("CARGO_BIN_EXE_forebay"));
        let output = tool.arg("check").arg(&config).arg("--cases").arg(&file).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{}:\n{told}", file.display());
    }
}

fn make_secrets(folder: &Path) {
    let made = rcgen::generate_simple_self_signed(["live.example.com".to_owned()]).unwrap();
    fs::create_dir_all(folder.join("tls")).unwrap();
    fs::create_dir_all(folder.join("keys")).unwrap();
    fs::write(folder.join("tls/live.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls/live.key"), made.signing_key.serialize_pem()).unwrap();
    fs::write(folder.join("tls/origin-ca.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("keys/nodes"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::write(folder.join("keys/cdn"), "a-key-of-the-cdn\n").unwrap();
    fs::write(folder.join("keys/k1"), "00112233445566778899aabbccddeeff\n").unwrap();
    fs::write(folder.join("keys/k2"), "  ffeeddccbbaa99887766554433221100\n").unwrap();
    fs::write(
        folder.join("keys/nodes"),
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\n",
    )
    .unwrap();
    fs::write(folder.join("tls/node.crt"), made.cert.pem()).unwrap();
    fs::write(folder.join("tls/node.key"), made.signing_key.serialize_pem()).unwrap();
    for name in ["s3-id", "s3-secret", "origin", "proof"] {
        fs::write(folder.join("keys").join(name), "00112233445566778899aabbccddeeff\n").unwrap();
    }
    fs::write(folder.join("admin.token"), "an-operator-s-token\n").unwrap();
    fs::write(folder.join("redis.password"), "a-password\n").unwrap();
}

/// What an operator copies out of `docs/tokens.md` loads, with a key of the right kind in each file that it names; and no format
/// is left out.
#[test]
fn every_block_of_the_token_guide_loads() {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/tokens.md")).unwrap();
    let blocks: Vec<_> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("keys")).unwrap();
    let pem =
        fs::read_to_string(Path::new(ROOT).join("src/admission/token/cloudfront/p256.pub.pem")).unwrap();
    let (hex, plain) = ("00112233445566778899aabbccddeeff", "a-secret-of-visible-characters");
    let base64 = "iqFPeN2u+Z0Lm5IrsKaOFKRqEU5Gw8ePtaEkHZWuD24=";
    let keys = [
        ("akamai", hex),
        ("akamai-2", hex),
        ("session", hex),
        ("cat", hex),
        ("cloudfront.pub.pem", &pem),
        ("ucdn.pub.pem", &pem),
        ("secure_link", plain),
        ("url_sig-0", plain),
        ("url_sig-3", plain),
        ("bunny", plain),
        ("cloudflare", plain),
        ("fastly", base64),
        ("media_cdn.pub", base64),
    ];
    for (name, key) in keys {
        fs::write(folder.path().join("keys").join(name), key).unwrap();
        assert!(text.contains(&format!("/etc/forebay/keys/{name}\"")), "{name} is named nowhere");
    }
    let minimal = fs::read_to_string(Path::new(ROOT).join("conf/examples/minimal.toml")).unwrap();
    for block in &blocks {
        let site = minimal.replace("[[site]]", "[[site]]\ntoken = \"viewer\"");
        let whole = format!("{site}\n{}", block.replace("/etc/forebay/", ""));
        match config::parse(&whole, &folder.path().join("forebay.toml")) {
            Ok(config) => assert_eq!(config.tokens.len(), 1, "{block}"),
            Err(mistakes) => panic!("{block}\n{mistakes}"),
        }
    }
    for word in forebay::config::formats::Word::ALL {
        let format = format!("format = \"{}\"", word.as_str());
        assert!(blocks.iter().any(|block| block.contains(&format)), "{format}");
    }
}

#[test]
fn every_block_of_the_hls_guide_loads() {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/hls.md")).unwrap();
    let blocks: Vec<_> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 6, "{}", blocks.len());
    let policy = "[token.viewer]\nformat = \"jwt\"\n[token.viewer.jwt]\nalgorithms = [\"ES256\"]\n\
                  jwks = { url = \"https://id.example/keys\" }\nwhole_site = true\n\n[[site]]\ntoken = \"viewer\"";
    let minimal = fs::read_to_string(Path::new(ROOT).join("conf/examples/minimal.toml")).unwrap();
    for block in blocks {
        let whole = format!("{}\n{block}", minimal.replace("[[site]]", policy));
        if let Err(mistakes) = parse(&whole) {
            panic!("{block}\n{mistakes}");
        }
    }
}

/// What an operator copies out of `docs/origins.md` loads; a block without a site gets one.
#[test]
fn every_block_of_the_origin_guide_loads() {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/origins.md")).unwrap();
    let blocks: Vec<_> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 5, "{}", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    make_secrets(folder.path());
    for block in blocks.iter().filter(|block| block.contains("[origin.main]")) {
        let site = if block.contains("[[site]]") { "" } else { "[[site]]\nhosts = ['*']\norigin = 'main'\n" };
        let whole =
            format!("[server]\nhttp = ['127.0.0.1:0']\n{}\n{site}", block.replace("/etc/forebay/", ""));
        if let Err(mistakes) = config::parse(&whole, &folder.path().join("forebay.toml")) {
            panic!("{block}\n{mistakes}");
        }
    }
}

/// The databases that configuration files of the tests name are what their writer writes.
#[test]
fn the_databases_beside_the_files_are_as_written() {
    let countries = [("192.0.2.0/24", mmdb::country("SE"))];
    for (name, bytes) in [
        ("country.mmdb", mmdb::database("GeoLite2-Country", &countries)),
        ("city.mmdb", mmdb::database("GeoLite2-City", &[("192.0.2.0/24", mmdb::city("US", &["CA"]))])),
        ("asn.mmdb", mmdb::database("GeoLite2-ASN", &[("192.0.2.0/24", mmdb::asn(64496))])),
        ("cut.mmdb", mmdb::database("GeoLite2-Country", &countries)[..200].to_vec()),
    ] {
        let path = Path::new(ROOT).join("tests/config/databases").join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap_or_default() == bytes, "{name}: UPDATE=1 cargo test --test config");
    }
}

#[test]
fn every_valid_file_loads() {
    let valid = files("tests/config/valid", "toml");
    assert!(valid.len() >= 5);
    for file in valid {
        if let Err(mistakes) = config::load(&file) {
            panic!("{mistakes}");
        }
    }
}

/// The message names the file as it was given: relative here.
#[test]
fn every_mistake_is_told_with_its_place_and_remedy() {
    let invalid = files("tests/config/invalid", "toml");
    assert!(invalid.len() >= 30, "only {} files", invalid.len());
    for file in invalid {
        // Cargo runs tests in the package's folder.
        let relative = file.strip_prefix(ROOT).unwrap();
        let mistakes = config::load(relative).expect_err(&format!("{} is accepted", relative.display()));
        expect_file(&file.with_extension("txt"), &format!("{mistakes}\n"));
    }
}

#[test]
fn every_expected_message_has_its_file() {
    for expected in files("tests/config/invalid", "txt") {
        assert!(expected.with_extension("toml").exists(), "{} is left over", expected.display());
    }
}

/// No message, and no debug output, shows a byte of a secret.
#[test]
fn a_secret_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.toml");
    let text = "[server]\nhttp = ['127.0.0.1:0']\nadmin = '127.0.0.1:0'\nadmin_token_file = 'token'\n\
                [origin.a]\nservers = ['http://a']\nheaders = { set = { x-key = { file = 'long' } } }\n\
                proof = { keys = [{ id = 'p', secret_file = 'long' }] }\n[[site]]\nhosts = ['*']\norigin = 'a'\ntoken = 't'\n\
                [token.t]\nformat = 'edgeauth'\nkeys = [{ id = 'k', secret_file = 'key' }]\nsalt_file = 'salt'\n";
    fs::write(folder.path().join("token"), "5ec4e7token").unwrap();
    fs::write(folder.path().join("salt"), "5ec4e7salt").unwrap();
    fs::write(folder.path().join("key"), "5ec4e7").unwrap();
    fs::write(folder.path().join("long"), "5ec4e7-and-more-than-thirty-two-characters").unwrap();
    let config = config::parse(text, &file).unwrap();
    assert_eq!(config.tokens[0].keys[0].bytes.0, [0x5e, 0xc4, 0xe7]);
    assert_eq!(config.tokens[0].salt.as_ref().unwrap().0, b"5ec4e7salt");
    assert_eq!(config.server.admin_token.as_ref().unwrap().0, b"5ec4e7token");
    assert!(!format!("{config:?}").contains("5ec4e7"));
    assert!(!format!("{config:?}").contains("94, 196, 231"));
    for (key, token) in
        [("5ec4e7x", "5ec4e7 token"), ("5ec4e7f", "5ec4e7\u{e9}"), ("5ec4 e7", "5ec4e7\ntoken")]
    {
        fs::write(folder.path().join("key"), key).unwrap();
        fs::write(folder.path().join("token"), token).unwrap();
        let mistakes = config::parse(text, &file).unwrap_err();
        assert_eq!(mistakes.0.len(), 2, "{mistakes}");
        assert!(!mistakes.to_string().contains("5ec4"), "{mistakes}");
    }
}
