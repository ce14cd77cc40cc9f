//! Which certificates of an origin are accepted.

use std::io::Write;

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedKey, IsCa, Issuer, KeyPair,
    generate_simple_self_signed,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio_rustls::TlsAcceptor;

use super::scripted::{Scripted, answer};
use super::*;
use crate::config::model::ClientCertificate;
use crate::origin::{OriginSetupError, trust};

/// A TLS server with a certificate of its own for `names`, and a PEM file that holds the certificate.
async fn tls_server(names: &[&str]) -> (Scripted, tempfile::NamedTempFile) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
    serve_certificate(&cert, &signing_key).await
}

async fn serve_certificate(
    cert: &rcgen::Certificate,
    signing_key: &rcgen::KeyPair,
) -> (Scripted, tempfile::NamedTempFile) {
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let mut pem = tempfile::NamedTempFile::new().unwrap();
    pem.write_all(cert.pem().as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    (Scripted::start_tls(acceptor, |_, _| answer(200, "segment")).await, pem)
}

fn https(server: &Scripted, host: &str) -> Origin {
    let place = OriginServer { tls: true, host: host.to_owned(), port: server.address.port() };
    Origin { retry: retry(1, vec![]), ..origin(vec![place]) }
}

/// Trust in the authorities of this file, beside the system's.
fn ca(path: impl Into<std::path::PathBuf>) -> OriginTls {
    OriginTls { ca: Some(path.into()), ..OriginTls::default() }
}

async fn refused(config: &Origin) {
    let (group, registry) = set_up(config);
    let error = group.fetch(&get("/x")).await.err().unwrap();
    assert_eq!((error.as_str(), error.status()), ("tls", 502), "{error}");
    assert_eq!(metric(&registry, "forebay_origin_requests_total", &[]), 0, "nothing may be sent");
}

#[tokio::test]
async fn a_certificate_of_tls_ca_is_accepted_and_the_connection_kept() {
    for host in ["localhost", "127.0.0.1"] {
        let (server, pem) = tls_server(&[host]).await;
        let config = Origin { tls: ca(pem.path().to_owned()), ..https(&server, host) };
        let (group, _registry) = set_up(&config);
        for _ in 0..2 {
            assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "segment");
        }
        assert_eq!(server.seen()[1].connection, 0);
        assert!(group.upstream_peer(&Method::GET).await.unwrap().peer.options.ca.is_some());
    }
}

#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    let (server, _pem) = tls_server(&["localhost"]).await;
    refused(&https(&server, "localhost")).await;
    let (_other, other_pem) = tls_server(&["localhost"]).await;
    refused(&Origin { tls: ca(other_pem.path().to_owned()), ..https(&server, "localhost") }).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (server, pem) = tls_server(&["other.example"]).await;
    for host in ["localhost", "127.0.0.1"] {
        let config = Origin {
            tls: ca(pem.path().to_owned()),
            host: Some("other.example".to_owned()),
            ..https(&server, host)
        };
        refused(&config).await;
    }
}

#[tokio::test]
async fn a_connection_checked_by_tls_ca_is_not_lent_to_a_group_without_it() {
    let (server, pem) = tls_server(&["localhost"]).await;
    let without = Origin { name: "without".to_owned(), ..https(&server, "localhost") };
    let with = Origin { tls: ca(pem.path().to_owned()), ..https(&server, "localhost") };
    let origins = Origins::new(&[with, without], &OriginFamilies::new(&Registry::new()).unwrap()).unwrap();
    body(&mut origins.group(0).fetch(&get("/x")).await.unwrap()).await.unwrap();
    assert_eq!(origins.group(1).fetch(&get("/x")).await.err().unwrap().as_str(), "tls");
}

#[tokio::test]
async fn the_end_of_a_certificate_is_told_and_an_expired_one_is_unhealthy() {
    let (server, pem) = tls_server(&["localhost"]).await;
    let expired = {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        let signing_key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&signing_key).unwrap();
        serve_certificate(&cert, &signing_key).await
    };
    for (server, pem, healthy, ends) in
        [(&server, &pem, true, None), (&expired.0, &expired.1, false, Some(1_609_459_200))]
    {
        let health = crate::config::model::Health {
            path: "/".to_owned(),
            interval: Duration::from_millis(5),
            timeout: PATIENCE,
            unhealthy_after: 1,
            healthy_after: 1,
            statuses: vec![(200, 200)],
            body: None,
            certificate: Duration::from_secs(7 * 86_400),
        };
        let config = Origin { tls: ca(pem.path()), health: Some(health), ..https(server, "localhost") };
        let registry = Registry::new();
        let origins = Origins::new(&[config], &OriginFamilies::new(&registry).unwrap()).unwrap();
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        origins.group(0).members.now().servers[0].set_healthy(!healthy);
        origins.start_health_checks(&stopped);
        let told = || metric(&registry, "forebay_origin_certificate_expiry_seconds", &[]);
        eventually("the end is told", || told() > 0).await;
        assert!(ends.is_none_or(|ends| told() == ends), "{}", told());
        eventually("the checks say so", || {
            origins.group(0).servers_health().into_iter().all(|(_, is)| is == healthy)
        })
        .await;
    }
}

/// A server with a certificate for `name`, the file that vouches for it, and the server names it was asked for. With `clients`
/// it wants a certificate of that authority.
async fn noting_server(
    name: &str,
    clients: Option<&Certificate>,
) -> (Scripted, tempfile::NamedTempFile, Arc<Mutex<Vec<String>>>) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(signing_key.serialize_der().into());
    let names = Arc::new(Mutex::new(Vec::new()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let signer = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
    let shown = Arc::new(rustls::sign::CertifiedKey::new(vec![cert.der().clone()], signer));
    let config = builder.with_cert_resolver(Arc::new(Noting { shown, names: Arc::clone(&names) }));
    let mut pem = tempfile::NamedTempFile::new().unwrap();
    pem.write_all(cert.pem().as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    (Scripted::start_tls(acceptor, |_, _| answer(200, "segment")).await, pem, names)
}

/// Shows one certificate and notes what was asked for.
#[derive(Debug)]
struct Noting {
    shown: Arc<rustls::sign::CertifiedKey>,
    names: Arc<Mutex<Vec<String>>>,
}

impl rustls::server::ResolvesServerCert for Noting {
    fn resolve(&self, hello: rustls::server::ClientHello<'_>) -> Option<Arc<rustls::sign::CertifiedKey>> {
        self.names.lock().push(hello.server_name().unwrap_or_default().to_owned());
        Some(Arc::clone(&self.shown))
    }
}

#[tokio::test]
async fn a_server_name_is_sent_and_checked_in_place_of_the_servers_own() {
    let (server, pem, names) = noting_server("origin.example", None).await;
    let named = |sni: &str| OriginTls { sni: Some(sni.to_owned()), ..ca(pem.path()) };
    let config = Origin { tls: named("origin.example"), ..https(&server, "127.0.0.1") };
    let (group, _registry) = set_up(&config);
    assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "segment");
    assert_eq!(*names.lock(), ["origin.example"]);
    assert_eq!(group.upstream_peer(&Method::GET).await.unwrap().peer.sni, "origin.example");
    assert_eq!(server.seen()[0].header("host"), [&format!("127.0.0.1:{}", server.address.port())]);
    refused(&Origin { tls: ca(pem.path()), ..https(&server, "127.0.0.1") }).await;
    refused(&Origin { tls: named("other.example"), ..https(&server, "127.0.0.1") }).await;
}

/// An authority, and what it has issued to a node: files with the certificate and its key.
fn node_certificate() -> (Certificate, tempfile::TempDir) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = ca.self_signed(&ca_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["node.example".to_owned()]).unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("node.crt"), certificate.pem()).unwrap();
    std::fs::write(folder.path().join("node.key"), key.serialize_pem()).unwrap();
    (authority, folder)
}

fn shown(folder: &tempfile::TempDir) -> Option<ClientCertificate> {
    let file = |name| folder.path().join(name);
    Some(ClientCertificate { certificate: file("node.crt"), key: file("node.key") })
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_gets_the_groups_own_and_no_other_groups() {
    let (authority, folder) = node_certificate();
    let (_, of_another) = node_certificate();
    let (server, pem, _) = noting_server("localhost", Some(&authority)).await;
    let with = |name: &str, client| Origin {
        name: name.to_owned(),
        tls: OriginTls { client, ..ca(pem.path()) },
        ..https(&server, "localhost")
    };
    let groups = [with("with", shown(&folder)), with("without", None), with("other", shown(&of_another))];
    let origins = Origins::new(&groups, &OriginFamilies::new(&Registry::new()).unwrap()).unwrap();
    for _ in 0..2 {
        assert_eq!(body(&mut origins.group(0).fetch(&get("/x")).await.unwrap()).await.unwrap(), "segment");
    }
    assert!(origins.group(1).fetch(&get("/x")).await.is_err());
    assert!(origins.group(2).fetch(&get("/x")).await.is_err());
    let seen = server.seen();
    assert_eq!((seen.len(), seen[1].connection), (2, seen[0].connection), "one connection, both requests");
    assert!(origins.group(0).upstream_peer(&Method::GET).await.unwrap().peer.client_cert_key.is_some());
}

#[test]
fn a_certificate_without_its_own_key_is_a_set_up_error() {
    let (_, folder) = node_certificate();
    let (_, other) = node_certificate();
    std::fs::copy(other.path().join("node.key"), folder.path().join("node.key")).unwrap();
    let place = OriginServer { tls: true, host: "localhost".to_owned(), port: 443 };
    let tls = OriginTls { client: shown(&folder), ..OriginTls::default() };
    let families = OriginFamilies::new(&Registry::new()).unwrap();
    let error = Origins::new(&[Origin { tls, ..origin(vec![place]) }], &families).err().unwrap();
    assert!(matches!(error, OriginSetupError::TlsClient { .. }), "{error}");
}

#[test]
fn authorities_may_stand_alone() {
    let (authority, _) = node_certificate();
    let mut pem = tempfile::NamedTempFile::new().unwrap();
    pem.write_all(authority.pem().as_bytes()).unwrap();
    assert_eq!(trust::load(pem.path(), true).unwrap().len(), 1);
    let system = pingora::tls::load_native_certs().map_or(0, |certificates| certificates.len());
    assert!(trust::load(pem.path(), false).unwrap().len() > usize::from(system > 0));
}

#[test]
fn a_tls_ca_that_cannot_be_used_is_a_set_up_error() {
    let families = OriginFamilies::new(&Registry::new()).unwrap();
    let file = |text: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    };
    let place = OriginServer { tls: true, host: "localhost".to_owned(), port: 443 };
    for text in ["", "not PEM at all", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let pem = file(text);
        let config = Origin { tls: ca(pem.path().to_owned()), ..origin(vec![place.clone()]) };
        let error = Origins::new(&[config], &families).err().unwrap();
        assert!(matches!(error, OriginSetupError::TlsCa { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains(&pem.path().display().to_string()));
    }
    let missing = Origin { tls: ca("/no/such/file.pem"), ..origin(vec![place]) };
    assert!(Origins::new(&[missing], &families).err().unwrap().to_string().contains("/no/such/file.pem"));
}
