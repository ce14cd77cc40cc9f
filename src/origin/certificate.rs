//! When the certificates of `https` servers end.
//!
//! The engine's connector shows no certificate: its TLS for origins keeps a digest alone, and its hook for finished
//! handshakes is not called with rustls. So a handshake of its own is made now and then, that trusts whatever comes, sends
//! no request, and reads when the certificate ends. What a server is trusted by is not decided here: requests and checks
//! go over the engine's connections, which an expired certificate fails. Called by the health checks.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::OriginGroup;
use super::server::Server;
use crate::config::model::Health;

/// Time between two looks at one server's certificate, and after a look that failed.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The certificate of one server.
#[derive(Default)]
pub(super) struct Watch {
    next: Option<Instant>,
    warned: bool,
}

impl Watch {
    /// Looks at the certificate of a server, if it is time.
    pub(super) async fn look(&mut self, group: &OriginGroup, server: &Server, health: &Health) {
        let Some((host, port)) = server.tls_place() else { return };
        if self.next.is_some_and(|next| Instant::now() < next) {
            return;
        }
        let ends = tokio::time::timeout(health.timeout.max(Duration::from_millis(1)), ends(host, port)).await;
        let Ok(Some(ends)) = ends else {
            self.next = Some(Instant::now() + LOOK_AGAIN);
            return;
        };
        self.next = Some(Instant::now() + LOOK_EVERY);
        group.families.certificate(&group.name, &server.authority).set(ends);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let left = u64::try_from(ends).unwrap_or_default().saturating_sub(now);
        if left > health.certificate.as_secs() {
            self.warned = false;
        } else if !std::mem::replace(&mut self.warned, true) {
            let hours = left / 3600;
            tracing::warn!(origin = %group.name, server = %server.authority, hours, "the certificate of an origin server ends soon");
        }
    }
}

/// When the certificate ends that a server shows, in seconds of Unix time.
async fn ends(host: &str, port: u16) -> Option<i64> {
    let name = match host.parse::<IpAddr>() {
        Ok(address) => ServerName::from(address),
        Err(_) => ServerName::try_from(host.to_owned()).ok()?,
    };
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(AnyCertificate(Arc::clone(&provider)));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().ok()?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    let stream = TcpStream::connect((host, port)).await.ok()?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates()?.first()?;
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(parsed.validity().not_after.timestamp())
}

/// Takes any certificate: it is only looked at.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
