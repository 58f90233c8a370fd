//! Writes a report and its signature, and reads them again.
//!
//! The record is written and signed as the same bytes; every other form is made from it. The key is the operator's
//! (`--sign-key`) or one that is made once and kept; which of both it is, is said whenever it signs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use outcrop_lab::certify::outcome::Outcome;
use outcrop_lab::certify::report::document::BYTES_MAX;
use outcrop_lab::certify::report::signature::{self, KeyError, SigningKey, VerifyError};
use outcrop_lab::certify::report::{
    Document, DocumentError, HTML_NAME, JSON_NAME, JUNIT_NAME, MARKDOWN_NAME, Provenance, SIGNATURE_NAME,
    Standing, html, junit, markdown,
};

use crate::secret_file;

/// Name of the key that is made where none is given.
const KEY_NAME: &str = "outcrop-certify.key";

/// A key and where it comes from.
#[derive(Debug)]
pub struct Signer {
    key: SigningKey,
    /// Whether this program made it: then it proves integrity only.
    own: bool,
    path: PathBuf,
}

/// What was written.
#[derive(Debug)]
pub struct Published {
    /// The page for people.
    pub html: PathBuf,
    /// How the run stands.
    pub standing: Standing,
    /// Who signed, and what that proves; a sentence.
    pub signed: String,
}

/// Why a report was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The system refuses.
    #[error("{}: {error}", .path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others may use the key.
    #[error("the signing key {} can be read by others (mode {mode:o}); `chmod 600` it, or take a new one", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key.
    #[error("the signing key {}: {error}", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// It is no report.
    #[error("{}: {error}", .path.display())]
    Document {
        /// The file.
        path: PathBuf,
        /// Why.
        error: DocumentError,
    },
    /// The report was changed.
    #[error("{}: {error}", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Why.
        error: VerifyError,
    },
    /// A page could not be made.
    #[error("the report could not be rendered")]
    Render,
}

impl Signer {
    /// The operator's key, or the one of this folder, which is made where there is none.
    pub fn new(given: Option<&Path>, folder: &Path) -> Result<Self, PublishError> {
        let path = given.map_or_else(|| folder.join(KEY_NAME), Path::to_owned);
        let failed = |error| PublishError::System { path: path.clone(), error };
        if given.is_none() && !path.exists() {
            let (_, kept) =
                SigningKey::generate().map_err(|error| PublishError::Key { path: path.clone(), error })?;
            secret_file::create(&path, &kept).map_err(failed)?;
        }
        if let Some(mode) = secret_file::exposed(&path).map_err(failed)? {
            return Err(PublishError::Exposed { path, mode });
        }
        let text = fs::read_to_string(&path).map_err(failed)?;
        let key =
            SigningKey::from_pem(&text).map_err(|error| PublishError::Key { path: path.clone(), error })?;
        Ok(Self { key, own: given.is_none(), path })
    }

    /// Id of the key.
    pub fn id(&self) -> String {
        self.key.id()
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> String {
        self.key.public_pem()
    }

    fn said(&self) -> String {
        let (id, path) = (self.id(), self.path.display());
        if self.own {
            format!(
                "signed by {id}, a key that outcrop made for itself ({path}): it proves that the report is unchanged, not \
                 where it comes from; --sign-key signs with yours"
            )
        } else {
            format!("signed by {id} ({path})")
        }
    }
}

/// Writes a run as a signed report: record, signature, page, summary, JUnit and the public key.
pub fn publish(outcome: Outcome, folder: &Path, signer: &Signer) -> Result<Published, PublishError> {
    let document = Document::new(outcome);
    let path = folder.join(JSON_NAME);
    let bytes = document.to_json().map_err(|error| PublishError::Document { path: path.clone(), error })?;
    fs::create_dir_all(folder).map_err(|error| PublishError::System { path: folder.to_owned(), error })?;
    write(&path, &bytes)?;
    write(&folder.join(SIGNATURE_NAME), signature::sign(&bytes, &signer.key).as_bytes())?;
    write(&folder.join("signer.pub.pem"), signer.public_pem().as_bytes())?;
    let provenance = Provenance { sha256: signature::sha256_hex(&bytes), key_id: Some(signer.id()) };
    let html = render(&document.outcome, &provenance, folder)?;
    Ok(Published { html, standing: Standing::of(&document.outcome), signed: signer.said() })
}

/// Writes what is made from the record; gives the page.
pub(super) fn render(
    outcome: &Outcome,
    provenance: &Provenance,
    folder: &Path,
) -> Result<PathBuf, PublishError> {
    fs::create_dir_all(folder).map_err(|error| PublishError::System { path: folder.to_owned(), error })?;
    let page = folder.join(HTML_NAME);
    let text = html::render(outcome, provenance).map_err(|_| PublishError::Render)?;
    write(&page, text.as_bytes())?;
    write(&folder.join(MARKDOWN_NAME), markdown::render(outcome, provenance).as_bytes())?;
    let text = junit::render(outcome).map_err(|_| PublishError::Render)?;
    write(&folder.join(JUNIT_NAME), text.as_bytes())?;
    Ok(page)
}

/// A report's bytes and what they say.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, Document), PublishError> {
    let bytes = read_bytes(path)?;
    let document = Document::from_json(&bytes)
        .map_err(|error| PublishError::Document { path: path.to_owned(), error })?;
    Ok((bytes, document))
}

/// The bytes of a file, as long as they may be a report's.
pub(super) fn read_bytes(path: &Path) -> Result<Vec<u8>, PublishError> {
    let failed = |error| PublishError::System { path: path.to_owned(), error };
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > BYTES_MAX as u64 {
        return Err(failed(io::Error::other(format!(
            "{length} bytes are too many; at most {BYTES_MAX} are read"
        ))));
    }
    fs::read(path).map_err(failed)
}

/// Where the signature of a report is.
pub(super) fn signature_of(report: &Path) -> PathBuf {
    let mut name = report.as_os_str().to_owned();
    name.push(".sig");
    PathBuf::from(name)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), PublishError> {
    fs::write(path, bytes).map_err(|error| PublishError::System { path: path.to_owned(), error })
}
