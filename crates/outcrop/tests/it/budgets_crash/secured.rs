//! PostgreSQL over TLS: whom the gateway believes, and what it says of whom it does not.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use outcrop_lab::Lab;

use super::{
    load::ask,
    place::{Place, paced_lab},
    postgres::Server,
};
use crate::{command_line::LAB_VARIABLES, house::Setup};

/// A server that listens on a port of loopback, and the certificate that it shows, made for `name`.
struct Secured {
    _server: Server,
    port: u16,
    certificate: PathBuf,
    _folder: tempfile::TempDir,
}

impl Secured {
    async fn start(name: &str, tls: bool) -> Self {
        let own = tempfile::tempdir().unwrap();
        let certificate = own.path().join("server.pem");
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        fs::write(&certificate, made.cert.pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (key, shown) = (made.signing_key.serialize_pem(), made.cert.pem());
        let server = Server::start_with(|folder| {
            let mut settings = vec!["listen_addresses=127.0.0.1".to_owned(), format!("port={port}")];
            if tls {
                let (key, shown) =
                    (private(folder, "server.key", &key), private(folder, "server.crt", &shown));
                settings.push("ssl=on".to_owned());
                settings.push(format!("ssl_key_file={}", key.display()));
                settings.push(format!("ssl_cert_file={}", shown.display()));
            }
            settings
        })
        .await;
        Self { _server: server, port, certificate, _folder: own }
    }

    /// A gateway that is to use it under `host`.
    fn place(&self, lab: &Lab, host: &str, mode: &str) -> Place {
        let url = format!("postgres://outcrop@{host}:{}/postgres?sslmode={mode}", self.port);
        let store = format!("url = \"{url}\"\ngrant_wait_max = \"1s\"");
        Place::new(lab, Setup { auth: "mode = \"open\"".to_owned(), store, ..Setup::default() })
    }

    /// What such a gateway says when it does not start.
    async fn refused(&self, lab: &Lab, host: &str, trusted: &Path) -> String {
        let place = self.place(lab, host, "require");
        let mut serve = Command::new(env!("CARGO_BIN_EXE_outcrop"));
        serve.arg("serve").arg("--config").arg(place.file()).envs(LAB_VARIABLES);
        serve.env("SSL_CERT_FILE", trusted).timeout(std::time::Duration::from_mins(1));
        let output = tokio::task::spawn_blocking(move || serve.output().unwrap()).await.unwrap();
        assert!(output.status.code().is_some_and(|code| code != 0), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

/// A file in the server's folder that only its owner may read, as the server wants it.
fn private(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let owner = fs::metadata(folder).unwrap();
    chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_believed_by_its_certificate_and_its_name() {
    let lab = paced_lab().await;
    let server = Secured::start("localhost", true).await;
    for mode in ["require", "verify-full"] {
        let place = server.place(&lab, "localhost", mode);
        let gateway = place.start_with(&[("SSL_CERT_FILE", &server.certificate)]).await;
        assert_eq!(ask(gateway.data, 0, &[]).await, "", "{mode}");
        assert_eq!(gateway.terminate().await, Some(0));
    }
    let said = server.refused(&lab, "127.0.0.1", &server.certificate).await;
    assert!(said.contains("not valid for name"), "another name: {said}");
    let other = tempfile::tempdir().unwrap();
    let stranger = other.path().join("other.pem");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    fs::write(&stranger, made.cert.pem()).unwrap();
    let said = server.refused(&lab, "localhost", &stranger).await;
    assert!(said.contains("invalid peer certificate"), "another authority: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_spoken_to_where_tls_is_wanted() {
    let lab = paced_lab().await;
    let server = Secured::start("localhost", false).await;
    let said = server.refused(&lab, "localhost", &server.certificate).await;
    assert!(said.contains("does not support TLS"), "{said}");
}
