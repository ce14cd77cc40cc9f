//! The steering manifest: who asks, and the answer. The order of the pathways is [`crate::steering`]'s decision.
//!
//! Made for each request and never kept: it depends on the player, and on what the node knows this moment. Nothing of it
//! reaches the origin.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, USER_AGENT, VIA, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, StatusCode};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::record::cmcd;
use super::{Edge, RequestCtx};
use crate::asset::Kind;
use crate::deliver::refuse::Refused;
use crate::deliver::{fields, send};
use crate::observe::cmcd::Cmcd;
use crate::outcome::Outcome;
use crate::site::Site;
use crate::steering::egress::Egress;
use crate::steering::{Standing, Steering, SteeringSeries, reports};
use crate::tier::Names;

/// What steering needs to know of the node, and where it counts.
pub struct Steerer {
    /// Whether the node should get traffic.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// By the places of sites; None for those without steering.
    pub series: Vec<Option<SteeringSeries>>,
    /// Where what is sent is counted. None: nobody asks.
    pub egress: Option<Arc<Egress>>,
}

impl Edge {
    /// Answers a request for the site's steering manifest.
    pub(super) async fn steer(
        &self,
        session: &mut Session,
        ctx: &mut RequestCtx,
        site: &Site,
        steering: &Steering,
    ) -> Result<bool> {
        ctx.kind = Kind::Api;
        let request = session.req_header();
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return self.refuse(session, ctx, METHOD).await;
        }
        let query = request.uri.query();
        let series = self.steerer.series.get(site.place).and_then(Option::as_ref);
        let standing = Standing { ready: (self.steerer.ready)(), has_origin: site.origin.is_available() };
        let order = steering.order(standing, player(session, ctx, steering));
        if let Some(series) = series.filter(|_| request.method == Method::GET) {
            order.first().iter().for_each(|place| series.given(**place));
            for (place, throughput) in
                query.map_or_else(Vec::new, |query| reports(query, steering.pathways()))
            {
                series.throughput(place, throughput);
            }
        }
        let reload_uri = steering.reload_uri(standing, query);
        let body = Bytes::from(steering.manifest(&order, reload_uri.as_deref()));
        let mut header = header(&body, &self.identity.names);
        if let Some(cors) = ctx.cors(site) {
            fields::share(&mut header, cors.headers(&request.headers));
        }
        fields::append_all(&mut header, &ctx.fields);
        // What is for this player alone is not even kept by its own cache.
        fields::set(&mut header, CACHE_CONTROL, HeaderValue::from_static("no-store"));
        ctx.outcome = Outcome::Bypass;
        ctx.first_byte = Some(std::time::Instant::now());
        send::text(session.as_mut(), header, body).await?;
        Ok(true)
    }
}

/// The site takes other methods, the manifest does not.
const METHOD: Refused = Refused {
    status: 405,
    reason: "method",
    allow: Some(HeaderValue::from_static("GET, HEAD")),
    fields: Vec::new(),
    outcome: Outcome::Denied,
    forward: None,
    detail: None,
};

/// Who asks: as for the count of viewers, its token's session, else its CMCD session, else its address and user agent.
fn player(session: &Session, ctx: &RequestCtx, steering: &Steering) -> u64 {
    if let Some(named) = ctx.token.as_ref().and_then(|token| token.terms().session.as_deref()) {
        return steering.player(&[b"token", named.as_bytes()]);
    }
    if let Some(cmcd) = cmcd(session)
        && let Some(sid) = Cmcd::session_id(&cmcd)
    {
        return steering.player(&[b"cmcd", sid.as_bytes()]);
    }
    let agent = session.req_header().headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    steering.player(&[b"client", ctx.client.to_canonical().to_string().as_bytes(), agent])
}

fn header(body: &Bytes, names: &Names) -> ResponseHeader {
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = StatusCode::OK;
    let mut header = ResponseHeader::from(parts);
    fields::set(&mut header, CONTENT_TYPE, HeaderValue::from_static("application/json"));
    fields::set(&mut header, CONTENT_LENGTH, HeaderValue::from(body.len()));
    fields::set(&mut header, X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    fields::set(&mut header, VIA, names.via.clone());
    header
}
