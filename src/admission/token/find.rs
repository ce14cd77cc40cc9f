//! Finds the token of a request: in which place, under which name, and that there are not two.

use std::borrow::Cow;

use http::HeaderName;
use http::header::{AUTHORIZATION, COOKIE};
use percent_encoding::percent_decode_str;

use super::format::{Form, Format};
use super::locate;
use super::{Presented, TOKEN_BYTES_MAX, TOKEN_FIELDS_MAX};
use crate::config::model::TokenPlace;
use crate::reason::Reason;

/// Bytes that a parameter's name and what divides it take, about.
const NAME_BYTES: usize = 24;

/// The places of session tokens, in the order they are looked at.
const SESSION_PLACES: [TokenPlace; 3] = [TokenPlace::Path, TokenPlace::Query, TokenPlace::Cookie];

/// The names of a policy's tokens, by place. In each list the name of session tokens comes last, where there is one.
#[derive(Debug)]
pub(super) struct Names {
    /// Of query parameters, path parameters and header fields.
    pub(super) query: Vec<String>,
    /// Of cookies.
    pub(super) cookies: Vec<String>,
    /// Of leading path segments.
    pub(super) path: Vec<String>,
    /// Of header fields: the names of query parameters, ready to be looked up. None: no field can be called so.
    fields: Vec<Option<HeaderName>>,
    /// Whether the last name is that of session tokens.
    has_session: bool,
}

/// A token where it was found.
#[derive(Clone, Debug)]
pub(super) struct Found<'a> {
    /// Where.
    pub(super) place: TokenPlace,
    /// Under which of the names of that place.
    pub(super) name: usize,
    /// Its text, as received.
    pub(super) token: Cow<'a, str>,
}

/// What was found: the policy's own token, that token renewed by cookie, and a session token.
#[derive(Debug, Default)]
pub(super) struct Finds<'a> {
    pub(super) renewed: Option<Found<'a>>,
    pub(super) own: Option<Found<'a>>,
    pub(super) session: Option<Found<'a>>,
}

/// A path, taken apart at its tokens.
pub(super) struct Path<'a> {
    /// Leading token segments.
    pub(super) segments: locate::Segments<'a>,
    /// A token further back.
    inner: Option<Inner<'a>>,
    /// The path without tokens, never empty.
    pub(super) rest: Cow<'a, str>,
}

impl Names {
    pub(super) fn new(form: &Form, names: &[String], session: Option<&str>) -> Names {
        let session = || session.map(str::to_owned);
        let (query, cookies, path) = match form {
            Form::Value => (names.to_vec(), names.to_vec(), names.to_vec()),
            Form::Parameters { names, cookie_prefix, path_name } => (
                names.clone(),
                // Without a prefix, names as common as `expires` would hide other cookies.
                names
                    .iter()
                    .filter(|_| !cookie_prefix.is_empty())
                    .map(|name| format!("{cookie_prefix}{name}"))
                    .collect(),
                path_name.iter().map(|name| (*name).to_owned()).collect(),
            ),
        };
        let with_session = |names: Vec<String>| names.into_iter().chain(session()).collect();
        let query: Vec<String> = with_session(query);
        Names {
            fields: query.iter().map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect(),
            query,
            cookies: with_session(cookies),
            path: with_session(path),
            has_session: session().is_some(),
        }
    }

    /// The name of a find.
    pub(super) fn name(&self, found: &Found<'_>) -> &str {
        let names = match found.place {
            TokenPlace::Path => &self.path,
            TokenPlace::Cookie => &self.cookies,
            _ => &self.query,
        };
        names.get(found.name).map_or("", String::as_str)
    }

    /// Whether a name of a list is that of session tokens.
    pub(super) fn is_session(&self, names: &[String], name: usize) -> bool {
        self.has_session && name + 1 == names.len()
    }
}

/// A token that is no leading segment.
#[derive(Clone, Copy)]
struct Inner<'a> {
    /// Which of the names it has; None: the format found it by itself.
    name: Option<usize>,
    token: &'a str,
    /// Whether there is another.
    again: bool,
}

/// What tokens are looked for by.
#[derive(Clone, Copy)]
pub(super) struct Finder<'p> {
    pub(super) names: &'p Names,
    pub(super) places: &'p [TokenPlace],
    pub(super) form: &'p Form,
    pub(super) format: &'p dyn Format,
    pub(super) session: Option<&'p dyn Format>,
}

impl Finder<'_> {
    /// Takes a path apart.
    pub(super) fn path<'a>(&self, path: &'a str) -> Path<'a> {
        let segments = self.segments(path);
        let rest = segments.rest;
        let is_parameter = self.places.contains(&TokenPlace::PathParameter);
        if is_parameter
            && *self.form == Form::Value
            && let Some(found) = locate::path_parameter(rest, &self.names.query)
        {
            let inner = Some(Inner { name: Some(found.name), token: found.token, again: found.again });
            return Path { segments, inner, rest: Cow::Owned(found.rest) };
        }
        if (is_parameter || self.places.contains(&TokenPlace::Path))
            && let Some(found) = self.format.find_in_path(rest)
        {
            let inner = Some(Inner { name: None, token: found.token, again: false });
            return Path { segments, inner, rest: found.rest };
        }
        Path { segments, inner: None, rest: Cow::Borrowed(rest) }
    }

    /// Whether the normal form of a path, which has been taken apart, begins with a token all the same.
    pub(super) fn is_left_in(&self, normal: &str, path: &Path<'_>) -> bool {
        // What is left of a path after its leading tokens begins with none.
        let is_rest = path.inner.is_none() && *path.rest == *normal;
        !is_rest && self.segments(normal).count > 0
    }

    /// Takes the leading tokens off a path.
    fn segments<'a>(&self, path: &'a str) -> locate::Segments<'a> {
        locate::split_path(path, &self.names.path, |name, text| match self.session {
            Some(session) if self.names.is_session(&self.names.path, name) => session.length_in_path(text),
            _ => self.format.length_in_path(text),
        })
    }

    /// Finds the tokens of a request.
    ///
    /// # Errors
    /// [`Reason::Malformed`] where one is there twice.
    pub(super) fn find<'a>(&self, path: &Path<'a>, request: &Presented<'a>) -> Result<Finds<'a>, Reason> {
        if path.segments.count > 1 || path.inner.is_some_and(|inner| inner.again) {
            return Err(Reason::Malformed);
        }
        let mut search = Search {
            own: Best::default(),
            renewed: Best::default(),
            session: Best::default(),
            finder: *self,
        };
        if let Some((name, token)) = path.segments.token {
            search.note(TokenPlace::Path, &self.names.path, name, token);
        }
        if let Some(Inner { name, token, .. }) = path.inner {
            let parameter = self.places.iter().position(|place| *place == TokenPlace::PathParameter);
            let place = if parameter.is_some() { TokenPlace::PathParameter } else { TokenPlace::Path };
            match name {
                Some(name) => search.note(place, &self.names.query, name, token),
                None => {
                    let rank = self.places.iter().position(|known| *known == place).unwrap_or(0);
                    search.own.note_several(rank, Found { place, name: 0, token: Cow::Borrowed(token) });
                }
            }
        }
        let parameters = request.query.into_iter().flat_map(|query| query.split('&'));
        search.list(TokenPlace::Query, &self.names.query, parameters, locate::parameter)?;
        if request.headers.contains_key(COOKIE) {
            let fields = request.headers.get_all(COOKIE).iter();
            let fields = fields.filter_map(|value| std::str::from_utf8(value.as_bytes()).ok());
            let pairs = fields.flat_map(|field| field.split(';'));
            search.list(TokenPlace::Cookie, &self.names.cookies, pairs, locate::cookie)?;
        }
        if self.places.contains(&TokenPlace::Header) {
            search.headers(request)?;
        }
        Ok(Finds {
            own: search.own.only()?,
            renewed: search.renewed.only()?,
            session: search.session.only()?,
        })
    }
}

struct Search<'p, 'a> {
    own: Best<'a>,
    renewed: Best<'a>,
    session: Best<'a>,
    finder: Finder<'p>,
}

impl<'a> Search<'_, 'a> {
    fn note(&mut self, place: TokenPlace, names: &[String], name: usize, token: &'a str) {
        let is_session = self.finder.names.is_session(names, name);
        let places = if is_session { &SESSION_PLACES[..] } else { self.finder.places };
        let Some(rank) = places.iter().position(|known| *known == place) else { return };
        let found = Found { place, name, token: Cow::Borrowed(token) };
        match place {
            _ if is_session => self.session.note_session(rank, found),
            TokenPlace::Cookie if self.finder.format.renews_by_cookie() => self.renewed.note(rank, found),
            _ => self.own.note(rank, found),
        }
    }

    /// The tokens of a list of pairs: of a query, or of cookies.
    fn list(
        &mut self,
        place: TokenPlace,
        names: &[String],
        pairs: impl Iterator<Item = &'a str>,
        named: impl Fn(&'a str, &[String]) -> Option<(usize, &'a str)>,
    ) -> Result<(), Reason> {
        let several = match self.finder.form {
            Form::Parameters { names, .. } if self.finder.places.contains(&place) => Some(names),
            _ => None,
        };
        // On the stack: names are few, and none comes twice.
        let mut parts = [(0, ""); TOKEN_FIELDS_MAX];
        let mut count = 0;
        for (name, token) in pairs.filter_map(|pair| named(pair, names)) {
            match several {
                Some(_) if !self.finder.names.is_session(names, name) => {
                    if parts.iter().take(count).any(|(known, _)| *known == name) {
                        return Err(Reason::Malformed);
                    }
                    *parts.get_mut(count).ok_or(Reason::Malformed)? = (name, token);
                    count += 1;
                }
                _ => self.note(place, names, name, token),
            }
        }
        let parts = parts.get(..count).unwrap_or_default();
        if let Some(names) = several.filter(|_| !parts.is_empty()) {
            let bytes: usize = parts.iter().map(|(_, token)| token.len() + NAME_BYTES).sum();
            if bytes > 2 * TOKEN_BYTES_MAX {
                return Err(Reason::Malformed);
            }
            let mut text = String::with_capacity(bytes);
            for &(name, token) in parts {
                if !text.is_empty() {
                    text.push('&');
                }
                text.push_str(names.get(name).map_or("", String::as_str));
                text.push('=');
                text.push_str(token);
            }
            if text.len() > TOKEN_BYTES_MAX {
                return Err(Reason::Malformed);
            }
            let rank = self.finder.places.iter().position(|known| *known == place).unwrap_or(0);
            self.own.note_several(rank, Found { place, name: 0, token: Cow::Owned(text) });
        }
        Ok(())
    }

    fn headers(&mut self, request: &Presented<'a>) -> Result<(), Reason> {
        let fields = self.finder.names.fields.iter().enumerate();
        for (place, name) in fields.filter_map(|(place, name)| Some((place, name.as_ref()?))) {
            let mut values = request.headers.get_all(name).iter();
            let (Some(value), more) = (values.next(), values.next()) else { continue };
            if more.is_some() {
                return Err(Reason::Malformed);
            }
            let text = value.to_str().map_err(|_| Reason::Malformed)?.trim();
            let text = match text.split_at_checked(7) {
                Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer ") => token.trim_start(),
                // Credentials of another scheme are for somebody else (RFC 9110 section 11.6.2).
                _ if *name == AUTHORIZATION && text.contains(' ') => continue,
                _ => text,
            };
            self.note(TokenPlace::Header, &self.finder.names.query, place, text);
        }
        Ok(())
    }
}

/// The token that counts among those found so far, and whether a name came twice.
#[derive(Default)]
struct Best<'a> {
    best: Option<(usize, Found<'a>)>,
    names_seen: u64,
    twice: bool,
}

impl<'a> Best<'a> {
    fn note(&mut self, rank: usize, found: Found<'a>) {
        // Names from the 64th on share one bit: two of them in one request are refused, never overlooked.
        let bit = 1_u64 << found.name.min(63);
        self.twice |= self.names_seen & bit != 0 && !self.is_sent_along(&found);
        self.names_seen |= bit;
        self.note_several(rank, found);
    }

    /// Whether this is the token found so far, which a player sends along by itself: its cookies and fields come with URIs
    /// that were given the same token.
    fn is_sent_along(&self, found: &Found<'_>) -> bool {
        let along = |place| matches!(place, TokenPlace::Cookie | TokenPlace::Header);
        self.best.as_ref().is_some_and(|(_, known)| {
            known.place != found.place
                && (along(known.place) || along(found.place))
                && known.name == found.name
                && percent_decode_str(&known.token).eq(percent_decode_str(&found.token))
        })
    }

    /// As [`Best::note`], for session tokens: a browser that was given one cookie for a folder and another for a folder in
    /// it sends both, the nearer folder's first (RFC 6265 section 5.4), and beside a token in the URL. In one path or
    /// query there are never two.
    fn note_session(&mut self, rank: usize, found: Found<'a>) {
        let same_place = self.best.as_ref().is_some_and(|(best, _)| *best == rank);
        self.twice |= same_place && found.place != TokenPlace::Cookie;
        self.note_several(rank, found);
    }

    /// As [`Best::note`], for what may stand in several places at once.
    fn note_several(&mut self, rank: usize, found: Found<'a>) {
        if self.best.as_ref().is_none_or(|(best, known)| (rank, found.name) < (*best, known.name)) {
            self.best = Some((rank, found));
        }
    }

    fn only(self) -> Result<Option<Found<'a>>, Reason> {
        if self.twice { Err(Reason::Malformed) } else { Ok(self.best.map(|(_, found)| found)) }
    }
}
