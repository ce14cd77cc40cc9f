//! What a server is asked before the first viewer comes, so that a run which would measure nothing but failures, or a site that
//! looks at no token, is not begun: whether it speaks HTTP/2 without TLS where a group wants that, and whether it holds viewers to
//! the scenario's tokens ([`proof`]). A server that does not answer at all is no matter of these questions: the run tells of it.
//!
//! Called by [`super::stand`], with the way that viewers will go.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, timeout};
use url::Url;

use super::order::Way;
use crate::fetch::{Body, Exchange, Fetch, Get};
use crate::scenario::catalogue::Catalogue;
use crate::scenario::{Protocol, Scenario, Token};
use crate::token::proof::{self, NOBODY};
use crate::token::{self, Mint};
use crate::viewer::Target;
use crate::wire::{Browser, Network};

/// How long one question may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes: what it says is of no interest.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Tokens of the proof live for so long at the least: it is not to be late for its own.
const LIFETIME_MIN: Duration = Duration::from_secs(60);

/// Asks a server that was not started here whether it takes HTTP/2 without TLS, if some viewers would come so.
pub(crate) async fn ensure_protocols(scenario: &Scenario, way: &Way) -> Result<()> {
    let Some(group) = scenario.groups.iter().find(|group| group.protocol == Protocol::H2) else {
        return Ok(());
    };
    let (Some(h1), Some(h2)) = (entry(scenario, way, Protocol::H1)?, entry(scenario, way, Protocol::H2)?)
    else {
        return Ok(());
    };
    if h2.scheme() != "http" {
        // Over TLS both sides agree on one of the two.
        return Ok(());
    }
    let network = Network::new(way.reach())?;
    let over = async |protocol, url| {
        let browser = network.browser(NOBODY, protocol, None);
        answers(&browser, url).await
    };
    if over(Protocol::H2, &h2).await || !over(Protocol::H1, &h1).await {
        return Ok(());
    }
    bail!(
        "{h2}: the server answers HTTP/1.1, but takes no HTTP/2 without TLS (h2c by prior knowledge), over which group {} asks: \
         write protocol = \"h1\" there, name the server's https:// URL, or let it take h2c (of forebay: h2c = true)",
        group.name
    )
}

/// Asks whether the server holds viewers to the scenario's tokens, if there are any.
pub(crate) async fn ensure_tokens(scenario: &Scenario, way: &Way) -> Result<()> {
    let Some(token) = &scenario.token else { return Ok(()) };
    let is_h1 = scenario.groups.iter().any(|group| group.protocol == Protocol::H1);
    let protocol = if is_h1 { Protocol::H1 } else { Protocol::H2 };
    let Some(plain) = entry(scenario, way, protocol)? else { return Ok(()) };
    let browser = Network::new(way.reach())?.browser(NOBODY, protocol, None);
    if !answers(&browser, &plain).await {
        return Ok(());
    }
    let (now, token) =
        (SystemTime::now(), Token { lifetime: token.lifetime.max(LIFETIME_MIN), wave_at: None, ..*token });
    let mint = Mint::new(&token, now);
    proof::prove(&browser, &plain, (&token, &mint), now).await.with_context(|| {
        format!(
            "the server does not hold viewers to the tokens of scenario {} ({}): let its site check them, or take [token] out \
             of the scenario",
            scenario.name,
            token::FORMAT
        )
    })
}

/// The first title's entry, as viewers over this protocol ask for it; none: there is nothing to watch.
fn entry(scenario: &Scenario, way: &Way, protocol: Protocol) -> Result<Option<Url>> {
    let server = match way.target(protocol)? {
        Target::Stream(url) => return Ok(Some(url)),
        Target::Server(url) => url,
    };
    let catalogue = Catalogue::of(scenario);
    let title = catalogue.titles.first();
    title.map(|title| server.join(&title.entry)).transpose().context("the entry of the first title")
}

/// Whether any answer comes, whatever it is.
async fn answers(browser: &Browser, url: &Url) -> bool {
    let body = Body::Text { bytes_max: ANSWER_BYTES_MAX };
    let asking =
        browser.get(Get { url, range: None, fields: &[], due: Instant::now(), body, progress: None });
    let answer: Option<Exchange> = timeout(ANSWER_MAX, asking).await.ok();
    answer.is_some_and(|exchange| exchange.status.is_some())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::run::fake;
    use crate::scenario::Carry;
    use crate::wire::Reach;

    /// A server that has one answer for every request of HTTP/1.1, and for HTTP/2 one like it too if it speaks that.
    async fn server(h2c: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut first = [0; 3];
                    stream.peek(&mut first).await.ok();
                    if h2c && &first == b"PRI" {
                        let mut connection = h2::server::handshake(stream).await.unwrap();
                        while let Some(Ok((_, mut respond))) = connection.accept().await {
                            let answer = http::Response::builder().status(404).body(()).unwrap();
                            respond.send_response(answer, true).unwrap();
                        }
                        return;
                    }
                    let mut read = [0; 4096];
                    while stream.read(&mut read).await.is_ok_and(|count| count > 0) {
                        stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.ok();
                    }
                });
            }
        });
        address
    }

    fn scenario(protocol: Protocol) -> Scenario {
        let mut scenario = fake::scenario(10, 10);
        scenario.groups[0].name = "phones".to_owned();
        scenario.groups[0].protocol = protocol;
        scenario
    }

    fn way(address: SocketAddr) -> Way {
        let target = Target::Server(format!("http://{address}/").parse().unwrap());
        Way::to(&target, &Reach::default()).unwrap()
    }

    #[tokio::test]
    async fn a_server_without_h2c_is_named_with_the_group_and_a_remedy_before_the_run() {
        let over_h2 = scenario(Protocol::H2);
        let error = ensure_protocols(&over_h2, &way(server(false).await)).await.unwrap_err().to_string();
        for part in ["http://127.0.0.1:", "group phones", "protocol = \"h1\"", "https://"] {
            assert!(error.contains(part), "{error}");
        }
        ensure_protocols(&over_h2, &way(server(true).await)).await.unwrap();
        ensure_protocols(&scenario(Protocol::H1), &way(server(false).await)).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_left_to_the_run() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let mut scenario = scenario(Protocol::H2);
        let lifetime = Duration::from_secs(60);
        scenario.token = Some(Token { carry: Carry::Query, lifetime, wave_at: None });
        ensure_protocols(&scenario, &way(nobody)).await.unwrap();
        ensure_tokens(&scenario, &way(nobody)).await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_looks_at_no_token_is_named_with_what_it_lets_through_and_a_remedy() {
        let mut scenario = scenario(Protocol::H1);
        ensure_tokens(&scenario, &way(server(false).await)).await.unwrap();
        scenario.token = Some(Token { carry: Carry::Query, lifetime: Duration::from_secs(1), wave_at: None });
        let error = ensure_tokens(&scenario, &way(server(false).await)).await.unwrap_err();
        let error = format!("{error:#}");
        for part in ["HMAC-SHA256", "[token]", "without a token: 404 Not Found, not a refusal"] {
            assert!(error.contains(part), "{error}");
        }
    }
}
