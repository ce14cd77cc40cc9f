//! Query parameters out of URIs: what an origin puts there for one viewer.
//!
//! A variable (`EXT-X-DEFINE`) can hold such a parameter, or be its value. Then the value of the variable goes too: all of
//! it where nothing else uses it, or where the variable has the name of the parameter.
//!
//! A manifest has URIs in many more places than those that are resolved here: licence servers, clocks, remote elements,
//! and what is written as CDATA. There whatever looks like one is taken for one.

use std::borrow::Cow;

use super::{each_uri, written};
use crate::carry::Syntax;
use crate::dash::{self, ManifestError};
use crate::hls::edit::Edits;
use crate::hls::lines::lines;
use crate::key::is_named;

/// Passes over one text: what is taken out of a variable can make another parameter of what follows it.
const PASSES_MAX: usize = 8;

/// Takes parameters of these names (normal form) out of every URI; None: there are none.
///
/// # Errors
/// [`ManifestError`]: it is no manifest, or has some left after [`PASSES_MAX`] passes.
pub fn drop(text: &str, syntax: Syntax, names: &[String]) -> Result<Option<String>, ManifestError> {
    let mut dropped = None;
    for _ in 0..PASSES_MAX {
        match drop_once(dropped.as_deref().unwrap_or(text), syntax, names)? {
            Some(less) => dropped = Some(less),
            None => return Ok(dropped),
        }
    }
    Err(ManifestError::Malformed)
}

fn drop_once(text: &str, syntax: Syntax, names: &[String]) -> Result<Option<String>, ManifestError> {
    let mut edits = Edits::default();
    // What variables the values of dropped parameters are, each as often as it is.
    let mut held: Vec<&str> = Vec::new();
    // Where they are.
    let mut looked_at = Vec::new();
    each_uri(text, syntax, |at, says| {
        looked_at.push(at.start);
        let Cow::Owned(without) = without(says, names) else { return };
        let raw = text.get(at.clone()).unwrap_or_default();
        let (before, query) = raw.split_at(raw.find('?').unwrap_or(raw.len()));
        if syntax == Syntax::Hls {
            held.extend(dropped_of(query, names).flat_map(variables));
        }
        let same_query = says.split_once('?').is_some_and(|(_, says)| query.strip_prefix('?') == Some(says));
        if same_query {
            // The variables before it stay.
            let query = self::without(query, names).into_owned();
            edits.replace(at.start + before.len()..at.end, query);
        } else {
            edits.replace(at, written(&without, syntax));
        }
    })?;
    match syntax {
        Syntax::Hls => defined(text, names, &held, &mut edits),
        Syntax::Dash => dash::find_said(text, |at, says, cdata| {
            let Cow::Owned(without) = without(says, names) else { return };
            if looked_at.binary_search(&at.start).is_err() {
                edits.replace(
                    at,
                    if cdata { Cow::Owned(without) } else { written(&without, syntax).into_owned().into() },
                );
            }
        })?,
    }
    Ok(edits.apply(text))
}

fn is_one_of(parameter: &str, names: &[String]) -> bool {
    names.iter().any(|name| is_named(parameter, name))
}

/// A URI without parameters of these names. Borrowed where it has none.
pub fn without<'u>(uri: &'u str, names: &[String]) -> Cow<'u, str> {
    let (before, fragment) = uri.split_at(uri.find('#').unwrap_or(uri.len()));
    let Some((path, query)) = before.split_once('?') else { return Cow::Borrowed(uri) };
    if !query.split('&').any(|parameter| is_one_of(parameter, names)) {
        return Cow::Borrowed(uri);
    }
    let kept: Vec<&str> = query.split('&').filter(|parameter| !is_one_of(parameter, names)).collect();
    let joint = if kept.is_empty() { "" } else { "?" };
    Cow::Owned(format!("{path}{joint}{}{fragment}", kept.join("&")))
}

/// The parameters of a query, as it stands in the text, that are dropped.
fn dropped_of<'q>(query: &'q str, names: &[String]) -> impl Iterator<Item = &'q str> {
    query.trim_start_matches('?').split(['&', '#']).filter(|parameter| is_one_of(parameter, names))
}

/// The names of the variables in a text.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split("{$").skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name)
}

/// Takes out of the values of variables what is dropped from URIs.
fn defined(text: &str, names: &[String], held: &[&str], edits: &mut Edits) {
    for list in lines(text).filter_map(|line| line.attributes_of("EXT-X-DEFINE")) {
        let (Some(name), Some(value)) = (list.value("NAME"), list.clone().find(|one| one.name == "VALUE"))
        else {
            continue;
        };
        let of_dropped = held.iter().filter(|held| **held == name).count();
        let used = variables(text).filter(|used| *used == name).count();
        if names.iter().any(|dropped| dropped == name) || (of_dropped > 0 && of_dropped == used) {
            edits.replace(value.at, "");
        } else if value.value.contains('?') {
            edits.replace(value.at, without(value.value, names));
        } else if value.value.contains(['=', '&']) {
            // It may be the part of a query; a bare word may be anything, and holds no value.
            let query = format!("?{}", value.value);
            edits.replace(value.at, without(&query, names).trim_start_matches('?'));
        }
    }
}
