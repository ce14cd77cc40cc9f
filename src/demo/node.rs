//! The demo's node: a complete configuration for the occasion, with a key of its own.
//!
//! Decides what the node is told: any host, the demo origin with a health check, EdgeAuth tokens in the path, any page
//! may read. It is the configuration that an operator would write, read by the same code. Called by `forebay demo`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;

use anyhow::Context;

use super::links::Links;
use crate::admission::token::edgeauth::{self, Claims, Scope};
use crate::clock::Clock;
use crate::config::{self, model::Config};
use crate::server::Node;

/// Bytes of the demo's key.
const KEY_BYTES: usize = 16;

/// The key's file, in the folder where the configuration is said to stand.
const KEY_FILE: &str = "key";

/// A random key.
pub(super) struct Key(Vec<u8>);

impl Key {
    /// Makes a key.
    pub(super) fn make() -> io::Result<Key> {
        let mut bytes = vec![0; KEY_BYTES];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(Key(bytes))
    }

    /// Links with tokens signed by this key, good for every path.
    pub(super) fn links(&self, clock: Clock) -> Links {
        let secret = self.0.clone();
        let sign = move |viewer: &str, expires: u64| {
            let scope = Scope::Acl(vec!["/*".to_owned()]);
            let claims =
                Claims { ip: None, start: None, expires, scope, id: Some(viewer.to_owned()), data: None };
            format!("/hdnts={}", edgeauth::sign(&claims, &secret, None))
        };
        Links::new(clock, Box::new(sign))
    }
}

/// Starts a node on a free port of this address, in front of this origin.
pub(super) async fn start(
    key: &Key,
    listen: IpAddr,
    origin: SocketAddr,
    clock: Clock,
) -> anyhow::Result<Node> {
    Node::start(&configuration(key, listen, origin)?, clock).context("the demo's node")
}

/// The node's configuration. The key stands in a file for as long as it takes to read it.
fn configuration(key: &Key, listen: IpAddr, origin: SocketAddr) -> anyhow::Result<Config> {
    let folder =
        tempfile::Builder::new().prefix("forebay-demo-").tempdir().context("a folder for the demo's key")?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(folder.path().join(KEY_FILE))?;
    writeln!(file, "{}", hex::encode(&key.0))?;
    let text = configuration_text(listen, origin);
    Ok(config::parse(&text, &folder.path().join("forebay.toml"))?)
}

/// Where a node listens for viewers.
pub(super) fn http_address(node: &Node) -> anyhow::Result<SocketAddr> {
    node.http_addresses().first().copied().context("the demo's node has no listener")
}

/// Where a node tells its metrics.
pub(super) fn admin_address(node: &Node) -> anyhow::Result<SocketAddr> {
    node.admin_address().context("the demo's node has no admin listener")
}

fn configuration_text(listen: IpAddr, origin: SocketAddr) -> String {
    let http = SocketAddr::new(listen, 0);
    format!(
        r#"
[server]
http          = ["{http}"]
admin         = "127.0.0.1:0"
drain_timeout = "1s"

[store]
memory = "256MiB"

[log]
access = "off"
level  = "warn"

[origin.demo]
servers = ["http://{origin}"]
health  = {{ path = "/healthz", interval = "2s" }}

[token.viewer]
format = "edgeauth"
keys   = [{{ id = "demo", secret_file = "{KEY_FILE}" }}]
carry  = "path"

[[site]]
hosts  = ["*"]
origin = "demo"
token  = "viewer"
cors   = {{ origins = ["*"] }}
"#
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn the_demo_configuration_is_right_on_either_address_family() {
        let key = Key::make().unwrap();
        for listen in ["127.0.0.1", "::1", "0.0.0.0"] {
            let config =
                configuration(&key, listen.parse().unwrap(), "127.0.0.1:7000".parse().unwrap()).unwrap();
            assert_eq!(config.tokens[0].keys[0].bytes.0, key.0);
        }
    }

    #[test]
    fn every_demo_has_a_key_of_its_own() {
        assert_ne!(Key::make().unwrap().0, Key::make().unwrap().0);
    }
}
