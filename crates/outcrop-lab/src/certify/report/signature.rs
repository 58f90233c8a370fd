//! The detached signature of a report: Ed25519 over the exact bytes of the JSON file.
//!
//! The document beside the report carries the public key, so that a reader needs nothing else to find a changed byte.
//! A key that travels with what it signs proves integrity only; who made the report is proved by a key that the reader
//! had before ([`Pin`]). Every byte of the document is checked too: it must be exactly what signing would have written.

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};

/// What the document calls itself.
const FORMAT: &str = "outcrop-certify-signature/1";
/// The only algorithm.
const ALGORITHM: &str = "Ed25519";
/// What a public key begins with as SubjectPublicKeyInfo (RFC 8410); its 32 bytes follow.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bytes of such a key.
const SPKI_BYTES: usize = 44;
/// Columns of base64 in PEM (RFC 7468).
const PEM_COLUMNS: usize = 64;

/// A private key that signs reports.
#[derive(Debug)]
pub struct SigningKey(Ed25519KeyPair);

/// A public key, or the fingerprint of one, that the reader had before the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// The key itself, as the DER of its SubjectPublicKeyInfo.
    Key(Vec<u8>),
    /// Its id, `sha256:` and 64 hexadecimal digits.
    Id(String),
}

/// What a signature that holds says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// SHA-256 of the report, hexadecimal.
    pub sha256: String,
    /// Id of the key.
    pub key_id: String,
    /// Whether the key is the one that the reader had.
    pub pinned: bool,
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not a PEM document of the expected kind.
    #[error(
        "no PEM block `{0}`; `openssl genpkey -algorithm ed25519` makes a private key, `openssl pkey -pubout` its public one"
    )]
    NotPem(&'static str),
    /// Some other kind of key.
    #[error("not an Ed25519 key; `openssl genpkey -algorithm ed25519` makes one")]
    NotEd25519,
    /// Not an id.
    #[error("a key id is `sha256:` and 64 hexadecimal digits")]
    NotId,
    /// The system gave no randomness.
    #[error("the system gives no randomness")]
    NoRandomness,
}

/// Why a signature does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// The signature file is damaged.
    #[error("the signature file is not what `outcrop certify` writes: {0}")]
    Malformed(String),
    /// The report is another one.
    #[error("the report was changed: its SHA-256 is {actual}, signed was {signed}")]
    Changed {
        /// What the file has.
        actual: String,
        /// What the signature file says.
        signed: String,
    },
    /// The arithmetic says no.
    #[error("the signature does not belong to this report and this key")]
    Forged,
    /// A good signature by somebody else.
    #[error("the signature is by key {actual}, not by the key that was asked for ({wanted})")]
    OtherKey {
        /// Who signed.
        actual: String,
        /// Who should have.
        wanted: String,
    },
}

/// The document, in the order of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    algorithm: String,
    sha256: String,
    key_id: String,
    public_key: String,
    signature: String,
}

impl SigningKey {
    /// Makes a key and gives it as PEM (PKCS #8) for keeping.
    pub fn generate() -> Result<(Self, String), KeyError> {
        let document =
            Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map_err(|_| KeyError::NoRandomness)?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|_| KeyError::NotEd25519)?;
        Ok((Self(pair), pem("PRIVATE KEY", document.as_ref())))
    }

    /// Reads a key from PEM (PKCS #8), as `openssl genpkey -algorithm ed25519` writes it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let der = unpem("PRIVATE KEY", text)?;
        Ed25519KeyPair::from_pkcs8(&der).map(Self).map_err(|_| KeyError::NotEd25519)
    }

    /// Id of the public key: `sha256:` and the digest of its SubjectPublicKeyInfo.
    pub fn id(&self) -> String {
        key_id(&self.spki())
    }

    /// The public key as PEM, for whoever wants to know the signer.
    pub fn public_pem(&self) -> String {
        pem("PUBLIC KEY", &self.spki())
    }

    fn spki(&self) -> Vec<u8> {
        let encoded: Result<PublicKeyX509Der<'_>, _> = self.0.public_key().as_der();
        // The encoder fails only without memory; an empty key verifies nothing.
        encoded.map(|der| der.as_ref().to_vec()).unwrap_or_default()
    }
}

impl Pin {
    /// Reads a pin: the text of a PEM file, or an id.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.contains("-----BEGIN") {
            let der = unpem("PUBLIC KEY", text)?;
            return if is_ed25519(&der) { Ok(Self::Key(der)) } else { Err(KeyError::NotEd25519) };
        }
        let digits = text.strip_prefix("sha256:").ok_or(KeyError::NotId)?;
        if digits.len() != 64 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(KeyError::NotId);
        }
        Ok(Self::Id(text.to_ascii_lowercase()))
    }

    fn id(&self) -> String {
        match self {
            Self::Key(der) => key_id(der),
            Self::Id(id) => id.clone(),
        }
    }
}

/// Signs the bytes of a report; gives the text of the file beside it.
pub fn sign(report: &[u8], key: &SigningKey) -> String {
    let spki = key.spki();
    Document {
        format: FORMAT.to_owned(),
        algorithm: ALGORITHM.to_owned(),
        sha256: sha256_hex(report),
        key_id: key_id(&spki),
        public_key: STANDARD.encode(&spki),
        signature: STANDARD.encode(key.0.sign(report).as_ref()),
    }
    .text()
}

/// Checks a report against the text of its signature file, and the signer against a pin.
pub fn verify(report: &[u8], signature: &str, pin: Option<&Pin>) -> Result<Verified, VerifyError> {
    let malformed = |what: &str| VerifyError::Malformed(what.to_owned());
    let document: Document =
        serde_json::from_str(signature).map_err(|error| VerifyError::Malformed(error.to_string()))?;
    if document.format != FORMAT || document.algorithm != ALGORITHM {
        return Err(malformed("unknown format or algorithm"));
    }
    let spki = STANDARD.decode(&document.public_key).map_err(|_| malformed("the key is not base64"))?;
    let bytes = STANDARD.decode(&document.signature).map_err(|_| malformed("the signature is not base64"))?;
    if !is_ed25519(&spki) || key_id(&spki) != document.key_id {
        return Err(malformed("the key and its id differ"));
    }
    if document.text() != signature {
        return Err(malformed("its layout was changed"));
    }
    let actual = sha256_hex(report);
    if actual != document.sha256 {
        return Err(VerifyError::Changed { actual, signed: document.sha256 });
    }
    let key = ParsedPublicKey::new(&ED25519, spki.get(SPKI_PREFIX.len()..).unwrap_or_default())
        .map_err(|_| malformed("the key is no point of the curve"))?;
    key.verify_sig(report, &bytes).map_err(|_| VerifyError::Forged)?;
    if let Some(pin) = pin.filter(|pin| pin.id() != document.key_id) {
        return Err(VerifyError::OtherKey { actual: document.key_id, wanted: pin.id() });
    }
    Ok(Verified { sha256: actual, key_id: document.key_id, pinned: pin.is_some() })
}

/// SHA-256 of bytes, hexadecimal.
pub fn sha256_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in digest(&SHA256, bytes).as_ref() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Document {
    fn text(&self) -> String {
        // Strings alone cannot fail to serialise; an empty document verifies nothing.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

fn key_id(spki: &[u8]) -> String {
    format!("sha256:{}", sha256_hex(spki))
}

fn is_ed25519(spki: &[u8]) -> bool {
    spki.len() == SPKI_BYTES && spki.starts_with(&SPKI_PREFIX)
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(PEM_COLUMNS) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

fn unpem(label: &'static str, text: &str) -> Result<Vec<u8>, KeyError> {
    let missing = |_| KeyError::NotPem(label);
    match label {
        "PRIVATE KEY" => PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes())
            .map(|der| der.secret_pkcs8_der().to_vec())
            .map_err(missing),
        _ => SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes())
            .map(|der| der.as_ref().to_vec())
            .map_err(missing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate().unwrap().0
    }

    #[test]
    fn a_changed_byte_is_found_wherever_it_is() {
        let report = b"{\"format\": \"x\", \"verdict\": \"passed\"}\n".to_vec();
        let signature = sign(&report, &key());
        assert!(!verify(&report, &signature, None).unwrap().pinned);
        for at in 0..report.len() {
            let mut other = report.clone();
            other[at] ^= 1;
            assert!(
                matches!(verify(&other, &signature, None), Err(VerifyError::Changed { .. })),
                "byte {at}"
            );
        }
        for at in 0..signature.len() {
            let mut other = signature.clone().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8_lossy(&other).into_owned();
            assert!(verify(&report, &other, None).is_err(), "byte {at} of the signature file");
        }
        assert!(verify(&report, &format!("{signature} "), None).is_err(), "one byte more");
        assert!(verify(&[report.as_slice(), b"\n"].concat(), &signature, None).is_err(), "one byte more");
    }

    #[test]
    fn a_report_signed_anew_is_told_from_the_signers_own() {
        let (mine, theirs) = (key(), key());
        let forged = sign(b"passed", &theirs);
        assert!(verify(b"passed", &forged, None).is_ok(), "integrity holds without a pin");
        for pin in [mine.id(), mine.public_pem()] {
            let pin = Pin::parse(&pin).unwrap();
            assert!(verify(b"passed", &sign(b"passed", &mine), Some(&pin)).unwrap().pinned);
            let refused = verify(b"passed", &forged, Some(&pin));
            assert_eq!(refused, Err(VerifyError::OtherKey { actual: theirs.id(), wanted: mine.id() }));
        }
    }

    #[test]
    fn a_digest_that_was_corrected_does_not_help() {
        let signature = sign(b"failed", &key());
        let mended = signature.replace(&sha256_hex(b"failed"), &sha256_hex(b"passed"));
        assert_eq!(verify(b"passed", &mended, None), Err(VerifyError::Forged));
    }

    #[test]
    fn keys_are_kept_and_read_again() {
        let (made, kept) = SigningKey::generate().unwrap();
        assert_eq!(SigningKey::from_pem(&kept).unwrap().id(), made.id());
        assert_eq!(SigningKey::from_pem("nonsense").unwrap_err(), KeyError::NotPem("PRIVATE KEY"));
        let rsa = pem("PUBLIC KEY", &[0x30, 0x2a, 0x30]);
        assert_eq!(Pin::parse(&rsa).unwrap_err(), KeyError::NotEd25519);
        for bad in ["", "sha256:12", &format!("sha256:{}", "g".repeat(64))] {
            assert_eq!(Pin::parse(bad).unwrap_err(), KeyError::NotId);
        }
    }

    /// Made by `openssl genpkey -algorithm ed25519`.
    #[test]
    fn a_key_by_openssl_signs() {
        let text = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n\
            -----END PRIVATE KEY-----\n";
        let key = SigningKey::from_pem(text).unwrap();
        // RFC 8032, test 1: the public key that belongs to this seed.
        assert!(key.spki().ends_with(&[0xf7, 0x07, 0x51, 0x1a]), "{:02x?}", key.spki());
    }
}
