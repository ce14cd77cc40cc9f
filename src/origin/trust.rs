//! Which certificate authorities an origin's `https` servers are checked against: the system's, and the group's
//! `tls_ca` beside them.
//!
//! The engine keeps the system's authorities in its connector; a peer that brings its own list replaces them. A group
//! with `tls_ca` therefore brings both.

use std::path::Path;
use std::sync::Arc;

use pingora::protocols::tls::CaType;
use pingora::tls::{
    CertificateDer, RootCertStore, load_native_certs, load_platform_certs_incl_env_into_store,
};
use pingora::utils::tls::WrappedX509;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Checks that the connector will be able to load the system's authorities: it panics where this fails.
pub(super) fn check_system_roots() -> Result<(), String> {
    load_platform_certs_incl_env_into_store(&mut RootCertStore::empty()).map_err(|error| error.to_string())
}

/// The authorities of `path` and the system's.
///
/// A certificate of `path` that cannot be used is an error; one of the system's is left out.
pub(super) fn load(path: &Path) -> Result<Arc<CaType>, String> {
    let mut authorities = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())? {
        let certificate = certificate.map_err(|error| error.to_string())?;
        authorities.push(wrap(&certificate)?);
    }
    if authorities.is_empty() {
        return Err("it holds no certificate".to_owned());
    }
    match load_native_certs() {
        Ok(certificates) => {
            authorities.extend(certificates.iter().filter_map(|certificate| wrap(certificate).ok()))
        }
        Err(error) => {
            tracing::warn!(%error, "the system's certificate authorities cannot be read; tls_ca stands alone")
        }
    }
    Ok(authorities.into())
}

fn wrap(certificate: &CertificateDer<'static>) -> Result<WrappedX509, String> {
    RootCertStore::empty().add(certificate.clone()).map_err(|error| error.to_string())?;
    WrappedX509::try_new(certificate.to_vec(), |raw| {
        X509Certificate::from_der(raw).map(|(_rest, parsed)| parsed).map_err(|error| error.to_string())
    })
}
