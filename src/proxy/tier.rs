//! Requests of other nodes: whether they are, and what they are spared.
//!
//! A node of the tier before has let the viewer in: its token, its address, its limits and its pages are that node's
//! business, and so is what each viewer gets of its own. What is shared is this one's: site, key, rules, limits of the node.

use pingora::proxy::Session;

use super::{Edge, RequestCtx};
use crate::admission::request::Refusal;
use crate::deliver::refuse::Refused;
use crate::tier::{HOP, loops};

use super::admit::denied;

impl Edge {
    /// Notes in `ctx` whether the request is another node's. What says so without proof is counted, and a viewer's: nobody is
    /// told why. True: it has said anything. `host` is the authority asked for.
    pub(super) fn note_hop(&self, session: &Session, ctx: &mut RequestCtx, host: &str) -> bool {
        let tls = session.digest().and_then(|digest| digest.ssl_digest.as_ref());
        // The library has checked it against `client_ca`; without that it asks for none.
        let trusted = tls.is_some_and(|tls| !tls.cert_digest.is_empty());
        let header = session.req_header();
        let says = header.headers.contains_key(HOP);
        if !trusted && !says {
            return false;
        }
        let request = (header.method.as_str(), host, header.raw_path());
        match self.identity.verify(&header.headers, request, trusted) {
            Ok(hop) => {
                hop.iter().for_each(|hop| self.tier.request(hop.role));
                ctx.hop = hop.map(Into::into);
            }
            Err(refusal) => {
                tracing::debug!(client = %ctx.client, %refusal, "a request is not the node's that it says it is");
                self.tier.refused(refusal);
            }
        }
        says
    }

    /// Refuses a request that has passed this node before (RFC 8586).
    ///
    /// # Errors
    /// The answer to it.
    pub(super) fn refuse_loop(&self, session: &Session, ctx: &mut RequestCtx) -> Result<(), Refused> {
        let header = session.req_header();
        if !header.headers.contains_key(loops::CDN_LOOP)
            || !loops::is_loop(&header.headers, &self.identity.names)
        {
            return Ok(());
        }
        self.tier.looped();
        tracing::warn!(
            client = %ctx.client,
            host = super::host(header),
            "a request has passed this node before: its origin leads back to it"
        );
        Err(denied(ctx, Refusal::Loop))
    }

    /// Waits until this node knows of the purges that the other one knows of, for so long and no longer. Where it does not, it
    /// answers with what it has, and has the other one keep nothing of it.
    pub(super) async fn catch_up(&self, ctx: &mut RequestCtx) {
        let Some(theirs) = ctx.hop.as_ref().and_then(|hop| hop.watermark) else { return };
        if !self.identity.catch_up(theirs, self.catch_up_wait).await {
            self.tier.behind();
            ctx.behind = true;
        }
    }
}
