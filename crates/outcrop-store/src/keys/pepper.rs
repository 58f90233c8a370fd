//! The pepper: the secret under which keys are hashed, and from which the secrets of AWS pairs come.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

/// Shortest pepper accepted, in bytes.
pub const PEPPER_BYTES_MIN: usize = 32;
/// What is put in front of an access key id; no key begins with it, so no hash is a secret.
const PAIR_DOMAIN: &[u8] = b"outcrop aws pair v1\0";
/// Bytes of a derived secret: 240 bits, 40 characters of base64 as in AWS.
const PAIR_SECRET_BYTES: usize = 30;

/// The secret under which keys are hashed.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pepper")
    }
}

impl Pepper {
    /// Takes the bytes of a pepper.
    pub fn new(secret: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    /// The hash under which a key is kept.
    pub fn hash(&self, key: &str) -> Vec<u8> {
        hmac::sign(&self.0, key.as_bytes()).as_ref().to_vec()
    }

    /// Whether `hash` is this key's, compared in constant time.
    pub fn knows(&self, key: &str, hash: &[u8]) -> bool {
        hmac::verify(&self.0, key.as_bytes(), hash).is_ok()
    }

    /// Whether this is the same secret.
    pub fn is(&self, other: &Self) -> bool {
        self.knows("", &other.hash(""))
    }

    /// The secret that belongs to an access key id.
    pub fn pair_secret(&self, access_key_id: &str) -> SecretString {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(PAIR_DOMAIN);
        context.update(access_key_id.as_bytes());
        let tag = context.sign();
        STANDARD.encode(tag.as_ref().get(..PAIR_SECRET_BYTES).unwrap_or_default()).into()
    }
}

/// The part of a key that may be shown: `oc_` and the characters up to the second `_`.
pub fn public_prefix(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("oc_")?;
    let end = rest.find('_')?;
    key.get(.."oc_".len() + end)
}

/// Bytes as lower-case hex digits.
pub fn to_hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The 32 bytes of 64 hex digits.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..64).step_by(2).map(|n| u8::from_str_radix(text.get(n..n + 2)?, 16).ok()).collect()
}
