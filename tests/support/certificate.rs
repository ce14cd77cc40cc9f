//! A throw-away authority with one certificate: as PEM files for the node, or in front of a scripted origin.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// File names inside the directory given to [`write_certificate`].
pub const CERT_FILE: &str = "edge.crt";
pub const KEY_FILE: &str = "edge.key";

/// An authority and a certificate of it.
struct Issued {
    authority: Certificate,
    certificate: Certificate,
    key: KeyPair,
}

fn issue(name: &str) -> Issued {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).expect("an authority");
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
    let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
    Issued { authority, certificate, key }
}

/// Writes certificate and key for `edge.test` into `directory`; the returned roots trust them.
pub fn write_certificate(directory: &Path) -> Arc<rustls::RootCertStore> {
    let issued = issue("edge.test");
    std::fs::write(directory.join(CERT_FILE), issued.certificate.pem()).expect("a writable directory");
    std::fs::write(directory.join(KEY_FILE), issued.key.serialize_pem()).expect("a writable directory");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(issued.authority.der().clone()).expect("a valid authority");
    Arc::new(roots)
}

/// A TLS listener that passes what it decrypts on to a plain server; it ends when dropped.
pub struct TlsFront {
    address: SocketAddr,
    authority_pem: String,
    serving: tokio::task::JoinHandle<()>,
}

impl TlsFront {
    /// Listens on a free port of the loopback with a certificate for `name`.
    pub async fn before(server: SocketAddr, name: &str) -> TlsFront {
        let issued = issue(name);
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(issued.key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![issued.certificate.der().clone()], key.into())
            .expect("a certificate and its key");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let serving = tokio::spawn(pass_on(listener, acceptor, server));
        TlsFront { address, authority_pem: issued.authority.pem(), serving }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The authority that vouches for it, as PEM.
    pub fn authority_pem(&self) -> &str {
        &self.authority_pem
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass_on(listener: TcpListener, acceptor: TlsAcceptor, server: SocketAddr) {
    while let Ok((stream, _)) = listener.accept().await {
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(mut outside) = acceptor.accept(stream).await else { return };
            let Ok(mut inside) = TcpStream::connect(server).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
        });
    }
}

/// An authority of nodes, and a certificate of it for one.
pub struct Nodes(Issued);

impl Nodes {
    pub fn new() -> Nodes {
        Nodes(issue("node.test"))
    }

    /// The authority, as PEM.
    pub fn authority_pem(&self) -> String {
        self.0.authority.pem()
    }

    /// The node's certificate and its key.
    pub fn shown(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.0.key.serialize_der());
        (vec![self.0.certificate.der().clone()], key.into())
    }
}
