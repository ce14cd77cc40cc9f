//! What stands before the first viewer comes: the origin's process, the server in front of it, and how viewers reach it.

use anyhow::{Context, Result, ensure};

use super::order::Way;
use super::usage::Root;
use super::{Against, Plan};
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
                (None, origin, Way::to(target, reach)?)
            }
            Against::Rehearsal => anyhow::bail!("a rehearsal has no server"),
        };
        let root = Root::default();
        root.set(server.as_ref().and_then(|server| server.pid().ok()));
        Ok(Self { server, origin, way, root })
    }
}

/// The origin itself is no edge: what only an edge takes would be refused, request by request.
fn ensure_suits(kind: Kind, scenario: &Scenario) -> Result<()> {
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
