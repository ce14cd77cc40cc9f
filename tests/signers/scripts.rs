//! Runs the scripts that call the signers: one process for a list of orders.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

/// Key pairs in PEM, private and public, made for this run.
pub(crate) struct Keys {
    pub(crate) rsa: (String, String),
    pub(crate) p256: (String, String),
    pub(crate) p384: (String, String),
    pub(crate) ed25519: (String, String),
}

pub(crate) static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let curve = |name: &str| json!({ "type": "ec", "options": { "namedCurve": name } });
    let rsa = json!({ "type": "rsa", "options": { "modulusLength": 2048 } });
    let pairs = orders("keys.mjs", &[rsa, curve("P-256"), curve("P-384"), json!({ "type": "ed25519" })]);
    let pem = |pair: &Value, name: &str| pair[name].as_str().expect("a key in PEM").to_owned();
    let mut pairs = pairs.iter().map(|pair| (pem(pair, "privateKey"), pem(pair, "publicKey")));
    let mut next = || pairs.next().expect("a pair for each order");
    Keys { rsa: next(), p256: next(), p384: next(), ed25519: next() }
});

/// What a script of this folder makes of each order.
pub(crate) fn orders(script: &str, orders: &[Value]) -> Vec<Value> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join("tests/signers").join(script);
    let (interpreter, packages) = match script.rsplit_once('.') {
        Some((_, "py")) => {
            (root.join("target/signers/bin/python"), root.join("target/signers/requirements.txt"))
        }
        _ => (PathBuf::from("node"), root.join("node_modules/jose")),
    };
    assert!(packages.exists(), "the packages of tests/signers are missing: run `make setup`");
    let mut child = Command::new(interpreter)
        .arg(path)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("what runs the script is missing: run `make setup`");
    let input = serde_json::to_vec(orders).expect("orders are JSON");
    // A script that ends early says why on its standard error.
    let _ = child.stdin.take().expect("a pipe").write_all(&input);
    let output = child.wait_with_output().expect("the script ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}\n{stderr}", output.status);
    let made: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the script writes a list");
    assert_eq!(made.len(), orders.len(), "{script}");
    made
}

/// The same, of scripts whose tokens are texts.
pub(crate) fn tokens(script: &str, list: &[Value]) -> Vec<String> {
    let made = orders(script, list);
    made.iter().map(|token| token.as_str().expect("a token is a text").to_owned()).collect()
}
