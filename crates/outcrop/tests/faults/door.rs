//! TLS in front of a lab, with a certificate that can go bad.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls_pki_types::PrivateKeyDer;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// A listener that speaks TLS and hands on to a plain address.
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    /// The authority of its good certificate.
    pub(crate) authority: String,
    good: Arc<ServerConfig>,
    shown: Arc<Mutex<Arc<ServerConfig>>>,
    generation: watch::Sender<u64>,
}

impl Door {
    pub(crate) async fn before(target: SocketAddr) -> Self {
        let (good, authority) = certificate();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shown = Arc::new(Mutex::new(Arc::clone(&good)));
        let (generation, changes) = watch::channel(0);
        let seen = Arc::clone(&shown);
        tokio::spawn(async move {
            loop {
                let (outer, _) = listener.accept().await.unwrap();
                let acceptor = TlsAcceptor::from(Arc::clone(&seen.lock().unwrap()));
                let mut changes = changes.clone();
                changes.mark_unchanged();
                tokio::spawn(async move {
                    let Ok(mut outer) = acceptor.accept(outer).await else { return };
                    let Ok(mut inner) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut outer, &mut inner) => {}
                        _ = changes.changed() => {}
                    }
                });
            }
        });
        Self { address, authority, good, shown, generation }
    }

    /// Shows a certificate that nobody trusts, and closes what is open.
    pub(crate) fn go_bad(&self) {
        *self.shown.lock().unwrap() = certificate().0;
        self.generation.send_modify(|n| *n += 1);
    }

    pub(crate) fn go_good(&self) {
        *self.shown.lock().unwrap() = Arc::clone(&self.good);
    }
}

/// A certificate for 127.0.0.1 that is its own authority, and that authority as PEM.
fn certificate() -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), made.cert.pem())
}
