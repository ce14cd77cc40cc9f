//! What a receiver is sent of a purge, and what its answer means.
//!
//! A status of 2xx is taken. What may pass (408, 409, 425, 429, 5xx, no answer) is sent again, after what `Retry-After` says
//! at least; any other status is a refusal: the same request would be refused again. Redirects are not followed.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use super::super::hook::SIGNATURE;
use super::Passed;
use crate::config::model::Forward;

use crate::store::purges::PurgeTarget;

/// The field that tells a receiver that it has seen a purge before.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a body without a type of its own is.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What stays as it is where a word is percent-encoded: the unreserved characters (RFC 3986 section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How a word is written where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As it is.
    Plain,
    /// As part of a path: a path as it is, anything else percent-encoded.
    Path,
    /// Percent-encoded.
    Encoded,
    /// As the content of a JSON string.
    Json,
}

/// What became of an attempt.
#[derive(Debug)]
pub(super) enum Sent {
    /// The receiver has taken it.
    Taken,
    /// It will not, and says why.
    Refused(String),
    /// It may later; after so long at the least.
    Failed(String, Option<Duration>),
}

/// What is sent to one place.
pub(super) struct Message {
    config: Forward,
    agent: ureq::Agent,
    body_form: Form,
}

impl Message {
    pub(super) fn new(config: &Forward) -> Message {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(config.timeout))
            .max_redirects(0)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .build()
            .into();
        let of_type = |(_, value): &(HeaderName, String)| {
            let value = value.to_ascii_lowercase();
            if value.contains("json") {
                Form::Json
            } else if value.starts_with("application/x-www-form-urlencoded") {
                Form::Encoded
            } else {
                Form::Plain
            }
        };
        let named = config.headers.iter().find(|(name, _)| *name == CONTENT_TYPE);
        let body_form = named.map_or(Form::Json, of_type);
        Message { config: config.clone(), agent, body_form }
    }

    /// Sends a purge; `now` is in Unix seconds. Blocks for `timeout` at most.
    pub(super) fn send(&self, purge: &Passed, now: u64) -> Sent {
        let request = match self.request(purge, now) {
            Ok(request) => request,
            Err(error) => return Sent::Refused(format!("no request could be made of it: {error}")),
        };
        let answer = if request.body().is_empty() {
            self.agent.run(request.map(drop))
        } else {
            self.agent.run(request)
        };
        let answer = match answer {
            Ok(answer) => answer,
            // It may hold the URL, and no secret.
            Err(error) => return Sent::Failed(error.to_string(), None),
        };
        let status = answer.status();
        let what = format!("status {}", status.as_u16());
        if status.is_success() {
            Sent::Taken
        } else if status.is_server_error() || [408, 409, 425, 429].contains(&status.as_u16()) {
            let after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Sent::Failed(what, after.map(Duration::from_secs))
        } else {
            Sent::Refused(what)
        }
    }

    fn request(&self, purge: &Passed, now: u64) -> Result<Request<Vec<u8>>, http::Error> {
        let (path, query) = match self.config.url.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (self.config.url.as_str(), None),
        };
        let mut url = fill(path, purge, Form::Path);
        if let Some(query) = query {
            url.push('?');
            url.push_str(&fill(query, purge, Form::Encoded));
        }
        let body = match &self.config.body {
            Some(template) => fill(template, purge, self.body_form).into_bytes(),
            None => document(purge).into_bytes(),
        };
        let mut request = Request::builder().method(&self.config.method).uri(url);
        if !body.is_empty() && !self.config.headers.iter().any(|(name, _)| *name == CONTENT_TYPE) {
            request = request.header(CONTENT_TYPE, JSON);
        }
        for (name, template) in &self.config.headers {
            request = request.header(name, fill(template, purge, Form::Plain));
        }
        for (name, secret) in &self.config.secret_headers {
            let mut value = HeaderValue::from_bytes(&secret.0)?;
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        if let Some(key) = &self.config.sign
            && let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&key.secret.0)
        {
            mac.update(format!("{now}.").as_bytes());
            mac.update(&body);
            let signature = hex::encode(mac.finalize().into_bytes());
            request = request.header(SIGNATURE, format!("t={now}, id={}, v1={signature}", key.id));
        }
        request.header(IDEMPOTENCY_KEY, &purge.id).body(body)
    }
}

/// The purge as JSON.
fn document(purge: &Passed) -> String {
    let mut document = super::super::describe(&purge.target);
    document["id"] = purge.id.as_str().into();
    document["mode"] = purge.mode.as_str().into();
    document.to_string()
}

/// A template with the words in braces replaced. What takes a word's place is not looked at again.
fn fill(template: &str, purge: &Passed, form: Form) -> String {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let word = after.split_once('}').and_then(|(word, behind)| Some((word, value(word, purge)?, behind)));
        match word {
            Some((word, value, behind)) => {
                match form {
                    Form::Plain => filled.push_str(value),
                    Form::Path if word == "path" => {
                        // What stands before it may be the host.
                        if !value.starts_with('/') {
                            filled.push('/');
                        }
                        filled.push_str(value);
                    }
                    Form::Path | Form::Encoded => filled.extend(utf8_percent_encode(value, ENCODED)),
                    Form::Json => {
                        let text = serde_json::Value::from(value).to_string();
                        filled.push_str(text.trim_start_matches('"').strip_suffix('"').unwrap_or_default());
                    }
                }
                rest = behind;
            }
            None => {
                filled.push('{');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    filled
}

/// What a word stands for; empty: the purge has nothing of it. None: it is no word.
fn value<'p>(word: &str, purge: &'p Passed) -> Option<&'p str> {
    let (site, path, tag) = match &purge.target {
        PurgeTarget::Url { site, target } => (site.as_str(), target.as_str(), ""),
        PurgeTarget::Prefix { site, path } => (site.as_str(), path.as_str(), ""),
        PurgeTarget::Tag { site, tag } => (site.as_deref().unwrap_or_default(), "", tag.as_str()),
        PurgeTarget::Site(site) => (site.as_str(), "", ""),
        PurgeTarget::Everything => ("", "", ""),
    };
    Some(match word {
        "id" => &purge.id,
        "scope" => purge.target.scope(),
        "mode" => purge.mode.as_str(),
        "site" => site,
        "path" => path,
        "tag" => tag,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::store::purges::PurgeMode;

    fn purge(target: PurgeTarget) -> Passed {
        Passed { id: "1d".to_owned(), target, mode: PurgeMode::Hard, at: 0 }
    }

    #[test]
    fn words_stand_for_the_purge_in_the_form_of_their_place() {
        let url = purge(PurgeTarget::Url { site: "a.test".to_owned(), target: "/x%20y?a=1&b=2".to_owned() });
        let tag = purge(PurgeTarget::Tag { site: None, tag: "n\"/{id}?".to_owned() });
        for (purge, template, form, expected) in [
            (&url, "/purge/{site}{path}", Form::Path, "/purge/a.test/x%20y?a=1&b=2"),
            (&url, "url=https://{site}{path}", Form::Encoded, "url=https://a.test%2Fx%2520y%3Fa%3D1%26b%3D2"),
            (&tag, "/tags/{tag}", Form::Path, "/tags/n%22%2F%7Bid%7D%3F"),
            (&tag, "{\"tag\": \"{tag}\", \"x\": {}}", Form::Json, "{\"tag\": \"n\\\"/{id}?\", \"x\": {}}"),
            (&tag, "{tag} {mode} {scope} {id}{site}{", Form::Plain, "n\"/{id}? hard tag 1d{"),
        ] {
            assert_eq!(fill(template, purge, form), expected, "{template}");
        }
    }

    #[test]
    fn a_json_text_stays_one_whatever_a_tag_holds() {
        for tag in ["\"", "\"\"", "\\", "a\\\"b", "\"a"] {
            let purge = purge(PurgeTarget::Tag { site: None, tag: tag.to_owned() });
            let text = fill("[\"{tag}\"]", &purge, Form::Json);
            let read: Vec<String> =
                serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
            assert_eq!(read, [tag]);
        }
    }
}
