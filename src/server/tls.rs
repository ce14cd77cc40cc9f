//! TLS towards viewers, and other nodes. The library behind it can change without anything outside this file noticing.

use std::path::Path;
use std::sync::Arc;

use pingora::listeners::tls::TlsSettings;
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::StartError;
use crate::config::model::{Server, TlsListener};

/// The settings of each TLS listener, in order: certificate and key read and matched, ALPN `h2` before `http/1.1`. Where it
/// has a `client_ca`, clients are asked for a certificate; one that shows none is served as ever, and one that shows
/// another authority's is not connected.
///
/// # Errors
/// [`StartError::Tls`], naming the listener and the file.
pub(super) fn settings(server: &Server) -> Result<Vec<TlsSettings>, StartError> {
    server.https.iter().map(listener).collect()
}

fn listener(listener: &TlsListener) -> Result<TlsSettings, StartError> {
    check(listener)?;
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let failed = |error: Box<pingora::Error>| StartError::Tls(format!("{}: {error}", listener.listen));
    let mut settings =
        TlsSettings::intermediate(&text(&listener.cert), &text(&listener.key)).map_err(failed)?;
    settings.enable_h2();
    if let Some(authorities) = &listener.client_ca {
        settings.set_client_cert_verifier(nodes(listener, authorities)?);
    }
    Ok(settings)
}

/// What checks the certificates of other nodes.
fn nodes(listener: &TlsListener, authorities: &Path) -> Result<Arc<dyn ClientCertVerifier>, StartError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(listener, authorities)? {
        roots.add(authority).map_err(|error| failed(listener, authorities, &error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    verifier.allow_unauthenticated().build().map_err(|error| failed(listener, authorities, &error))
}

/// The engine panics on a pair it cannot use, after the node has started: it is tried here first.
fn check(listener: &TlsListener) -> Result<(), StartError> {
    let chain = certificates(listener, &listener.cert)?;
    let key = PrivateKeyDer::from_pem_file(&listener.key)
        .map_err(|error| failed(listener, &listener.key, &error))?;
    rustls::ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map(drop)
        .map_err(|error| failed(listener, &listener.cert, &error))
}

fn certificates(listener: &TlsListener, file: &Path) -> Result<Vec<CertificateDer<'static>>, StartError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(listener, file, &error))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn failed(listener: &TlsListener, file: &Path, why: &dyn std::fmt::Display) -> StartError {
    StartError::Tls(format!("{}: {}: {why}", listener.listen, file.display()))
}
