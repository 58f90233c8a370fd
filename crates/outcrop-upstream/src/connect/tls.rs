//! TLS configurations: which authorities are trusted, one provider (aws-lc-rs) for all.
//!
//! Paths with equal needs share one configuration. Authorities are loaded only when some path needs
//! TLS, because the platform's set costs time and memory.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::{BuildError, Connect};

/// Configurations made so far.
#[derive(Default)]
pub(crate) struct TlsConfigs {
    made: HashMap<(Trust, bool), Arc<ClientConfig>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trust {
    Nobody,
    Platform,
    File(PathBuf),
}

impl TlsConfigs {
    /// The configuration for connections of that kind; `secure` is whether the path uses TLS at all.
    pub(crate) fn get(
        &mut self,
        path: &Arc<str>,
        connect: &Connect,
        secure: bool,
    ) -> Result<Arc<ClientConfig>, BuildError> {
        let trust = match (&connect.ca_file, secure) {
            (_, false) => Trust::Nobody,
            (Some(file), true) => Trust::File(file.clone()),
            (None, true) => Trust::Platform,
        };
        let key = (trust, connect.http2);
        if let Some(config) = self.made.get(&key) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(
            make(&key.0, key.1)
                .map_err(|problem| BuildError::Authorities { path: Arc::clone(path), problem })?,
        );
        self.made.insert(key, Arc::clone(&config));
        Ok(config)
    }
}

fn make(trust: &Trust, http2: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match trust {
        Trust::Nobody => builder.with_root_certificates(RootCertStore::empty()),
        Trust::Platform => builder.with_native_roots().map_err(|error| error.to_string())?,
        Trust::File(file) => builder.with_root_certificates(read_roots(file)?),
    };
    let mut config = builder.with_no_client_auth();
    if http2 {
        config.alpn_protocols.push(b"h2".to_vec());
    }
    config.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(config)
}

fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let describe = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| describe(&e))? {
        roots.add(certificate.map_err(|e| describe(&e))?).map_err(|e| describe(&e))?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no certificate", file.display()));
    }
    Ok(roots)
}
