//! The configuration that all cases stand on: what an operator of a live and VOD service writes, read by the node's own code.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use forebay::config::model::{Config, TokenPolicy};
use forebay::origin::{OriginFamilies, Origins};
use forebay::site::{Site, Sites};
use prometheus::Registry;
use rcgen::KeyPair;

/// Seconds since the Unix epoch, at which all of it happens.
pub const NOW_UNIX: u64 = 1_800_000_000;

/// The host of the site that anyone may ask.
pub const OPEN_HOST: &str = "open.example.com";

/// The host of the site whose viewers have EdgeAuth tokens, which playlists carry by query.
pub const HOST: &str = "live.example.com";

/// The folder that tokens open.
pub const DIRECTORY: &str = "/live/channel-12/";

/// The time of day.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW_UNIX)
}

/// A configuration, and the private half of the pair whose public half it has.
pub struct Setting {
    /// As the node has read it.
    pub config: Config,
    /// PEM (PKCS #8).
    pub es256_private: String,
}

impl Setting {
    /// A configuration with this origin.
    pub fn new(origin: SocketAddr) -> Setting {
        let folder = tempfile::tempdir().expect("a folder for keys");
        let pair = KeyPair::generate().expect("a pair of keys");
        // Always the same, so that counts of instructions are.
        let secret = |byte: u8| hex::encode([byte; 32]);
        fs::write(folder.path().join("edgeauth"), secret(0x5A)).expect("a key");
        fs::write(folder.path().join("hs256"), secret(0xA5)).expect("a key");
        fs::write(folder.path().join("es256"), pair.public_key_pem()).expect("a key");
        let text = text(origin);
        let config = forebay::config::parse(&text, &folder.path().join("forebay.toml"));
        let config = config.unwrap_or_else(|mistakes| panic!("{mistakes}"));
        Setting { config, es256_private: pair.serialize_pem() }
    }

    /// The token policy of this name.
    pub fn policy(&self, name: &str) -> &TokenPolicy {
        self.config.tokens.iter().find(|policy| policy.name == name).expect("a policy of this name")
    }
}

/// The site that a host names, ready to decide. Its origin is never asked.
pub fn site(host: &str) -> Arc<Site> {
    let setting = Setting::new(SocketAddr::from(([127, 0, 0, 1], 9)));
    let families = OriginFamilies::new(&Registry::new()).expect("a registry of its own");
    let origins = Origins::new(&setting.config.origins, &families).expect("an origin that needs no file");
    let sites = Sites::new(&setting.config, &origins);
    Arc::clone(sites.find(host).expect("a site of this host"))
}

fn text(origin: SocketAddr) -> String {
    format!(
        r#"
[server]
http          = ["127.0.0.1:0"]
threads       = 1
drain_delay   = "0s"
drain_timeout = "1s"

[store]
memory = "256MiB"

[log]
access = "off"

[origin.media]
servers = ["http://{origin}"]

[token.edgeauth]
format = "edgeauth"
keys   = [{{ id = "k1", secret_file = "edgeauth" }}]
carry  = "query"

[token.hs256]
format = "jwt"
keys   = [{{ id = "k1", secret_file = "hs256" }}]
jwt    = {{ algorithms = ["HS256"], claims = {{ path = "prefix", sid = "session", sub = "subject" }} }}

[token.es256]
format = "jwt"
keys   = [{{ id = "k1", public_key_file = "es256" }}]
jwt    = {{ algorithms = ["ES256"], claims = {{ path = "prefix", sid = "session", sub = "subject" }} }}

[[site]]
hosts  = ["{OPEN_HOST}"]
origin = "media"

[[site]]
hosts  = ["{HOST}"]
origin = "media"
token  = "edgeauth"
cors   = {{ origins = ["https://player.example.com"] }}

[[site.rule]]
path = "/api/*"
ttl  = "5s"
key  = {{ query = ["lang"] }}

[[site.rule]]
kind   = ["segment", "part"]
status = [404]
ttl    = "1s"

[[site.rule]]
path = "/thumbnails/*"
ttl  = "1h"

[[site]]
hosts  = ["hs256.example.com"]
origin = "media"
token  = "hs256"

[[site]]
hosts  = ["es256.example.com"]
origin = "media"
token  = "es256"
"#
    )
}
