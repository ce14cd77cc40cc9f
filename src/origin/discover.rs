//! Names that stand for servers: looked up in DNS, again and again.
//!
//! Decides when a name is looked up next, and what its records mean: each address of a host is a server, or each target of a
//! service (RFC 2782). While a name cannot be looked up, or stands for nothing, its last servers stay. Runs as one task per
//! group that has such names, started by [`super::Origins::start_discovery`].

use std::net::SocketAddr;
use std::sync::Weak;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::sync::watch;

use super::OriginGroup;
use super::jitter::up_to;
use super::members::{Found, MEMBERS_MAX};
use super::resolve::ADDRESSES_MAX;
use crate::config::model::{Discovered, OriginServer, Records};

/// The shortest time between two look-ups of a name, whatever its records say.
const EVERY_MIN: Duration = Duration::from_secs(1);

/// The longest.
const EVERY_MAX: Duration = Duration::from_secs(30);

/// Time until a name is looked up again that could not be.
const RETRY: Duration = Duration::from_secs(2);

/// How long a look-up may take, its retries included.
const LOOKUP_LIMIT: Duration = Duration::from_secs(5);

/// How long one DNS server may take.
const SERVER_LIMIT: Duration = Duration::from_secs(2);

/// A name, and what is known of it.
struct Name {
    of: Discovered,
    found: Vec<Found>,
    due: Instant,
    failed: bool,
}

/// Follows the names of `group`, which are `names`, until `stop` becomes true, its sender is gone, or the group is
/// dropped. `server` is asked, or those of the system.
pub(super) async fn follow(
    group: Weak<OriginGroup>,
    names: Vec<Discovered>,
    server: Option<SocketAddr>,
    mut stop: watch::Receiver<bool>,
) {
    let begun = Instant::now();
    let name = |of| Name { of, found: Vec::new(), due: begun, failed: false };
    let mut names: Vec<Name> = names.into_iter().map(name).collect();
    let mut resolver = None;
    while let Some(due) = names.iter().map(|name| name.due).min() {
        let look_up = async {
            tokio::time::sleep_until(due.into()).await;
            if resolver.is_none() {
                resolver = made(server);
            }
            look_up(&mut names, resolver.as_ref()).await;
        };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = look_up => {}
        }
        let Some(group) = group.upgrade() else { return };
        // Before the first answer there is nothing to put in the place of anything.
        let found: Vec<Found> = names.iter().flat_map(|name| name.found.iter().cloned()).collect();
        if !found.is_empty() {
            let new = group.members.replace(found);
            group.watch(&new, &stop);
        }
    }
}

/// None: the system's configuration cannot be read, which is logged.
fn made(server: Option<SocketAddr>) -> Option<TokioResolver> {
    let builder = match server {
        Some(server) => {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
            let servers = vec![NameServerConfig::new(server.ip(), true, connections)];
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            Ok(TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()))
        }
        None => TokioResolver::builder_tokio(),
    };
    let built = builder.and_then(|mut builder| {
        let options = builder.options_mut();
        // How long an answer is good for is kept count of here.
        options.cache_size = 0;
        options.timeout = SERVER_LIMIT;
        options.attempts = 1;
        builder.build()
    });
    built.inspect_err(|error| tracing::error!(%error, "names of servers cannot be looked up")).ok()
}

/// Looks up what is due.
async fn look_up(names: &mut [Name], resolver: Option<&TokioResolver>) {
    let now = Instant::now();
    for name in names.iter_mut().filter(|name| name.due <= now) {
        let answer = async {
            let resolver = resolver.ok_or_else(|| "there is no resolver".to_owned())?;
            let asked = tokio::time::timeout(LOOKUP_LIMIT, servers_of(&name.of, resolver));
            match asked.await {
                Ok(Ok((found, _))) if found.is_empty() => Err("it stands for no server".to_owned()),
                Ok(answer) => answer.map_err(|error| error.to_string()),
                Err(_elapsed) => Err("no answer in time".to_owned()),
            }
        };
        match answer.await {
            Ok((found, until)) => {
                if std::mem::take(&mut name.failed) {
                    tracing::info!(name = %name.of, "a name of servers is resolved again");
                }
                name.found = found;
                let left = until.saturating_duration_since(Instant::now()).clamp(EVERY_MIN, EVERY_MAX);
                name.due = Instant::now() + left;
            }
            Err(reason) => {
                if !std::mem::replace(&mut name.failed, true) {
                    let kept = name.found.len();
                    tracing::warn!(name = %name.of, %reason, kept, "a name of servers cannot be resolved; its last servers stay");
                }
                // Many nodes that start together do not ask together for ever.
                name.due = Instant::now() + RETRY / 2 + up_to(RETRY / 2);
            }
        }
    }
}

/// The servers that a name stands for, and until when that is so.
async fn servers_of(name: &Discovered, resolver: &TokioResolver) -> Result<(Vec<Found>, Instant), NetError> {
    match &name.records {
        Records::Addresses { host, port } => {
            let (addresses, until) = addresses_of(resolver, host, *port).await?;
            let found = addresses.into_iter().take(MEMBERS_MAX).map(|address| Found {
                authority: OriginServer { tls: name.tls, host: address.ip().to_string(), port: *port }
                    .authority(),
                place: OriginServer { tls: name.tls, host: host.clone(), port: *port },
                addresses: vec![address],
                weight: 1,
            });
            Ok((found.collect(), until))
        }
        Records::Services { name: service } => {
            let answer = resolver.lookup(service.as_str(), RecordType::SRV).await?;
            let mut until = answer.valid_until();
            let services = answer.answers().iter().filter_map(|record| match &record.data {
                RData::SRV(service) => Some(service),
                _ => None,
            });
            let services: Vec<_> = services.collect();
            // The others are for when these are all away; the origin's fallback is what serves that here.
            let first = services.iter().map(|service| service.priority).min();
            let mut found = Vec::new();
            for service in services.iter().filter(|service| Some(service.priority) == first).take(MEMBERS_MAX)
            {
                let host = service.target.to_utf8().trim_end_matches('.').to_ascii_lowercase();
                if host.is_empty() || service.port == 0 {
                    continue;
                }
                let (mut addresses, good_until) = addresses_of(resolver, &host, service.port).await?;
                addresses.truncate(ADDRESSES_MAX);
                until = until.min(good_until);
                let place = OriginServer { tls: name.tls, host, port: service.port };
                let authority = place.authority();
                found.push(Found { authority, place, addresses, weight: u32::from(service.weight).max(1) });
            }
            Ok((found, until))
        }
    }
}

/// The addresses of a host in the order of their numbers: resolvers turn them round.
async fn addresses_of(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
) -> Result<(Vec<SocketAddr>, Instant), NetError> {
    let answer = resolver.lookup_ip(host).await?;
    let mut addresses: Vec<SocketAddr> =
        answer.iter().map(|address| SocketAddr::new(address, port)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok((addresses, answer.valid_until()))
}

impl std::fmt::Display for Discovered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.records {
            Records::Addresses { host, .. } => f.write_str(host),
            Records::Services { name } => f.write_str(name),
        }
    }
}
