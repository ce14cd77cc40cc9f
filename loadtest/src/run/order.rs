//! What those who let viewers watch are told: the scenario, where the server is, and which viewers are theirs. It goes to the
//! threads of this process, and as JSON to workers that join. From it follow the viewers themselves.

use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use url::Url;

use super::crew::{Common, Crew, by_thread};
use super::trace::{Trace, Traced};
use crate::measure::Recorder;
use crate::scenario::audience::{self, Ticket};
use crate::scenario::catalogue::Catalogue;
use crate::scenario::{Protocol, Scenario};
use crate::token::Mint;
use crate::viewer::{self, Target, World};
use crate::wire::{Network, Reach};

/// Who is to watch what, and where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) scenario: Scenario,
    pub(crate) way: Way,
    /// Viewers belong to this worker of so many, by their numbers.
    pub(crate) worker: u32,
    pub(crate) workers: u32,
}

/// How to reach the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Way {
    /// Where it is asked over HTTP/1.1, and where over HTTP/2.
    pub(crate) h1: String,
    pub(crate) h2: String,
    /// Whether these are playlists of somebody's own, and not servers in front of the synthetic origin.
    pub(crate) is_stream: bool,
    pub(crate) connect_to: Option<SocketAddr>,
    /// PEM of further certificate authorities.
    pub(crate) authorities: Option<String>,
    pub(crate) insecure: bool,
}

// === impl Order ===

impl Order {
    /// The viewers of this part, in order of arrival.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        let mut tickets = audience::tickets(&self.scenario);
        let workers = self.workers.max(1);
        tickets.retain(|ticket| ticket.viewer % workers == self.worker);
        tickets
    }

    /// Starts the threads of this part of the viewers.
    pub(crate) fn start(
        self,
        threads: usize,
        common: &Common,
        wall_epoch: SystemTime,
        trace: Option<Trace>,
    ) -> Result<Crew> {
        let lists = by_thread(self.tickets(), self.workers, threads);
        let Self { scenario, way, .. } = self;
        let (h1, h2) = (way.target(Protocol::H1)?, way.target(Protocol::H2)?);
        let network = Network::new(way.reach())?;
        let epoch = common.epoch;
        let asked_over = network.clone();
        let crew = Crew::start(lists, common, move |recorder: &Recorder| {
            let (network, trace) = (network.clone(), trace.clone());
            let mint = scenario.token.as_ref().map(|token| Mint::new(token, wall_epoch));
            let world = |target: &Target| {
                Rc::new(World {
                    scenario: scenario.clone(),
                    catalogue: Catalogue::of(&scenario),
                    target: target.clone(),
                    epoch,
                    wall_epoch,
                    recorder: recorder.clone(),
                    mint: mint.clone(),
                })
            };
            let first = world(&h1);
            let second = if way.h1 == way.h2 { Rc::clone(&first) } else { world(&h2) };
            Ok(move |ticket: Ticket| {
                let group = &first.scenario.groups[ticket.group];
                let browser = network.browser(ticket.viewer, group.protocol, group.line);
                let world = match group.protocol {
                    Protocol::H1 => &first,
                    Protocol::H2 => &second,
                };
                let fetch = Traced::new(browser, ticket.viewer, trace.clone());
                viewer::watch(Rc::clone(world), ticket, fetch)
            })
        })?;
        Ok(crew.over(asked_over))
    }
}

/// The trace of a run, if it is to have one.
pub(crate) fn trace(path: Option<&Path>, epoch: tokio::time::Instant) -> Result<Option<Trace>> {
    path.map(|path| Trace::create(path, epoch)).transpose()
}

// === impl Way ===

impl Way {
    /// To a server, or a stream, that is the same over both protocols.
    pub(crate) fn to(target: &Target, reach: &Reach) -> Result<Self> {
        let (url, is_stream) = match target {
            Target::Server(url) => (url, false),
            Target::Stream(url) => (url, true),
        };
        let authorities = reach.authorities.clone().map(String::from_utf8).transpose();
        Ok(Self {
            h1: url.to_string(),
            h2: url.to_string(),
            is_stream,
            connect_to: reach.connect_to,
            authorities: authorities.context("the certificate authorities are not PEM: not even text")?,
            insecure: reach.insecure,
        })
    }

    /// To a server on this machine, over plaintext.
    pub(crate) fn local(http: SocketAddr, h2c: Option<SocketAddr>) -> Self {
        let url = |address: SocketAddr| format!("http://{address}/");
        Self {
            h1: url(http),
            h2: url(h2c.unwrap_or(http)),
            is_stream: false,
            connect_to: None,
            authorities: None,
            insecure: false,
        }
    }

    /// Who is asked over this protocol.
    pub(crate) fn target(&self, protocol: Protocol) -> Result<Target> {
        let url = match protocol {
            Protocol::H1 => &self.h1,
            Protocol::H2 => &self.h2,
        };
        let url = Url::parse(url).with_context(|| format!("not a URL: {url:?}"))?;
        Ok(if self.is_stream { Target::Stream(url) } else { Target::Server(url) })
    }

    pub(crate) fn reach(&self) -> Reach {
        Reach {
            connect_to: self.connect_to,
            authorities: self.authorities.clone().map(String::into_bytes),
            insecure: self.insecure,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;
    use crate::run::fake;

    #[test]
    fn an_order_comes_out_of_its_json_as_it_went_in() {
        let reach = Reach {
            connect_to: Some("127.0.0.1:8443".parse().unwrap()),
            authorities: Some(b"-----BEGIN CERTIFICATE-----\n".to_vec()),
            insecure: true,
        };
        let way =
            Way::to(&Target::Stream("https://a.example/x/index.m3u8?a=b".parse().unwrap()), &reach).unwrap();
        let order = Order { scenario: fake::scenario(7, 10), way, worker: 1, workers: 3 };
        let text = serde_json::to_string(&order).unwrap();
        let again: Order = serde_json::from_str(&text).unwrap();
        assert_eq!(again, order);
        assert_eq!(again.way.reach().authorities, reach.authorities);
        assert!(
            matches!(again.way.target(Protocol::H2).unwrap(), Target::Stream(url) if url.query() == Some("a=b"))
        );
    }

    #[test]
    fn a_server_may_have_a_port_of_its_own_for_http2() {
        let http = "127.0.0.1:1".parse().unwrap();
        let way = Way::local(http, Some("127.0.0.1:2".parse().unwrap()));
        assert_eq!((way.h1.as_str(), way.h2.as_str()), ("http://127.0.0.1:1/", "http://127.0.0.1:2/"));
        assert_eq!(Way::local(http, None).h2, "http://127.0.0.1:1/");
    }
}
