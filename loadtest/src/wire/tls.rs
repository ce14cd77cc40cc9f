//! What certificates are good, and what a viewer offers (TLS 1.2 and 1.3, ALPN). Each viewer has sessions of its own to
//! resume, as each browser has: its first connection is a full handshake, the others may be shorter.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::scenario::Protocol;

/// Servers of one viewer whose sessions are kept.
const SESSIONS_MAX: usize = 2;

/// Takes any certificate whose key signed the handshake.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

/// What all viewers have in common: whom they trust, which are the machine's authorities and further ones (PEM), or anybody.
pub(crate) fn trust(authorities: Option<&[u8]>, insecure: bool) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    if insecure {
        let anybody = Arc::new(Anybody(provider));
        return Ok(builder.dangerous().with_custom_certificate_verifier(anybody).with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    // A machine without authorities of its own can still ask servers of the given ones.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(pem) = authorities {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate =
                certificate.context("the certificate authorities are no PEM: give certificates")?;
            roots.add(certificate).context("a certificate authority cannot be used")?;
        }
        ensure!(
            roots.len() > before,
            "no certificate is in the given authorities: give PEM with CERTIFICATE"
        );
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// What one viewer offers.
pub(crate) fn offer(trust: &ClientConfig, protocol: Protocol) -> Arc<ClientConfig> {
    let mut config = trust.clone();
    let names: &[&[u8]] = match protocol {
        Protocol::H1 => &[b"http/1.1"],
        Protocol::H2 => &[b"h2", b"http/1.1"],
    };
    config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    Arc::new(config)
}

// === impl Anybody ===

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
    use super::*;

    #[test]
    fn authorities_that_are_none_are_named_before_anything_is_asked() {
        let error = |pem: &str| format!("{:#}", trust(Some(pem.as_bytes()), false).unwrap_err());
        assert!(error("").contains("no certificate"));
        assert!(error("hello").contains("no certificate"));
        let empty = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(error(empty).contains("cannot be used"));
        assert!(error("-----BEGIN CERTIFICATE-----\nAAAA\n").contains("no PEM"));
    }
}
