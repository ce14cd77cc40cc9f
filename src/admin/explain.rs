//! `GET /explain?url=URL`: why a request is answered as it is, by the running configuration.
//!
//! Further parameters: `method`, `header` (`Name: value`, may be repeated), `client`, `status`, `response_header` (may be
//! repeated) and `playlist` (its text). What they mean is [`crate::explain`]'s business.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::{AdminState, error};
use crate::clock::Clock;
use crate::explain::question::{self, Question};
use crate::explain::{Limits, explain};
use crate::site::Sites;

/// What explanations are made of.
pub struct Explained {
    /// The running configuration's sites.
    pub sites: Arc<Sites>,
    /// Its limits.
    pub limits: Limits,
    /// What time it is.
    pub clock: Clock,
}

pub(super) async fn get(State(state): State<Arc<AdminState>>, RawQuery(query): RawQuery) -> Response {
    let Explained { sites, limits, clock } = &state.explained;
    match question(query.as_deref().unwrap_or_default(), clock) {
        Ok(question) => Json(explain(sites, limits, &question)).into_response(),
        Err(reason) => error(StatusCode::BAD_REQUEST, &reason),
    }
}

fn question(query: &str, clock: &Clock) -> Result<Question, String> {
    let parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    let mut urls = parameters.iter().filter(|(name, _)| name == "url");
    let (Some((_, url)), None) = (urls.next(), urls.next()) else {
        return Err(
            "url: must be given once, percent-encoded: /explain?url=https%3A%2F%2FHOST%2FPATH".to_owned()
        );
    };
    let mut question = Question::new(url, clock.now()).map_err(|reason| format!("url: {reason}"))?;
    for (name, value) in &parameters {
        take(&mut question, name, value).map_err(|reason| format!("{}: {reason}", name.escape_debug()))?;
    }
    Ok(question)
}

fn take(question: &mut Question, name: &str, value: &str) -> Result<(), String> {
    let append = |fields: &mut HeaderMap| -> Result<(), String> {
        let (name, value) = question::field(value)?;
        fields.append(name, value);
        Ok(())
    };
    match name {
        "url" => {}
        "method" => question.method = question::method(value)?,
        "header" => append(&mut question.headers)?,
        "response_header" => append(&mut question.response_headers)?,
        "client" => question.client = value.parse().map_err(|_| "is not an IP address".to_owned())?,
        "status" => {
            question.status =
                value.parse().map_err(|_| "is no status".to_owned()).and_then(question::status)?;
        }
        "playlist" => question.playlist = Some(value.as_bytes().to_vec()),
        _ => {
            let known = "url, method, header, client, status, response_header and playlist";
            return Err(format!("is not a parameter here; those there are: {known}"));
        }
    }
    Ok(())
}

/// A name or value as forms encode it.
fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}
