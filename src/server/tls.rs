//! TLS towards viewers. The library behind it can change without anything outside this file noticing.

use pingora::listeners::tls::TlsSettings;

use super::StartError;
use crate::config::model::{Server, TlsListener};

/// The settings of each TLS listener, in order: certificate and key read and matched, ALPN `h2` before `http/1.1`.
///
/// # Errors
/// [`StartError::Tls`], naming the listener and the file.
pub(super) fn settings(server: &Server) -> Result<Vec<TlsSettings>, StartError> {
    server.https.iter().map(listener).collect()
}

fn listener(listener: &TlsListener) -> Result<TlsSettings, StartError> {
    check(listener)?;
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let failed = |error: Box<pingora::Error>| StartError::Tls(format!("{}: {error}", listener.listen));
    let mut settings =
        TlsSettings::intermediate(&text(&listener.cert), &text(&listener.key)).map_err(failed)?;
    settings.enable_h2();
    Ok(settings)
}

/// The engine panics on a pair it cannot use, after the node has started: it is tried here first.
fn check(listener: &TlsListener) -> Result<(), StartError> {
    use rustls_pki_types::pem::PemObject;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let failed = |what: &std::path::Path, why: String| {
        StartError::Tls(format!("{}: {}: {why}", listener.listen, what.display()))
    };
    let chain = CertificateDer::pem_file_iter(&listener.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&listener.cert, error.to_string()))?;
    let key = PrivateKeyDer::from_pem_file(&listener.key)
        .map_err(|error| failed(&listener.key, error.to_string()))?;
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map(drop)
        .map_err(|error| failed(&listener.cert, error.to_string()))
}
