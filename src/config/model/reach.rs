//! How an origin is spoken to: TLS, header fields, object storage, proofs.

use std::path::PathBuf;

use http::{HeaderName, HeaderValue};

use super::Secret;

/// `tls` of an origin group.
#[derive(Clone, Debug, Default)]
pub struct OriginTls {
    /// PEM file of authorities.
    pub ca: Option<PathBuf>,
    /// Whether those of `ca` alone are trusted.
    pub ca_only: bool,
    /// The server name asked for and checked; None: each server's host.
    pub sni: Option<String>,
    /// What the node shows to servers that ask.
    pub client: Option<ClientCertificate>,
}

/// A certificate and its key, in PEM files.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The certificate and those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// `headers` of an origin group.
#[derive(Clone, Debug, Default)]
pub struct OriginHeaders {
    /// Fields that every request gets. Values that stand in files are marked sensitive.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Fields that no request has.
    pub remove: Vec<HeaderName>,
}

/// `s3` of an origin group.
#[derive(Clone, Debug)]
pub struct S3 {
    /// Region that requests are signed for.
    pub region: String,
    /// Name of the bucket.
    pub bucket: String,
    /// Where the bucket stands in requests.
    pub style: S3Style,
    /// What stands before the path in names of objects: empty, or without `/` at its ends.
    pub prefix: String,
    /// Query parameters that go to the store.
    pub query: Vec<String>,
    /// What requests are signed with.
    pub credentials: Credentials,
}

/// Where the bucket stands in requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Style {
    /// It is the first segment of the path.
    Path,
    /// It stands before the host.
    Virtual,
}

/// Credentials, and the files to read them from again.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The id of the access key.
    pub access_key: SecretFile,
    /// The secret access key.
    pub secret_key: SecretFile,
    /// The session token of temporary credentials.
    pub session_token: Option<SecretFile>,
}

/// A secret of visible ASCII characters, and the file that it stands in.
#[derive(Clone, Debug)]
pub struct SecretFile {
    /// The file.
    pub path: PathBuf,
    /// What it held when the configuration was read.
    pub secret: Secret,
}

/// `proof` of an origin group.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Name of the field.
    pub header: HeaderName,
    /// The keys, each of which gives a proof; at least one.
    pub keys: Vec<ProofKey>,
}

/// A key of `proof`.
#[derive(Clone, Debug)]
pub struct ProofKey {
    /// Its name.
    pub id: String,
    /// Its bytes.
    pub secret: Secret,
}
