//! Bodies that break off on their way from an origin: the rest is asked for and joined to what has come, so that readers
//! notice nothing.
//!
//! Decides which bytes are asked for, whether an answer holds the rest of the very same version (RFC 9110 sections 13.1.5
//! and 15.3.7), and when it is given up: nothing is joined that no strong validator vouches for. Called by whoever reads
//! a body from an origin, through [`Fill::next`]: what is kept whole, what streams through a window, slices, and what
//! mends a damaged disk. A playlist that cannot be gone on with is read from its start again ([`super::playlist`]).

use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Buf, Bytes};
use http::StatusCode;
use http::header::{ETAG, HeaderValue, IF_RANGE, RANGE};
use pingora::http::ResponseHeader;

use super::Fill;
use crate::coalesce::slices::part_of;
use crate::origin::{FetchReason, Framing, OriginError, OriginResponse, Resumption, range_field, range_from};
use crate::store::Version;
use crate::store::version::{joining_validator, names_version};

/// Attempts to go on with one body in all, however much each of them brings. An origin that breaks each transfer at a
/// random byte takes about as many as the length has binary digits.
pub(super) const RESUMES_MAX: u32 = 100;

/// Bytes that are read and left out of one body in all, where its origin sends the whole again in place of the rest.
pub(super) const LEFT_OUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How far a body has come, and what it takes to have the rest of it sent.
#[derive(Debug)]
pub(in crate::coalesce) struct Place {
    /// Offset in the whole of the next byte to come.
    at: u64,
    /// Where what is wanted ends in the whole; None: not known yet.
    end: Option<u64>,
    /// Length of the whole; None: not known yet.
    total: Option<u64>,
    /// Where the answer that is being read ends in the whole, as far as is known.
    until: Option<u64>,
    /// Bytes of that answer that have come before.
    behind: u64,
    /// What `If-Range` is sent with; None: the body cannot be gone on with.
    validator: Option<HeaderValue>,
    /// Whether an answer has shown that the origin has another version by now.
    changed: bool,
    /// Attempts since the last byte.
    idle: u32,
    /// Attempts in all.
    attempts: u32,
    /// Bytes left out in all.
    left_out: u64,
}

/// What an answer holds of a body that broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    /// Length of the whole, where it is told.
    total: Option<u64>,
    /// Where it ends in the whole, where that is told.
    until: Option<u64>,
    /// Bytes that have come before.
    behind: u64,
}

/// Why an answer is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoRest {
    /// An error that may pass.
    Error,
    /// It is of another version, or does not say so clearly that it is of this one.
    Changed,
    /// The origin has no rest to give, or none that is worth its bytes.
    Refused,
}

// === Place: pure ===

impl Place {
    /// The beginning of the body of an answer to a request for the whole.
    pub(super) fn of(header: &ResponseHeader, framing: Framing, now: SystemTime) -> Place {
        let len = match framing {
            Framing::Length(len) => Some(len),
            Framing::NoBody => Some(0),
            Framing::Chunked | Framing::Close => None,
        };
        let is_whole = header.status == StatusCode::OK;
        let validator = is_whole.then(|| joining_validator(&header.headers, now)).flatten();
        Place { end: len, total: len, until: len, validator, ..Place::begin() }
    }

    /// The beginning of the bytes of a version from `start` to before `end`.
    pub(in crate::coalesce) fn of_part(version: &Version, start: u64, end: u64) -> Place {
        let validator = Some(version.validator.clone());
        let total = Some(version.len);
        Place { at: start, end: Some(end), total, until: Some(end), validator, ..Place::begin() }
    }

    fn begin() -> Place {
        Place {
            at: 0,
            end: None,
            total: None,
            until: None,
            behind: 0,
            validator: None,
            changed: false,
            idle: 0,
            attempts: 0,
            left_out: 0,
        }
    }

    /// Length of the whole, as far as it is known.
    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// Whether the origin was found to have another version.
    pub(in crate::coalesce) fn has_changed(&self) -> bool {
        self.changed
    }

    /// Attempts since the last byte; as many as may ever be where all are used up.
    pub(super) fn attempts_in_vain(&self) -> u32 {
        if self.attempts < RESUMES_MAX { self.idle } else { u32::MAX }
    }

    /// Whether nothing more is to come.
    fn is_at_end(&self) -> bool {
        self.end == Some(self.at)
    }

    /// Takes the next bytes of the answer; gives those that are new.
    fn take(&mut self, mut data: Bytes) -> Bytes {
        let len = |data: &Bytes| data.len() as u64;
        let behind = self.behind.min(len(&data));
        // Not more than there are.
        data.advance(usize::try_from(behind).unwrap_or(data.len()));
        self.behind -= behind;
        self.left_out += behind;
        let room = self.until.map_or(u64::MAX, |until| until.saturating_sub(self.at));
        data.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        if !data.is_empty() {
            self.at += len(&data);
            self.idle = 0;
        }
        data
    }

    /// The first byte that is asked for. Where the length is not known, that is the last one that has come: all may have
    /// come but word of the end, and of no bytes there is no part.
    fn first_wanted(&self) -> u64 {
        if self.total.is_some() { self.at } else { self.at.saturating_sub(1) }
    }

    /// `Range` for what is missing.
    fn wanted(&self) -> HeaderValue {
        match self.end.filter(|_| self.end != self.total) {
            Some(end) => range_field(self.first_wanted(), end.saturating_sub(1)),
            None => range_from(self.first_wanted()),
        }
    }

    /// Whether another attempt may be made, of `in_a_row` without a byte.
    fn may_go_on(&self, in_a_row: u32) -> bool {
        self.validator.is_some() && self.idle < in_a_row && self.attempts < RESUMES_MAX
    }

    /// What an answer to a request for the rest holds of it.
    fn rest_in(&self, header: &ResponseHeader, framing: Framing) -> Result<Rest, NoRest> {
        let validator = self.validator.as_ref().ok_or(NoRest::Changed)?;
        let named = names_version(validator, &header.headers);
        let is_total = |total: u64| self.total.is_none_or(|known| known == total) && total >= self.at;
        match header.status {
            StatusCode::PARTIAL_CONTENT => {
                // A date need not be repeated in an answer to `If-Range`.
                let is_date = !validator.as_bytes().starts_with(b"\"");
                if !named.unwrap_or(is_date) {
                    return Err(NoRest::Changed);
                }
                let part = part_of(header, framing).ok_or(NoRest::Refused)?;
                if !is_total(part.total) {
                    return Err(NoRest::Changed);
                }
                if part.first != self.first_wanted() {
                    return Err(NoRest::Refused);
                }
                let behind = self.at - part.first;
                Ok(Rest { total: Some(part.total), until: Some(part.last + 1), behind })
            }
            StatusCode::OK if named != Some(true) => Err(NoRest::Changed),
            // Of the same version, from its beginning.
            StatusCode::OK => {
                let total = match framing {
                    Framing::Length(total) => Some(total),
                    Framing::Chunked => self.total,
                    Framing::Close | Framing::NoBody => return Err(NoRest::Refused),
                };
                if total.is_some_and(|total| !is_total(total)) {
                    return Err(NoRest::Changed);
                }
                if self.left_out.saturating_add(self.at) > LEFT_OUT_BYTES_MAX {
                    return Err(NoRest::Refused);
                }
                Ok(Rest { total, until: total, behind: self.at })
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => Err(NoRest::Error),
            status if status.is_server_error() => Err(NoRest::Error),
            _ => Err(NoRest::Refused),
        }
    }

    /// Goes on with another answer.
    fn go_on_with(&mut self, rest: Rest) {
        self.total = rest.total;
        // Of a part, what is wanted ends where it did.
        self.end = self.end.or(rest.total);
        self.until = match (rest.until, self.end) {
            (Some(until), Some(end)) => Some(until.min(end)),
            (until, end) => until.or(end),
        };
        self.behind = rest.behind;
    }
}

// === Fill: asking for the rest ===

impl Fill<'_> {
    /// The beginning of the body of an answer for the whole.
    pub(super) fn place_of(&self, response: &OriginResponse) -> Place {
        Place::of(&response.header, response.framing(), self.coalescer.clock.now())
    }

    /// The next bytes of a body, never empty, however often it breaks off on the way; None after its end. `response`
    /// keeps the header that it came with.
    ///
    /// # Errors
    /// It has broken off for good.
    pub(in crate::coalesce) async fn next(
        &self,
        response: &mut OriginResponse,
        place: &mut Place,
    ) -> Result<Option<Bytes>, OriginError> {
        loop {
            if place.is_at_end() {
                return Ok(None);
            }
            let broken = if place.until == Some(place.at) && place.behind == 0 {
                short(response, "it was a part of what is missing alone")
            } else {
                match response.chunk().await {
                    Ok(Some(data)) => {
                        let data = place.take(data);
                        if !data.is_empty() {
                            return Ok(Some(data));
                        }
                        continue;
                    }
                    Ok(None) if place.end.is_none() && place.behind == 0 => return Ok(None),
                    Ok(None) => short(response, "it ended too early"),
                    Err(error) => error,
                }
            };
            // Boxed: rare, and its state is large.
            Box::pin(self.resume(response, place, broken)).await?;
        }
    }

    /// Tells that a body has broken off for good: for those who read it, too.
    pub(in crate::coalesce) fn note_broken(&self, error: &OriginError) {
        self.job.origin.count_resumption(Resumption::GivenUp);
        tracing::warn!(key = %self.flight.key.text, %error, "a fetch broke off");
    }

    /// Has the rest of a body sent that broke off.
    ///
    /// # Errors
    /// How it broke off, where the rest cannot be had.
    async fn resume(
        &self,
        response: &mut OriginResponse,
        place: &mut Place,
        broken: OriginError,
    ) -> Result<(), OriginError> {
        let origin = &self.job.origin;
        let key = &self.flight.key.text;
        loop {
            let in_time = !matches!(broken, OriginError::TotalTimeout { .. });
            if !in_time || !place.may_go_on(origin.resumes_in_a_row()) || !self.may_ask_again() {
                return Err(broken);
            }
            // Its turn may be the one that is waited for.
            response.give_up();
            place.idle += 1;
            place.attempts += 1;
            let attempt = place.attempts;
            tracing::debug!(%key, server = %response.server, at = place.at, attempt, error = %broken, "a transfer broke off; asking for the rest");
            tokio::time::sleep(self.job.origin.pause(place.idle)).await;
            let mut headers = self.headers();
            headers.insert(RANGE, place.wanted());
            headers.extend(place.validator.clone().map(|validator| (IF_RANGE, validator)));
            let mut next = match self.ask_origin(&self.request(headers, FetchReason::Resume)).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::debug!(%key, %error, "the rest of a transfer could not be asked for");
                    origin.count_resumption(Resumption::Failed);
                    continue;
                }
            };
            let rest = match place.rest_in(&next.header, next.framing()) {
                Ok(_) if is_retagged(&response.header, &next.header) => Err(NoRest::Changed),
                rest => rest,
            };
            match rest {
                Ok(rest) => {
                    origin.count_resumption(Resumption::Resumed);
                    place.go_on_with(rest);
                    response.gone_on_with();
                    std::mem::swap(&mut next.header, &mut response.header);
                    *response = next;
                    return Ok(());
                }
                Err(NoRest::Error) => origin.count_resumption(Resumption::Failed),
                Err(why) => {
                    let status = next.header.status.as_u16();
                    tracing::warn!(%key, server = %next.server, status, ?why, "a transfer that broke off cannot be gone on with");
                    place.changed = why == NoRest::Changed;
                    origin.count_resumption(Resumption::Refused);
                    return Err(broken);
                }
            }
        }
    }
}

/// Whether an answer has another entity tag than the first one had: also a weak one that differs tells of another version,
/// where a date is what the parts are joined by.
fn is_retagged(first: &ResponseHeader, next: &ResponseHeader) -> bool {
    let tags = first.headers.get(ETAG).zip(next.headers.get(ETAG));
    tags.is_some_and(|(first, next)| first != next)
}

/// An answer that has ended before the body does.
fn short(response: &OriginResponse, reason: &str) -> OriginError {
    OriginError::BrokenBody { server: Arc::clone(&response.server), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
