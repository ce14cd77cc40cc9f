//! A bucket of an object store (S3 or compatible) behind the servers of a group: names of objects, and signatures.
//!
//! Decides what a viewer's path and query become at the store, and signs that (AWS Signature Version 4, header form; the
//! algorithm is the crate `aws-sigv4`'s). `Host` and the `X-Amz-` fields are signed; `Range`, conditions and everything
//! else is not, which stores take. Credentials are read again when their files change: [`watch`] runs as one task per bucket,
//! started by [`super::Origins::start_health_checks`].

use std::borrow::Cow;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST};
use http::{HeaderName, HeaderValue, Method};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use pingora::http::RequestHeader;
use tokio::sync::watch;

use crate::config::model::{self, S3Style, SecretFile};

/// How often the files of the credentials are looked at. New ones are used once two looks in a row have found the same,
/// so that files which are being replaced are not mixed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes of a file with a part of credentials. Session tokens have no stated limit; those of AWS stay below 4 KiB.
const CREDENTIAL_BYTES_MAX: u64 = 64 << 10;

/// What is not percent-encoded in a canonical URI: unreserved characters (RFC 3986 section 2.3).
const NAME: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The same for paths.
const PATH: AsciiSet = NAME.remove(b'/');

/// SHA-256 of nothing: requests have no body.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A bucket.
pub(super) struct Bucket {
    region: String,
    /// What stands before the host.
    before_host: Option<String>,
    /// What stands before the path, encoded: empty, or from a `/` on.
    before_path: String,
    query: Vec<String>,
    files: model::Credentials,
    credentials: ArcSwap<Credentials>,
}

impl Bucket {
    pub(super) fn new(config: &model::S3) -> Bucket {
        let text = |file: &SecretFile| String::from_utf8_lossy(&file.secret.0).into_owned();
        let files = &config.credentials;
        let read = Texts {
            access_key: text(&files.access_key),
            secret_key: text(&files.secret_key),
            session_token: files.session_token.as_ref().map(text),
        };
        let mut before_path = String::new();
        let segments = (config.style == S3Style::Path).then_some(config.bucket.as_str());
        for segment in segments.into_iter().chain(config.prefix.split('/').filter(|part| !part.is_empty())) {
            before_path.push('/');
            before_path.extend(percent_encode(segment.as_bytes(), &PATH));
        }
        Bucket {
            region: config.region.clone(),
            before_host: (config.style == S3Style::Virtual).then(|| config.bucket.clone()),
            before_path,
            query: config.query.clone(),
            files: files.clone(),
            credentials: ArcSwap::from_pointee(read.credentials()),
        }
    }

    /// A server's host with the bucket before it, where it stands there.
    pub(super) fn host<'h>(&self, host: &'h str) -> Cow<'h, str> {
        match &self.before_host {
            Some(bucket) => format!("{bucket}.{host}").into(),
            None => host.into(),
        }
    }

    /// Makes a viewer's request one for an object of the bucket, signed for `now`. Only reads are signed.
    ///
    /// # Errors
    /// When it names no object.
    pub(super) fn sign(&self, request: &mut RequestHeader, now: SystemTime) -> Result<(), String> {
        let path = self.path(request.uri.path())?;
        let query = request.uri.query().map(|query| self.query(query)).unwrap_or_default();
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        request.set_raw_path(target.as_bytes()).map_err(|error| error.to_string())?;
        let foreign: Vec<HeaderName> =
            request.headers.keys().filter(|name| name.as_str().starts_with("x-amz-")).cloned().collect();
        for name in foreign.iter().chain(&[AUTHORIZATION, COOKIE, CONTENT_TYPE]) {
            request.remove_header(name);
        }
        let host = request.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = self.host(host.ok_or("it has no host")?).into_owned();
        request.insert_header(HOST, host.as_str()).map_err(|error| error.to_string())?;
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Ok(());
        }
        for (name, value) in self.signature(&request.method, &host, &target, now)? {
            let mut value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            request.insert_header(name, value).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// The fields that sign a request.
    fn signature(
        &self,
        method: &Method,
        host: &str,
        target: &str,
        now: SystemTime,
    ) -> Result<Vec<(&'static str, String)>, String> {
        let mut settings = SigningSettings::default();
        // The store takes the path as it is sent: encoded once, with all its slashes and dots.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let identity = Credentials::clone(&self.credentials.load()).into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("s3")
            .time(now)
            .settings(settings)
            .build();
        let params = params.map_err(|error| error.to_string())?.into();
        let url = format!("https://{host}{target}");
        let body = SignableBody::Precomputed(EMPTY_SHA256.to_owned());
        let fields = std::iter::once((HOST.as_str(), host));
        let signable = SignableRequest::new(method.as_str(), url, fields, body);
        let signed = sign(signable.map_err(|error| error.to_string())?, &params);
        let (instructions, _) = signed.map_err(|error| error.to_string())?.into_parts();
        let (fields, _) = instructions.into_parts();
        Ok(fields.iter().map(|field| (field.name(), field.value().to_owned())).collect())
    }

    /// The path of the object that a viewer's path names: decoded, and encoded again as signatures have it.
    fn path(&self, path: &str) -> Result<String, String> {
        let name: Vec<u8> = percent_decode_str(path.strip_prefix('/').unwrap_or(path)).collect();
        // An empty name would list the bucket; a store that keeps files could take dots for folders.
        let leads_out = name.split(|byte| *byte == b'/').any(|part| matches!(part, b"." | b".."));
        if name.is_empty() || leads_out {
            return Err("it names no object of the bucket".to_owned());
        }
        Ok(format!("{}/{}", self.before_path, percent_encode(&name, &PATH)))
    }

    /// The parameters of a viewer's query that go to the store, in the order and the spelling of signatures.
    fn query(&self, query: &str) -> String {
        let decoded = |text: &str| percent_decode_str(&text.replace('+', " ")).collect::<Vec<u8>>();
        let mut kept: Vec<String> = query
            .split('&')
            .map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")))
            .filter(|(name, _)| self.query.iter().any(|known| known == name))
            .map(|(name, value)| format!("{name}={}", percent_encode(&decoded(value), &NAME)))
            .collect();
        kept.sort_unstable();
        kept.join("&")
    }

    /// Reads the files again. `last` is what the look before found; returns what this one has.
    fn look(&self, last: &Option<Texts>) -> Result<Option<Texts>, String> {
        let text = |file: &SecretFile| {
            let told = |reason| format!("{}: {reason}", file.path.display());
            read_text(&file.path).map_err(told)
        };
        let found = Texts {
            access_key: text(&self.files.access_key)?,
            secret_key: text(&self.files.secret_key)?,
            session_token: self.files.session_token.as_ref().map(text).transpose()?,
        };
        if last.as_ref() == Some(&found) && !found.are(&self.credentials.load()) {
            self.credentials.store(Arc::new(found.credentials()));
            tracing::info!(region = %self.region, "new credentials for the object store are in use");
        }
        Ok(Some(found))
    }
}

/// What the files of credentials hold.
#[derive(PartialEq, Eq)]
struct Texts {
    access_key: String,
    secret_key: String,
    session_token: Option<String>,
}

impl Texts {
    fn credentials(&self) -> Credentials {
        let (id, secret) = (self.access_key.as_str(), self.secret_key.as_str());
        Credentials::new(id, secret, self.session_token.clone(), None, "forebay")
    }

    fn are(&self, credentials: &Credentials) -> bool {
        self.access_key == credentials.access_key_id()
            && self.secret_key == credentials.secret_access_key()
            && self.session_token.as_deref() == credentials.session_token()
    }
}

fn read_text(path: &std::path::Path) -> Result<String, String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(CREDENTIAL_BYTES_MAX).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let text = text.trim();
    match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(text.to_owned()),
        false => Err("it does not hold visible ASCII characters alone".to_owned()),
    }
}

/// Looks at the files of a bucket's credentials until `stop` becomes true, its sender is gone, or the bucket is dropped.
/// Files that cannot be read leave the credentials as they are.
pub(super) async fn watch(bucket: Weak<Bucket>, mut stop: watch::Receiver<bool>) {
    let (mut last, mut told) = (None, None);
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(LOOK_INTERVAL) => {}
        }
        let Some(bucket) = bucket.upgrade() else { return };
        let look = tokio::task::spawn_blocking(move || {
            let looked = bucket.look(&last);
            (looked, last)
        });
        let Ok((looked, before)) = look.await else { return };
        match looked {
            Ok(found) => (last, told) = (found, None),
            Err(reason) => {
                last = before;
                if told.as_ref() != Some(&reason) {
                    tracing::warn!(%reason, "credentials for the object store cannot be read again");
                }
                told = Some(reason);
            }
        }
    }
}
