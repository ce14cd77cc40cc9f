//! What a player announces with an admitted request (CMCD `nor`, `nrr`): handed on to whoever fetches ahead.

use pingora::proxy::Session;

use super::record::{cmcd_headers, cmcd_of};
use super::{Edge, RequestCtx, asked};
use crate::admission::token::Presented;
use crate::observe::cmcd::Cmcd;
use crate::prefetch::next::Announced;
use crate::site::Site;

impl Edge {
    /// Has fetched ahead what the player says that it will ask for next, where a rule says so.
    pub(super) fn hear(&self, session: &Session, ctx: &RequestCtx, site: &Site) {
        let header = session.req_header();
        let request = asked(header, ctx);
        if !self.prefetcher.listens(site, &request) {
            return;
        }
        let in_query = || request.query.and_then(cmcd_of);
        let Some(cmcd) = in_query().or_else(|| cmcd_headers(&header.headers)) else { return };
        let host = super::lookup::host_sent(super::host(header));
        for next in Cmcd::next_objects(&cmcd) {
            let announced = Announced { object: next.path, range: next.range };
            let admits = |path: &str| self.admits_too(session, ctx, site, path);
            self.prefetcher.announce((site, Some(&host)), &request, &announced, admits);
        }
    }

    /// Whether the token that has admitted a request would admit one for this path (normal form) too. One that came in a
    /// header field is not there any more, and admits nothing.
    fn admits_too(&self, session: &Session, ctx: &RequestCtx, site: &Site, path: &str) -> bool {
        let Some(policy) = &site.token else { return true };
        let once = policy.entitlement.once || ctx.token.as_ref().is_none_or(|token| token.terms().once);
        let token = session.req_header().uri.path().get(..ctx.token_bytes).unwrap_or_default();
        let whole = format!("{token}{path}");
        let presented = Presented { path: &whole, normal: path, ..self.presented(session, ctx) };
        !once && policy.admit(&presented).is_ok()
    }
}
