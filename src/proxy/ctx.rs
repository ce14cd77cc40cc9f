//! What is known of one request while it passes the stations, until its record is made.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{HeaderName, HeaderValue};

use super::entry::Sent;
use crate::admission::cors::Cors;
use crate::admission::token::{Admission, Claims};
use crate::asset::Kind;
use crate::cache::Held;
use crate::observe::Denial;
use crate::origin::UpstreamPeer;
use crate::outcome::Outcome;
use crate::site::Site;
use crate::tier::Hop;

/// The share of its wait that the node before this one gets back.
const HOLD_MARGIN: u32 = 16;

/// Of a request without a token.
static NO_CLAIMS: Claims = Claims::NONE;

/// One request.
pub struct RequestCtx {
    /// When its header had been read.
    pub begun: Instant,
    /// The same, as time of day.
    pub started: SystemTime,
    /// Whose rules apply.
    pub site: Option<Arc<Site>>,
    /// What it asks for.
    pub kind: Kind,
    /// What became of it.
    pub outcome: Outcome,
    /// Why admission refused it.
    pub denial: Option<Denial>,
    /// Why it could not be answered, or broke off.
    pub error: Option<&'static str>,
    /// The client, after trusted proxies.
    pub client: IpAddr,
    /// Length of the leading path segment that is the token; what follows is the path.
    pub token_bytes: usize,
    /// The target as it was sent, where that is not its normal form.
    pub sent: Option<Sent>,
    /// The token that admits it.
    pub token: Option<Admission>,
    /// Fields that the answer gets for this viewer alone.
    pub fields: Vec<(HeaderName, HeaderValue)>,
    /// Which rules ask something of the request that it has.
    pub held: Held,
    /// When the first byte of the answer was about to be sent.
    pub first_byte: Option<Instant>,
    /// Time spent waiting for another request's fetch.
    pub coalesce_wait: Option<Duration>,
    /// Age and freshness left of the object, in seconds.
    pub age_and_ttl: Option<(i64, i64)>,
    /// The origin server that a pass-through request goes to, and its turn there.
    pub upstream: Option<UpstreamPeer>,
    /// Servers tried for a pass-through request.
    pub attempts: u32,
    /// The node that it comes from, if it is another node's, and not a viewer's.
    pub hop: Option<Arc<Hop>>,
    /// Whether that node knows of later purges than this one.
    pub behind: bool,
    /// It is a health check of the node, which is told nowhere.
    pub is_health_check: bool,
}

impl RequestCtx {
    /// What the token says, or what the node that has checked it tells of it.
    pub fn claims(&self) -> &Claims {
        match (&self.token, &self.hop) {
            (Some(token), _) => &token.terms().claims,
            (None, Some(hop)) => &hop.claims,
            (None, None) => &NO_CLAIMS,
        }
    }

    /// What the site says to pages of other origins. To another node it says nothing: that one says it to viewers.
    pub fn cors<'s>(&self, site: &'s Site) -> Option<&'s Cors> {
        site.cors.as_ref().filter(|_| self.hop.is_none())
    }

    /// How long it is held where a viewer's would be held for `own`: shorter than the node waits that it comes from, so that
    /// the answer is there in time.
    pub fn hold(&self, own: Duration) -> Duration {
        let told = self.hop.as_ref().and_then(|hop| hop.hold);
        told.map_or(own, |told| own.min(told - told / HOLD_MARGIN))
    }

    /// Whose limits of single clients it counts against; None: another node has counted it.
    pub fn counted_client(&self) -> Option<IpAddr> {
        self.hop.is_none().then_some(self.client)
    }

    /// Nothing known yet.
    pub fn new(now: SystemTime) -> RequestCtx {
        RequestCtx {
            begun: Instant::now(),
            started: now,
            site: None,
            kind: Kind::Other,
            outcome: Outcome::Error,
            denial: None,
            error: None,
            client: IpAddr::from([0, 0, 0, 0]),
            token_bytes: 0,
            sent: None,
            token: None,
            fields: Vec::new(),
            held: Held::default(),
            first_byte: None,
            coalesce_wait: None,
            age_and_ttl: None,
            upstream: None,
            attempts: 0,
            hop: None,
            behind: false,
            is_health_check: false,
        }
    }
}
