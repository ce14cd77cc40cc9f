//! What the command line asks of a running node: where its admin listener is, the token, and one request with JSON.
//!
//! Called by the commands that steer a node ([`super::cache`], [`super::purge`], `super::token`).

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::Value;

use crate::config::model::Config;

/// How long the node may take to answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes of a file with a token.
const TOKEN_FILE_BYTES_MAX: u64 = 64 << 10;

/// Which node is asked: that of a configuration, or an address.
#[derive(Debug, Args)]
pub struct NodeArgs {
    /// The configuration file of the node: tells its admin listener and token.
    #[arg(long, short, env = "FOREBAY_CONFIG", value_name = "FILE", required_unless_present = "admin")]
    config: Option<PathBuf>,
    /// The node's admin listener, in place of the configuration's.
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// File with the admin token, in place of the configuration's.
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
}

/// A node that can be asked.
#[derive(Debug)]
pub struct Node {
    /// `http://ADDRESS`, without a slash at the end.
    base: String,
    token: Option<String>,
}

/// Why a node cannot even be looked for.
#[derive(Debug)]
pub enum NodeError {
    /// The configuration is bad; its mistakes.
    Configuration(String),
    /// What was typed, or a file that it names, cannot be used.
    Unusable(anyhow::Error),
}

/// What a node answered.
#[derive(Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The document; null where there was none.
    pub body: Value,
}

impl NodeArgs {
    /// The node that is meant. What is typed goes before what the configuration says. The configuration's token is sent
    /// to its own listener alone.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn node(&self) -> Result<Node, NodeError> {
        let mut node = match (&self.admin, &self.config) {
            (Some(url), _) => Node { base: base(url).map_err(NodeError::Unusable)?, token: None },
            (None, Some(file)) => {
                let config = crate::config::load(file)
                    .map_err(|mistakes| NodeError::Configuration(mistakes.to_string()))?;
                Node::of(&config).map_err(NodeError::Unusable)?
            }
            (None, None) => {
                let reason = anyhow::anyhow!("no node is named: give --config FILE or --admin URL");
                return Err(NodeError::Unusable(reason));
            }
        };
        if let Some(file) = &self.admin_token_file {
            node.token = Some(token(file).map_err(NodeError::Unusable)?);
        }
        Ok(node)
    }
}

impl Node {
    /// The node that runs by this configuration.
    ///
    /// # Errors
    /// When it has no admin listener, or one on a port that the system chooses.
    pub fn of(config: &Config) -> Result<Node> {
        let Some(admin) = config.server.admin.filter(|address| address.port() != 0) else {
            bail!("the node has no admin listener to ask: add server.admin, with a port");
        };
        let token =
            config.server.admin_token.as_ref().map(|token| String::from_utf8_lossy(&token.0).into_owned());
        Ok(Node { base: format!("http://{}", reachable(admin)), token })
    }

    /// POST, with JSON or nothing.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub fn post(&self, path: &str, body: Option<&Value>) -> Result<Answered> {
        let mut request = agent().post(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answered(match body {
            Some(body) => request.content_type("application/json").send(body.to_string()),
            None => request.send_empty(),
        })
    }

    /// GET.
    ///
    /// # Errors
    /// When the node cannot be reached.
    pub fn get(&self, path: &str) -> Result<Answered> {
        let mut request = agent().get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.answered(request.call())
    }

    fn answered(&self, answer: Result<http::Response<ureq::Body>, ureq::Error>) -> Result<Answered> {
        let mut answer = answer.with_context(|| format!("asking the node at {}", self.base))?;
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        Ok(Answered { status, body: serde_json::from_str(&text).unwrap_or_default() })
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).http_status_as_error(false);
    config.build().into()
}

impl Answered {
    /// An error that says what the node answered.
    pub fn refusal(&self) -> String {
        match self.body["error"].as_str() {
            Some(reason) => format!("the node answered {}: {reason}", self.status),
            None => format!("the node answered {}", self.status),
        }
    }
}

fn base(url: &str) -> Result<String> {
    let uri: http::Uri = url.parse().with_context(|| format!("--admin {url}: is no URL"))?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/") && uri.query().is_none();
    let authority = uri.authority().filter(|_| plain);
    let authority =
        authority.with_context(|| format!("--admin {url}: write http://HOST:PORT of the admin listener"))?;
    Ok(format!("http://{authority}"))
}

fn token(file: &Path) -> Result<String> {
    let place = || format!("--admin-token-file {}", file.display());
    let length = std::fs::metadata(file).with_context(place)?.len();
    ensure!(length <= TOKEN_FILE_BYTES_MAX, "{}: is longer than 64KiB", place());
    let text = std::fs::read_to_string(file).with_context(place)?;
    let token = text.trim();
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    ensure!(visible, "{}: must hold one token of visible ASCII characters", place());
    Ok(token.to_owned())
}

/// An address that a request can be sent to, for one that is listened on.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let loopback = match address {
            SocketAddr::V4(_) => std::net::IpAddr::from([127, 0, 0, 1]),
            SocketAddr::V6(_) => std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        };
        address.set_ip(loopback);
    }
    address
}
