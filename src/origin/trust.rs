//! Which certificate authorities an origin's `https` servers are checked against: the system's, and the group's
//! `tls.ca` beside them or in their place; and the certificate that the node shows to them.
//!
//! The engine keeps the system's authorities in its connector; a peer that brings its own list replaces them. A group
//! with `tls.ca` therefore brings both, unless it trusts its own alone.

use std::path::Path;
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::tls::{
    CertificateDer, RootCertStore, load_native_certs, load_platform_certs_incl_env_into_store,
};
use pingora::utils::tls::{CertKey, WrappedX509};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Checks that the connector will be able to load the system's authorities: it panics where this fails.
pub(super) fn check_system_roots() -> Result<(), String> {
    load_platform_certs_incl_env_into_store(&mut RootCertStore::empty()).map_err(|error| error.to_string())
}

/// The authorities of `path` and, unless these are to stand `alone`, the system's.
///
/// A certificate of `path` that cannot be used is an error; one of the system's is left out.
pub(super) fn load(path: &Path, alone: bool) -> Result<Arc<CaType>, String> {
    let mut authorities = certificates(path)?.iter().map(wrap).collect::<Result<Vec<_>, _>>()?;
    if alone {
        return Ok(authorities.into());
    }
    match load_native_certs() {
        Ok(certificates) => {
            authorities.extend(certificates.iter().filter_map(|certificate| wrap(certificate).ok()))
        }
        Err(error) => {
            tracing::warn!(%error, "the system's certificate authorities cannot be read; tls.ca stands alone")
        }
    }
    Ok(authorities.into())
}

/// The certificate that the node shows, and its key: checked to belong together, because the engine fails with each
/// connection, or ends the thread, where they cannot be used.
pub(super) fn client(certificate: &Path, key: &Path) -> Result<Arc<CertKey>, String> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain.clone(), key.clone_key())
        .map_err(|error| error.to_string())?;
    for certificate in &chain {
        X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
    }
    let chain = chain.iter().map(|certificate| certificate.to_vec()).collect();
    Ok(Arc::new(CertKey::new(chain, key.secret_der().to_vec())))
}

/// The certificates of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
    let certificates = read.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    Ok(certificates)
}

fn wrap(certificate: &CertificateDer<'static>) -> Result<WrappedX509, String> {
    RootCertStore::empty().add(certificate.clone()).map_err(|error| error.to_string())?;
    WrappedX509::try_new(certificate.to_vec(), |raw| {
        X509Certificate::from_der(raw).map(|(_rest, parsed)| parsed).map_err(|error| error.to_string())
    })
}
