//! What stands before the first viewer comes: the origin's process, the server in front of it, and how viewers reach it, asked
//! whether it suits ([`probe`]).

use anyhow::{Context, Result, ensure};

use super::order::Way;
use super::usage::Root;
use super::{Against, Plan, probe};
use crate::scenario::{Carry, Protocol, Scenario};
use crate::server::{Kind, Server, Setup};
use crate::stage::process::Origin;
use crate::viewer::Target;

/// The other sides of a run. Dropping it ends what was started: first the server, which asks the origin.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) server: Option<Server>,
    pub(crate) origin: Option<Origin>,
    pub(crate) way: Way,
    /// The server's first process, if it is one of this run's.
    pub(crate) root: Root,
}

impl Stand {
    pub(crate) async fn start(plan: &Plan) -> Result<Self> {
        let cpus = plan.pins.as_ref();
        let scenario = &plan.scenario;
        let others = cpus.map(|(_, others)| others.as_str());
        let (server, origin, way) = match &plan.against {
            Against::Started(kind, setup) => {
                ensure_suits(*kind, scenario)?;
                let origin = Origin::start(scenario, None, others).await.context("starting the origin")?;
                let setup = Setup {
                    cpus: cpus.map(|(server, _)| server.clone()).or_else(|| setup.cpus.clone()),
                    ..setup.clone()
                };
                let server =
                    Box::pin(Server::before(*kind, &setup, origin.address(), scenario.token.as_ref()))
                        .await?;
                let way = Way::local(server.http, server.h2c);
                // The origin itself looks at no token, and shows what the harness costs with them.
                if *kind != Kind::Direct {
                    Box::pin(probe::ensure_tokens(scenario, &way)).await?;
                }
                (Some(server), Some(origin), way)
            }
            Against::Running { target, reach, origin } => {
                let origin = match origin {
                    Some(listen) => {
                        let origin = Origin::start(scenario, Some(*listen), others).await;
                        Some(origin.with_context(|| format!("starting the origin on {listen}"))?)
                    }
                    None => None,
                };
                let way = Way::to(target, reach)?;
                Box::pin(probe::ensure_protocols(scenario, &way)).await?;
                Box::pin(probe::ensure_tokens(scenario, &way)).await?;
                (None, origin, way)
            }
            Against::Rehearsal => anyhow::bail!("a rehearsal has no server"),
        };
        let root = Root::default();
        root.set(server.as_ref().and_then(|server| server.pid().ok()));
        Ok(Self { server, origin, way, root })
    }
}

/// Of peers no configuration here checks tokens. The origin itself is no edge: what only an edge takes would be refused, request by
/// request.
fn ensure_suits(kind: Kind, scenario: &Scenario) -> Result<()> {
    ensure!(
        !kind.is_peer() || scenario.token.is_none(),
        "{} does not check tokens as it is configured here, and scenario {} is about them: take [token] out of the scenario, run \
         it with --server forebay, or name a server of your own that checks them (--target)",
        kind.as_str(),
        scenario.name
    );
    if kind != Kind::Direct {
        return Ok(());
    }
    let other = scenario.groups.iter().find(|group| group.protocol != Protocol::H1);
    let name = other.map_or("", |group| group.name.as_str());
    ensure!(
        other.is_none(),
        "the origin itself speaks HTTP/1.1 alone, and group {name} asks over HTTP/2: write protocol = \"h1\" there, or put a \
         server before it (--server forebay)"
    );
    ensure!(
        scenario.token.as_ref().is_none_or(|token| token.carry != Carry::Path),
        "the origin itself knows no token in a path: write carry = \"query\" (or cookie, header) in [token], or put a server \
         before it (--server forebay)"
    );
    Ok(())
}

/// What is measured, in a word: the kind of a server, or where it is.
pub(crate) fn name(against: &Against) -> String {
    match against {
        Against::Started(kind, _) => kind.as_str().to_owned(),
        Against::Running { target: Target::Server(url) | Target::Stream(url), .. } => url.to_string(),
        Against::Rehearsal => "rehearsal".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use std::time::Duration;

    use super::*;
    use crate::run::fake;
    use crate::scenario::Token;

    #[test]
    fn a_peer_is_not_started_for_a_scenario_with_tokens_and_the_words_say_what_to_do() {
        let open = fake::scenario(1, 10);
        let token = |carry| Some(Token { carry, lifetime: Duration::from_secs(90), wave_at: None });
        for kind in [Kind::Nginx, Kind::Varnish, Kind::Ats] {
            ensure_suits(kind, &open).unwrap();
            for carry in [Carry::Path, Carry::Query, Carry::Cookie, Carry::Header] {
                let scenario = Scenario { token: token(carry), ..open.clone() };
                let error = ensure_suits(kind, &scenario).unwrap_err().to_string();
                assert!(error.contains(kind.as_str()) && error.contains("[token]"), "{error}");
                ensure_suits(Kind::Forebay, &scenario).unwrap();
            }
        }
        let path = Scenario { token: token(Carry::Path), ..open.clone() };
        ensure_suits(Kind::Direct, &path).unwrap_err();
        ensure_suits(Kind::Direct, &Scenario { token: token(Carry::Query), ..open }).unwrap();
    }
}
