//! Who this node is to other nodes, and whom it takes for one.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use super::hop::{Hop, Role};
use super::signature::{Keys, Refusal, Request};
use super::{CatchUp, HOP, Names};
use crate::admission::token::Claims;
use crate::clock::Clock;
use crate::config::model::Fleet;
use crate::watermark::Watermark;

/// Who this node is.
pub struct Identity {
    /// What it is called.
    pub names: Names,
    keys: Keys,
    clock: Clock,
    catch_up: OnceLock<Arc<dyn CatchUp>>,
}

/// A request to a node of the next tier, or of the same one.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// What this node is to the other one.
    pub role: Role,
    /// The method.
    pub method: &'a str,
    /// `Host` as it is sent.
    pub host: &'a str,
    /// Path and query as they are sent.
    pub target: &'a [u8],
    /// Nodes that the request has passed before this one.
    pub nodes: u32,
    /// How long the answer is waited for on purpose.
    pub hold: Option<Duration>,
    /// What the viewer's token says, as far as the key is made of it.
    pub claims: &'a Claims,
}

impl Identity {
    /// The identity of a node of this fleet.
    pub fn new(fleet: &Fleet, clock: Clock) -> Identity {
        let (names, keys) = (Names::new(fleet.name.as_deref()), Keys::new(&fleet.keys));
        Identity { names, keys, clock, catch_up: OnceLock::new() }
    }

    /// Has this one say from now on how much of what the fleet was told the node has applied; the first one stays.
    pub fn follow(&self, catch_up: Arc<dyn CatchUp>) {
        let _ = self.catch_up.set(catch_up);
    }

    /// Whether the node has applied as much as another one has, or does within `wait`. A node that nothing brings up to date has
    /// nothing to wait for.
    pub async fn catch_up(&self, theirs: Watermark, wait: Duration) -> bool {
        let Some(catch_up) = self.catch_up.get() else { return true };
        if catch_up.watermark().is_some_and(|own| own >= theirs) {
            return true;
        }
        tokio::time::timeout(wait, catch_up.reach(theirs)).await == Ok(true)
    }

    /// The value of [`HOP`] for a request: signed where the node has keys.
    pub fn sign(&self, asking: &Asking<'_>) -> Option<HeaderValue> {
        let hop = Hop {
            role: asking.role,
            name: self.names.node.clone(),
            nodes: asking.nodes.saturating_add(1),
            watermark: self.catch_up.get().and_then(|catch_up| catch_up.watermark()),
            hold: asking.hold,
            claims: asking.claims.clone(),
        };
        let request = Request { method: asking.method, host: asking.host, target: asking.target };
        let mut value =
            HeaderValue::from_str(&self.keys.sign(&hop, &request, self.clock.unix_seconds())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The node that a request with these fields comes from; None: it says nothing of one. `trusted` says that its connection
    /// has shown a certificate of a node: then the field need not be signed, nor be there.
    ///
    /// # Errors
    /// Why what it says is not believed.
    pub fn verify(
        &self,
        headers: &HeaderMap,
        (method, host, target): (&str, &str, &[u8]),
        trusted: bool,
    ) -> Result<Option<Hop>, Refusal> {
        let mut fields = headers.get_all(HOP).iter();
        match (fields.next(), fields.next()) {
            (None, _) if trusted => Ok(Some(Hop {
                role: Role::Edge,
                name: "certificate".into(),
                nodes: 1,
                watermark: None,
                hold: None,
                claims: Claims::NONE,
            })),
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(Refusal::Malformed),
            (Some(field), None) => {
                let request = Request { method, host, target };
                self.keys.verify(field.as_bytes(), &request, self.clock.unix_seconds(), trusted).map(Some)
            }
        }
    }
}

impl Default for Identity {
    /// A node of no fleet.
    fn default() -> Identity {
        Identity::new(&Fleet::default(), Clock::system())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::future::Future;
    use std::pin::Pin;

    use tokio::sync::watch;

    use super::*;
    use crate::config::model::{NodeKey, Secret};

    const NO_CLAIMS: &Claims = &Claims::NONE;

    /// A bus whose entries a test applies.
    struct Bus(watch::Sender<Option<Watermark>>);

    impl CatchUp for Bus {
        fn watermark(&self) -> Option<Watermark> {
            *self.0.borrow()
        }

        fn reach(&self, watermark: Watermark) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
            let mut applied = self.0.subscribe();
            Box::pin(async move { applied.wait_for(|own| *own >= Some(watermark)).await.is_ok() })
        }
    }

    fn identity() -> Identity {
        let keys = vec![NodeKey { id: "n1".to_owned(), secret: Secret(vec![7; 32]) }];
        Identity::new(&Fleet { name: Some("edge-1".to_owned()), keys, ..Fleet::default() }, Clock::system())
    }

    fn at(millis: u64) -> Watermark {
        Watermark { millis, sequence: 0 }
    }

    #[test]
    fn a_node_tells_how_much_it_has_applied_as_it_asks() {
        let bus = Arc::new(Bus(watch::Sender::new(None)));
        let edge = identity();
        edge.follow(Arc::clone(&bus) as _);
        let asking = Asking {
            role: Role::Peer,
            method: "GET",
            host: "edge.test",
            target: b"/a",
            nodes: 0,
            hold: None,
            claims: NO_CLAIMS,
        };
        for applied in [None, Some(at(3)), Some(at(4))] {
            bus.0.send_replace(applied);
            let mut headers = HeaderMap::new();
            headers.insert(HOP, edge.sign(&asking).unwrap());
            let hop = identity().verify(&headers, ("GET", "edge.test", b"/a"), false).unwrap().unwrap();
            assert_eq!((hop.watermark, hop.role, &*hop.name), (applied, Role::Peer, "edge-1"));
            headers.append(HOP, edge.sign(&asking).unwrap());
            let twice = identity().verify(&headers, ("GET", "edge.test", b"/a"), false);
            assert_eq!(twice, Err(Refusal::Malformed));
        }
    }

    #[test]
    fn a_certificate_makes_a_request_a_nodes_whatever_else_it_says() {
        let verify = |headers: &HeaderMap, trusted| {
            identity()
                .verify(headers, ("GET", "edge.test", b"/a"), trusted)
                .map(|hop| hop.map(|hop| hop.role))
        };
        assert_eq!(verify(&HeaderMap::new(), true), Ok(Some(Role::Edge)));
        assert_eq!(verify(&HeaderMap::new(), false), Ok(None));
        let mut headers = HeaderMap::new();
        headers.insert(HOP, HeaderValue::from_static("v1;t=0;r=peer;n=a;d=1"));
        assert_eq!(verify(&headers, true), Ok(Some(Role::Peer)));
        assert_eq!(verify(&headers, false), Err(Refusal::Unsigned));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_is_behind_waits_for_so_long_and_no_longer() {
        let wait = Duration::from_millis(100);
        let node = identity();
        assert!(node.catch_up(at(9), wait).await, "nothing to wait for");
        let bus = Arc::new(Bus(watch::Sender::new(Some(at(5)))));
        node.follow(Arc::clone(&bus) as _);
        assert!(node.catch_up(at(5), wait).await && node.catch_up(at(4), wait).await);
        let began = tokio::time::Instant::now();
        assert!(!node.catch_up(at(6), wait).await);
        assert_eq!(began.elapsed(), wait);
        let apply = async {
            tokio::time::sleep(wait / 2).await;
            bus.0.send_replace(Some(at(7)));
        };
        let (reached, ()) = tokio::join!(node.catch_up(at(6), wait), apply);
        assert!(reached);
    }
}
