//! AWS Signature Version 4 in the `Authorization` header, verified.
//!
//! The expected signature is made over what arrived: the headers that the caller names as signed, the
//! path as its bytes came (encoded a second time, as AWS asks for every service but S3; paths that a
//! client would have to normalise are no routes), the query and the hash of the body. It is compared in
//! constant time. aws-sigv4 makes the key and the signature, but not the request's canonical form,
//! because it always signs `host`, where the AWS SDK for JavaScript signs `:authority` over HTTP/2. Not
//! taken: presigned URLs, session tokens (no pair of ours has one), chunked signatures, a date that is
//! not in `x-amz-date`. Source: AWS, "Signature Version 4 signing process"; vectors:
//! aws-signing-test-suite.

use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::{constant_time, digest};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use outcrop_core::failure::{Failure, Reason};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};

/// How far a signature's time may be from ours.
const CLOCKS_APART_MAX: Duration = Duration::from_mins(5);
/// Most headers that a caller may sign; no more fit into a head.
const SIGNED_MAX: usize = 64;
const SERVICE: &str = "bedrock";
const CONTENT_HASH: &str = "x-amz-content-sha256";
/// The host of a request over HTTP/2, as a name that can be signed.
const AUTHORITY: &str = ":authority";
/// What stands for a body that is not signed.
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// What AWS encodes in a query: everything but the unreserved characters of RFC 3986.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The same in a path, whose slashes stay.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// What an authorization claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) access_key_id: Box<str>,
    region: Box<str>,
    service: Box<str>,
    /// The day of the scope, and the whole date, as they are written.
    day: Box<str>,
    date: Box<str>,
    /// The date since the Unix epoch.
    signed_at: Duration,
    /// Lower-case, in order, each once.
    signed: Vec<Box<str>>,
    signature: Box<str>,
}

/// A claim, and the secret it has to be made with.
pub(crate) struct Signature {
    pub(super) claim: Claim,
    pub(super) secret: SecretString,
}

fn malformed(message: &'static str) -> Failure {
    Failure::unsigned(Reason::MalformedSignature, message)
}

fn wrong(message: &'static str) -> Failure {
    Failure::unsigned(Reason::WrongSignature, message)
}

/// Reads the authorization of a request, and checks everything that needs neither body nor secret.
pub(super) fn read(head: &Parts, text: &str, now: Duration) -> Result<Claim, Failure> {
    if head.headers.get_all(AUTHORIZATION).iter().count() > 1 {
        return Err(malformed("The request has more than one Authorization header."));
    }
    if head.headers.contains_key("x-amz-security-token") {
        return Err(Failure::unsigned(
            Reason::UnknownPair,
            "The security token included in the request is invalid: pairs of this gateway have no session \
             token, so leave it out.",
        ));
    }
    let claim = parse(head, text)?;
    if claim.service.as_ref() != SERVICE {
        return Err(wrong("Credential should be scoped to the service `bedrock`."));
    }
    if claim.signed_at.abs_diff(now) > CLOCKS_APART_MAX {
        return Err(wrong(
            "Signature expired or not yet valid: x-amz-date is more than 5 minutes from this gateway's clock; \
             set the clock of the client.",
        ));
    }
    Ok(claim)
}

pub(super) fn parse(head: &Parts, text: &str) -> Result<Claim, Failure> {
    let Some(rest) = text.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return Err(malformed("Only the algorithm AWS4-HMAC-SHA256 is taken."));
    };
    let [credential, signed, signature] = fields(rest).ok_or_else(|| {
        malformed("Authorization needs exactly `Credential`, `SignedHeaders` and `Signature`.")
    })?;
    let scope: Vec<&str> = credential.split('/').collect();
    let [access_key_id, day, region, service, "aws4_request"] = scope[..] else {
        return Err(malformed("Credential must be KEY/DATE/REGION/SERVICE/aws4_request."));
    };
    if !is_region(region) {
        return Err(malformed("Credential names no region."));
    }
    let date = only(head, "x-amz-date").ok_or_else(|| malformed("x-amz-date is needed, once."))?;
    let signed_at = instant(date).ok_or_else(|| malformed("x-amz-date must be written 20261124T120000Z."))?;
    if date.get(..8) != Some(day) {
        return Err(malformed("Credential and x-amz-date name two days."));
    }
    Ok(Claim {
        access_key_id: access_key_id.into(),
        region: region.into(),
        service: service.into(),
        day: day.into(),
        date: date.into(),
        signed_at,
        signed: signed_headers(signed)?,
        signature: signature.into(),
    })
}

/// The three fields of an authorization, in whatever order they came; none twice, no other.
fn fields(text: &str) -> Option<[&str; 3]> {
    let mut found = [None; 3];
    for part in text.split(',') {
        let (name, value) = part.trim().split_once('=')?;
        let at = ["Credential", "SignedHeaders", "Signature"].iter().position(|known| *known == name)?;
        if found.get_mut(at)?.replace(value).is_some() {
            return None;
        }
    }
    let [credential, signed, signature] = found;
    Some([credential?, signed?, signature?])
}

fn signed_headers(text: &str) -> Result<Vec<Box<str>>, Failure> {
    let names: Vec<Box<str>> = text.split(';').map(Into::into).collect();
    let plain = |name: &str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
    let sorted = names.is_sorted_by(|a, b| a < b);
    if !sorted || names.len() > SIGNED_MAX || !names.iter().all(|name| plain(name)) {
        return Err(malformed("SignedHeaders must be lower-case, in order, each name once."));
    }
    let signs = |wanted: &str| names.iter().any(|name| **name == *wanted);
    if !signs("x-amz-date") || !(signs(HOST.as_str()) || signs(AUTHORITY)) {
        return Err(malformed("SignedHeaders must name at least host and x-amz-date."));
    }
    Ok(names)
}

fn is_region(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (2..=40).contains(&text.len()) && text.bytes().all(plain)
}

fn instant(text: &str) -> Option<Duration> {
    let at = DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok().filter(|_| text.len() == 16)?;
    let second = at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second();
    Some(Duration::from_secs(u64::try_from(second).ok()?))
}

/// The value of a header that must be there once.
fn only<'a>(head: &'a Parts, name: &str) -> Option<&'a str> {
    let mut values = head.headers.get_all(name).iter();
    let value = values.next()?.to_str().ok();
    if values.next().is_some() { None } else { value }
}

impl Signature {
    /// Whether the signature is that of this head and this body, which is given as it was sent.
    pub(crate) fn verify(&self, head: &Parts, sent: &[u8]) -> Result<(), Failure> {
        let expected = self.expected(head, sent)?;
        constant_time::verify_slices_are_equal(expected.as_bytes(), self.claim.signature.as_bytes())
            .map_err(|_| mismatch())
    }

    pub(super) fn expected(&self, head: &Parts, sent: &[u8]) -> Result<String, Failure> {
        let Claim { region, service, day, date, .. } = &self.claim;
        let canonical = self.claim.canonical(head, sent)?;
        let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let told = format!("AWS4-HMAC-SHA256\n{date}\n{day}/{region}/{service}/aws4_request\n{hash}");
        let time = UNIX_EPOCH + self.claim.signed_at;
        let key = v4::generate_signing_key(self.secret.expose_secret(), time, region, service);
        Ok(v4::calculate_signature(key, told.as_bytes()))
    }
}

impl Claim {
    fn signs(&self, name: &str) -> bool {
        self.signed.iter().any(|signed| **signed == *name)
    }

    /// The request in the form that is signed.
    fn canonical(&self, head: &Parts, sent: &[u8]) -> Result<String, Failure> {
        let path = utf8_percent_encode(head.uri.path(), PATH);
        let query = canonical_query(head.uri.query().unwrap_or_default());
        let mut text = format!("{}\n{path}\n{query}\n", head.method);
        for name in &self.signed {
            text.push_str(name);
            text.push(':');
            text.push_str(&value_of(head, name)?);
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.signed.join(";"));
        text.push('\n');
        text.push_str(&self.body(head, sent)?);
        Ok(text)
    }

    /// What stands for the body: its hash, which a signed header may repeat, or nothing where a signed
    /// header says so.
    fn body(&self, head: &Parts, sent: &[u8]) -> Result<String, Failure> {
        let computed = hex(digest::digest(&digest::SHA256, sent).as_ref());
        if !self.signs(CONTENT_HASH) {
            return Ok(computed);
        }
        match only(head, CONTENT_HASH) {
            Some(UNSIGNED) => Ok(UNSIGNED.to_owned()),
            Some(told) if told == computed => Ok(computed),
            Some(told) if told.starts_with("STREAMING-") => {
                Err(malformed("Chunked signatures are not taken; sign the whole body."))
            }
            Some(_) | None => Err(wrong("x-amz-content-sha256 is not the hash of the body.")),
        }
    }
}

/// The parameters decoded, encoded as AWS does, and in order.
fn canonical_query(query: &str) -> String {
    let encode = |text: &str| {
        let plain = percent_decode_str(text).decode_utf8_lossy();
        utf8_percent_encode(&plain, QUERY).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<(String, String)> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// The values of a signed header, trimmed, runs of spaces as one, joined. Over HTTP/2 the host is the
/// request's authority, whichever of its two names is signed.
fn value_of(head: &Parts, name: &str) -> Result<String, Failure> {
    let header = if name == AUTHORITY { HOST.as_str() } else { name };
    let mut values = Vec::new();
    for value in head.headers.get_all(header) {
        let text = std::str::from_utf8(value.as_bytes()).map_err(|_| mismatch())?;
        values.push(text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    }
    if values.is_empty() {
        let authority = head.uri.authority().filter(|_| header == HOST.as_str());
        return Ok(authority.ok_or_else(mismatch)?.as_str().to_owned());
    }
    Ok(values.join(","))
}

fn mismatch() -> Failure {
    wrong(
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
         Access Key and signing method.",
    )
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing into a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
