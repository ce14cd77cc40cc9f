//! A URL on the command line, taken apart.

use anyhow::{Context, Result, bail, ensure};

use crate::admission::token::session::directory;

/// A URL: scheme and authority, empty for a path alone, then path and query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `https://host:port`, or nothing.
    pub(super) site: String,
    /// The path.
    pub(super) path: String,
    /// The query.
    pub(super) query: Option<String>,
}

impl Target {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let uri: http::Uri = text
            .parse()
            .with_context(|| format!("`{text}` is no URL: percent-encode what a URL cannot hold"))?;
        let site = match (uri.scheme_str(), uri.authority()) {
            (Some(scheme @ ("http" | "https")), Some(authority)) => format!("{scheme}://{authority}"),
            (None, None) => String::new(),
            _ => bail!("`{text}` is neither an http or https URL nor a path"),
        };
        ensure!(uri.path().starts_with('/'), "`{text}` is neither an http or https URL nor a path");
        Ok(Target { site, path: uri.path().to_owned(), query: uri.query().map(str::to_owned) })
    }

    /// The path `/` of no site.
    pub(super) fn root() -> Self {
        Target { site: String::new(), path: "/".to_owned(), query: None }
    }

    /// Adds to the query.
    pub(super) fn add_query(&mut self, more: &str) {
        let before = self.query.take().filter(|query| !query.is_empty());
        self.query = Some(before.map_or(more.to_owned(), |query| format!("{query}&{more}")));
    }

    /// The directory of the path, with the slash that ends it.
    pub(super) fn directory(&self) -> &str {
        directory(&self.path)
    }

    /// Whether a text is meant as a URL or path.
    pub(super) fn is_meant(text: &str) -> bool {
        text.starts_with('/') || text.starts_with("http://") || text.starts_with("https://")
    }

    /// Whether it is fetched over TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.site.starts_with("https://")
    }

    /// Host, and port where one is named.
    pub(super) fn authority(&self) -> &str {
        self.site.split_once("://").map_or("", |(_, authority)| authority)
    }

    /// The URL with another path and query.
    pub(super) fn with(&self, path: &str, query: Option<&str>) -> String {
        let query =
            query.filter(|query| !query.is_empty()).map_or(String::new(), |query| format!("?{query}"));
        format!("{}{path}{query}", self.site)
    }
}
