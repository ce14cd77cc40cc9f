//! Which certificates of an origin are accepted.

use std::io::Write;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::scripted::{Scripted, answer};
use super::*;
use crate::origin::OriginSetupError;

/// A TLS server with a certificate of its own for `names`, and a PEM file that holds the certificate.
async fn tls_server(names: &[&str]) -> (Scripted, tempfile::NamedTempFile) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).unwrap();
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
    Origin { retry: Retry { attempts: 1, on_connect: true, on_status: vec![] }, ..origin(vec![place]) }
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
        let config = Origin { tls_ca: Some(pem.path().to_owned()), ..https(&server, host) };
        let (group, _registry) = set_up(&config);
        for _ in 0..2 {
            assert_eq!(body(&mut group.fetch(&get("/x")).await.unwrap()).await.unwrap(), "segment");
        }
        assert_eq!(server.seen()[1].connection, 0);
        assert!(group.upstream_peer().await.unwrap().peer.options.ca.is_some());
    }
}

#[tokio::test]
async fn an_unknown_certificate_is_refused() {
    let (server, _pem) = tls_server(&["localhost"]).await;
    refused(&https(&server, "localhost")).await;
    let (_other, other_pem) = tls_server(&["localhost"]).await;
    refused(&Origin { tls_ca: Some(other_pem.path().to_owned()), ..https(&server, "localhost") }).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (server, pem) = tls_server(&["other.example"]).await;
    for host in ["localhost", "127.0.0.1"] {
        let config = Origin {
            tls_ca: Some(pem.path().to_owned()),
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
    let with = Origin { tls_ca: Some(pem.path().to_owned()), ..https(&server, "localhost") };
    let origins = Origins::new(&[with, without], &OriginFamilies::new(&Registry::new()).unwrap()).unwrap();
    body(&mut origins.group(0).fetch(&get("/x")).await.unwrap()).await.unwrap();
    assert_eq!(origins.group(1).fetch(&get("/x")).await.err().unwrap().as_str(), "tls");
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
        let config = Origin { tls_ca: Some(pem.path().to_owned()), ..origin(vec![place.clone()]) };
        let error = Origins::new(&[config], &families).err().unwrap();
        assert!(matches!(error, OriginSetupError::TlsCa { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains(&pem.path().display().to_string()));
    }
    let missing = Origin { tls_ca: Some("/no/such/file.pem".into()), ..origin(vec![place]) };
    assert!(Origins::new(&[missing], &families).err().unwrap().to_string().contains("/no/such/file.pem"));
}
