//! Tokens for people to look at: every reason for which one is refused, where admission stops at the first.
//!
//! Authenticates and evaluates by the functions of admission. Keeps no verdict, and uses up nothing.

use std::borrow::Cow;

use super::find::Found;
use super::format::Format;
use super::{Policy, Presented, Terms, Verdict};
use crate::config::model::TokenPlace;
use crate::reason::Reason;

/// What was found out about a token.
#[derive(Debug)]
pub struct Examined<'a> {
    /// Its text, as received.
    pub text: Cow<'a, str>,
    /// Where it stood.
    pub place: TokenPlace,
    /// Whether it is a session token.
    pub by_session: bool,
    /// The genuine token, or why it is none.
    pub verdict: Result<Verdict, Reason>,
    /// Every reason for which it is refused, each once, in the order of evaluation. None: it is admitted.
    pub refusals: Vec<Reason>,
}

impl Policy {
    /// Looks at the tokens of a request: the session token, a renewed one, then the policy's own. The request is admitted where one of
    /// them has no refusals. `request` is as for [`Policy::admit`].
    ///
    /// # Errors
    /// [`Reason::Missing`], or [`Reason::Malformed`] where one is there twice.
    pub fn examine<'a>(&'a self, request: &Presented<'a>) -> Result<Vec<Examined<'a>>, Reason> {
        let finder = self.finder();
        let path = finder.path(request.path);
        if path.segments.count < 2 && finder.is_left_in(request.normal, &path) {
            return Err(Reason::Malformed);
        }
        let finds = finder.find(&path, request)?;
        let presented = Presented { path: &path.rest, names: &self.names.query, ..*request };
        let mut examined = Vec::new();
        if let (Some(found), Some(sessions)) = (finds.session, &self.session) {
            examined.push(self.look_at(found, sessions, true, &presented));
        }
        for found in finds.renewed.into_iter().chain(finds.own) {
            examined.push(self.look_at(found, &*self.format, false, &presented));
        }
        if examined.is_empty() { Err(Reason::Missing) } else { Ok(examined) }
    }

    fn look_at<'a>(
        &self,
        found: Found<'a>,
        format: &dyn Format,
        by_session: bool,
        request: &Presented<'_>,
    ) -> Examined<'a> {
        let request = Presented { place: found.place, ..*request };
        let verdict = if found.token.len() > super::TOKEN_BYTES_MAX {
            Err(Reason::Malformed)
        } else {
            let genuine = self.authenticate(&found.token, format, &request);
            genuine.map(|(text, genuine)| Verdict::new(&found.token, &text, genuine.key_id, genuine.terms))
        };
        let refusals = match &verdict {
            Ok(verdict) => self.refusals(&verdict.terms, &request),
            Err(reason) => vec![*reason],
        };
        Examined { text: found.token, place: found.place, by_session, verdict, refusals }
    }

    fn refusals(&self, terms: &Terms, request: &Presented<'_>) -> Vec<Reason> {
        let times = Terms { expires: terms.expires, not_before: terms.not_before, ..Terms::default() };
        let mut reasons: Vec<Reason> = times.allow(request, self.leeway).err().into_iter().collect();
        for reason in terms.checks.iter().chain(&self.checks).filter_map(|check| check.check(request).err()) {
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        reasons
    }
}
