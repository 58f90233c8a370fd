//! AWS Signature Version 4 in the `Authorization` header, verified.
//!
//! The expected signature is made by aws-sigv4 over what arrived: the headers that the caller names as
//! signed, the path as its bytes came (encoded a second time, as AWS asks for every service but S3), the
//! query and the hash of the body. It is compared in constant time. Not taken: presigned URLs,
//! session tokens (no pair of ours has one), chunked signatures, a date that is not in `x-amz-date`.
//! Source: AWS, "Signature Version 4 signing process"; vectors: aws-signing-test-suite.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_lc_rs::{constant_time, digest};
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningParams, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;
use http::header::{AUTHORIZATION, HOST};
use http::request::Parts;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use outcrop_core::failure::{Failure, Reason};
use secrecy::{ExposeSecret, SecretString};

/// How far a signature's time may be from ours.
const CLOCKS_APART_MAX: Duration = Duration::from_mins(5);
/// Most headers that a caller may sign; no more fit into a head.
const SIGNED_MAX: usize = 64;
const SERVICE: &str = "bedrock";
const CONTENT_HASH: &str = "x-amz-content-sha256";

/// What an authorization claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) access_key_id: Box<str>,
    region: Box<str>,
    service: Box<str>,
    /// Since the Unix epoch.
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
    for needed in ["host", "x-amz-date"] {
        if !names.iter().any(|name| **name == *needed) {
            return Err(malformed("SignedHeaders must name at least host and x-amz-date."));
        }
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

    fn expected(&self, head: &Parts, sent: &[u8]) -> Result<String, Failure> {
        let claim = &self.claim;
        let secret = self.secret.expose_secret();
        let identity = Credentials::new(&*claim.access_key_id, secret, None, None, "minted").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&claim.region)
            .name(&claim.service)
            .time(SystemTime::from(UNIX_EPOCH + claim.signed_at))
            .settings(settings())
            .build()
            .map_err(|error| mismatch().with_detail(error.to_string()))?;
        // Only the path and the query of the address are signed; the host is a header.
        let target = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let signable = SignableRequest::new(
            head.method.as_str(),
            format!("http://host{target}"),
            claim.headers(head)?.into_iter(),
            claim.body(head, sent)?,
        );
        let signed = signable.and_then(|request| sign(request, &SigningParams::V4(params)));
        let (_, signature) = signed.map_err(|error| mismatch().with_detail(error.to_string()))?.into_parts();
        Ok(signature)
    }
}

fn settings() -> SigningSettings {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Double;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Enabled;
    settings.payload_checksum_kind = PayloadChecksumKind::NoHeader;
    // The caller says which headers are signed.
    settings.excluded_headers = None;
    settings
}

impl Claim {
    fn signs(&self, name: &str) -> bool {
        self.signed.iter().any(|signed| **signed == *name)
    }

    /// The signed headers as they came; on HTTP/2 the host is the request's authority.
    fn headers<'a>(&'a self, head: &'a Parts) -> Result<Vec<(&'a str, &'a str)>, Failure> {
        let mut headers = Vec::with_capacity(self.signed.len());
        for name in &self.signed {
            let before = headers.len();
            for value in head.headers.get_all(&**name) {
                let text = std::str::from_utf8(value.as_bytes()).map_err(|_| mismatch())?;
                headers.push((&**name, text));
            }
            if headers.len() == before {
                let authority = head.uri.authority().filter(|_| **name == *HOST.as_str());
                headers.push((&**name, authority.ok_or_else(mismatch)?.as_str()));
            }
        }
        Ok(headers)
    }

    /// What stands for the body: its hash, which a signed header may repeat, or nothing where a signed
    /// header says so.
    fn body(&self, head: &Parts, sent: &[u8]) -> Result<SignableBody<'static>, Failure> {
        let computed = hex(digest::digest(&digest::SHA256, sent).as_ref());
        if !self.signs(CONTENT_HASH) {
            return Ok(SignableBody::Precomputed(computed));
        }
        match only(head, CONTENT_HASH) {
            Some("UNSIGNED-PAYLOAD") => Ok(SignableBody::UnsignedPayload),
            Some(told) if told == computed => Ok(SignableBody::Precomputed(computed)),
            Some(told) if told.starts_with("STREAMING-") => {
                Err(malformed("Chunked signatures are not taken; sign the whole body."))
            }
            Some(_) | None => Err(wrong("x-amz-content-sha256 is not the hash of the body.")),
        }
    }
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
