//! TLS: who is trusted, and which version of HTTP is spoken.

use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::fetch::{Failure, Outcome};

/// A server with a certificate of its own, which is its authority as well; it speaks what of `alpn` the viewer does, and tells how
/// many handshakes were whole ones.
async fn serve_tls(alpn: &[&str], whole: Rc<Cell<usize>>) -> (SocketAddr, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed(["cdn.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve(move |_, peer| {
        let (acceptor, whole) = (acceptor.clone(), whole.clone());
        async move {
            let Ok(mut stream) = acceptor.accept(peer.stream).await else { return };
            let session = stream.get_ref().1;
            if session.handshake_kind() == Some(rustls::HandshakeKind::Full) {
                whole.set(whole.get() + 1);
            }
            if session.alpn_protocol() == Some(b"h2") {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
                    stream.send_data(content(PATH, 0, 5000).into(), true).unwrap();
                }
                return;
            }
            let mut room = [0; 4096];
            while stream.read(&mut room).await.is_ok_and(|count| count > 0) {
                stream.write_all(&ok(&content(PATH, 0, 5000))).await.unwrap();
            }
        }
    })
    .await;
    (address, made.cert.pem().into_bytes())
}

fn reach(address: SocketAddr, authorities: Option<Vec<u8>>, insecure: bool) -> Arc<Network> {
    Network::new(Reach { connect_to: Some(address), authorities, insecure }).unwrap()
}

async fn ask(browser: &Browser, name: &str) -> Exchange {
    let url = Url::parse(&format!("https://{name}{PATH}")).unwrap();
    get_with(browser, &url, Body::Media, None, &[]).await
}

#[test]
fn a_server_is_trusted_by_its_authority_and_name_or_by_command() {
    run(async {
        let (address, pem) = serve_tls(&["http/1.1"], counter()).await;
        for (authorities, insecure, name, outcome) in [
            (Some(pem.clone()), false, "cdn.test", Outcome::Whole),
            (Some(pem.clone()), false, "other.test", Outcome::Failed(Failure::Tls)),
            (None, false, "cdn.test", Outcome::Failed(Failure::Tls)),
            (None, true, "other.test", Outcome::Whole),
        ] {
            for protocol in [Protocol::H1, Protocol::H2] {
                let browser = reach(address, authorities.clone(), insecure).browser(0, protocol, None);
                assert_eq!(ask(&browser, name).await.outcome, outcome, "{name} {insecure} {protocol:?}");
            }
        }
        let plain =
            serve(|_, mut peer| async move { peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n").await }).await;
        let browser = reach(plain, None, true).browser(0, Protocol::H1, None);
        assert_eq!(ask(&browser, "cdn.test").await.outcome, Outcome::Failed(Failure::Tls));
    });
}

#[test]
fn the_version_of_http_is_what_both_sides_speak() {
    run(async {
        let whole = counter();
        for (alpn, viewer, multiplexes) in [
            (&["h2", "http/1.1"][..], Protocol::H2, true),
            (&["h2", "http/1.1"], Protocol::H1, false),
            (&["http/1.1"], Protocol::H2, false),
            (&[], Protocol::H2, false),
        ] {
            let (address, pem) = serve_tls(alpn, whole.clone()).await;
            let browser = reach(address, Some(pem), false).browser(0, viewer, None);
            let (a, b) = tokio::join!(ask(&browser, "cdn.test"), ask(&browser, "cdn.test"));
            assert_eq!((a.outcome, b.outcome), (Outcome::Whole, Outcome::Whole), "{alpn:?}");
            // One connection for both, or one for each.
            let connected = usize::from(a.connected) + usize::from(b.connected);
            assert_eq!(connected, if multiplexes { 1 } else { 2 }, "{alpn:?} {viewer:?}");
            assert!(!ask(&browser, "cdn.test").await.connected);
        }
    });
}

#[test]
fn a_viewer_resumes_its_own_session_and_nobody_elses() {
    run(async {
        let whole = counter();
        let (address, pem) = serve_tls(&[], whole.clone()).await;
        let network = reach(address, Some(pem), false);
        let (first, second) =
            (network.browser(0, Protocol::H1, None), network.browser(1, Protocol::H1, None));
        assert_eq!(ask(&first, "cdn.test").await.outcome, Outcome::Whole);
        first.leave();
        let again = ask(&first, "cdn.test").await;
        assert_eq!((again.outcome, again.connected, whole.get()), (Outcome::Whole, true, 1));
        assert_eq!(ask(&second, "cdn.test").await.outcome, Outcome::Whole);
        assert_eq!(whole.get(), 2);
    });
}
