//! A throw-away authority and a certificate of it for `edge.test`, as PEM files for the node.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// File names inside the directory given to [`write_certificate`].
pub const CERT_FILE: &str = "edge.crt";
pub const KEY_FILE: &str = "edge.key";

/// Writes certificate and key into `directory`; the returned roots trust them.
pub fn write_certificate(directory: &Path) -> Arc<rustls::RootCertStore> {
    let ca_key = KeyPair::generate().expect("a key");
    let mut ca = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_cert = ca.self_signed(&ca_key).expect("an authority");
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["edge.test".to_owned()]).expect("parameters");
    let cert = leaf.signed_by(&key, &issuer).expect("a certificate");
    std::fs::write(directory.join(CERT_FILE), cert.pem()).expect("a writable directory");
    std::fs::write(directory.join(KEY_FILE), key.serialize_pem()).expect("a writable directory");

    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca_cert.der().clone()).expect("a valid authority");
    Arc::new(roots)
}
