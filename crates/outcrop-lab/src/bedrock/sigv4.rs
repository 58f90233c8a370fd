//! Who calls: AWS Signature Version 4, recomputed over the raw request, or a Bedrock API key as bearer.
//!
//! The caller chooses the signed headers; the path is signed as received, percent-encoded once more. The checks run in
//! the order of the real service, so that each mistake earns the same error.

mod canonical;

use std::time::{Duration, SystemTime};

use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use subtle::ConstantTimeEq;

use super::refusal::Refusal;
use crate::{exchange::Received, requests::sha256_hex};

/// The access key id the simulators accept.
pub const ACCESS_KEY_ID: &str = "AKIAOUTCROPLAB000001";

/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "outcrop-lab-secret-key-000000000000000001";

/// The Bedrock API key the simulators accept.
pub const BEARER: &str = "outcrop-lab-bedrock-bearer";

/// How far the caller's clock may be off.
const SKEW_MAX: Duration = Duration::from_mins(5);

/// The name under which HTTP/2 callers sign the host.
const AUTHORITY: &str = ":authority";

const SERVICE: &str = "bedrock";
const DATE_TIME: &str = "%Y%m%dT%H%M%SZ";

/// The parts of an `Authorization` header.
#[derive(Debug)]
struct Authorization<'a> {
    access_key_id: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

/// Checks the credential of a request at a target in `region` whose clock shows `now`.
pub(super) fn verify(received: &Received, region: &str, now: SystemTime) -> Result<(), Refusal> {
    let Some(authorization) = received.header("authorization") else {
        return Err(Refusal::usual("MissingAuthenticationTokenException"));
    };
    if let Some(key) = authorization.strip_prefix("Bearer ") {
        return if same(key, BEARER) {
            Ok(())
        } else {
            let message = "Authentication failed: Please make sure your API Key is valid.";
            Err(Refusal::named("AccessDeniedException", message))
        };
    }
    let authorization = Authorization::parse(authorization)?;
    authorization.check_scope(region)?;
    let at = signing_time(received, authorization.date)?;
    check_skew(at, now)?;
    authorization.check_coverage(received)?;
    let expected = signature(received, &authorization, at)?;
    if same(&expected, authorization.signature) {
        Ok(())
    } else {
        Err(Refusal::usual("InvalidSignatureException"))
    }
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, Refusal> {
        let incomplete = |what: &str| {
            let message = format!(
                "Authorization header requires '{what}' parameter. Authorization={}",
                sha256_hex(header.as_bytes())
            );
            Refusal::named("IncompleteSignatureException", message)
        };
        let parts = header.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(|| {
            Refusal::named("IncompleteSignatureException", "Unsupported authorization algorithm.")
        })?;
        let field = |name: &str| {
            parts
                .split(',')
                .filter_map(|part| part.trim().split_once('='))
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value)
                .ok_or_else(|| incomplete(name))
        };
        let mut scope = field("Credential")?.split('/');
        let mut next =
            || scope.next().filter(|part| !part.is_empty()).ok_or_else(|| incomplete("Credential"));
        let (access_key_id, date, region, service, terminator) =
            (next()?, next()?, next()?, next()?, next()?);
        if terminator != "aws4_request" {
            return Err(Refusal::named(
                "InvalidSignatureException",
                "Credential should be scoped with a valid terminator: 'aws4_request'.",
            ));
        }
        Ok(Self {
            access_key_id,
            date,
            region,
            service,
            signed_headers: field("SignedHeaders")?.split(';').collect(),
            signature: field("Signature")?,
        })
    }

    fn check_scope(&self, region: &str) -> Result<(), Refusal> {
        if self.access_key_id != ACCESS_KEY_ID {
            return Err(Refusal::usual("UnrecognizedClientException"));
        }
        if self.region != region {
            let message = "Credential should be scoped to a valid region. ";
            return Err(Refusal::named("InvalidSignatureException", message));
        }
        if self.service != SERVICE {
            let message = "Credential should be scoped to correct service: 'bedrock'. ";
            return Err(Refusal::named("InvalidSignatureException", message));
        }
        Ok(())
    }

    fn signs(&self, name: &str) -> bool {
        self.signed_headers.contains(&name) || (name == "host" && self.signed_headers.contains(&AUTHORITY))
    }

    /// The host (over HTTP/2 it may be signed as `:authority`) and every `x-amz-` header must be signed.
    fn check_coverage(&self, received: &Received) -> Result<(), Refusal> {
        let unsigned = received
            .headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| *name == "host" || name.starts_with("x-amz-"))
            .find(|name| !self.signs(name));
        match unsigned {
            Some(name) => Err(Refusal::named(
                "InvalidSignatureException",
                format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."),
            )),
            None => Ok(()),
        }
    }
}

/// The time of signing from `x-amz-date`; its day must be that of the credential's scope.
fn signing_time(received: &Received, scope_date: &str) -> Result<SystemTime, Refusal> {
    let date = received.header("x-amz-date").ok_or_else(|| Refusal::usual("IncompleteSignatureException"))?;
    let at =
        DateTime::strptime(DATE_TIME, date).ok().and_then(|at| at.to_zoned(TimeZone::UTC).ok()).ok_or_else(
            || Refusal::named("IncompleteSignatureException", "Date must be in ISO-8601 'basic format'."),
        )?;
    if !date.starts_with(scope_date) || scope_date.len() != 8 {
        let message = format!(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{scope_date}' != '{date}'."
        );
        return Err(Refusal::named("InvalidSignatureException", message));
    }
    Ok(SystemTime::from(at.timestamp()))
}

fn check_skew(at: SystemTime, now: SystemTime) -> Result<(), Refusal> {
    let (earliest, latest) = (now - SKEW_MAX, now + SKEW_MAX);
    let message = if at < earliest {
        format!(
            "Signature expired: {} is now earlier than {} ({} - 5 min.)",
            basic(at),
            basic(earliest),
            basic(now)
        )
    } else if at > latest {
        format!(
            "Signature not yet current: {} is still later than {} ({} + 5 min.)",
            basic(at),
            basic(latest),
            basic(now)
        )
    } else {
        return Ok(());
    };
    Err(Refusal::named("InvalidSignatureException", message))
}

fn basic(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or(Timestamp::UNIX_EPOCH).strftime(DATE_TIME).to_string()
}

/// The signature the request should carry.
fn signature(
    received: &Received,
    authorization: &Authorization<'_>,
    at: SystemTime,
) -> Result<String, Refusal> {
    let request = canonical::request(received, &authorization.signed_headers, &payload_hash(received)?)
        .ok_or_else(|| Refusal::usual("InvalidSignatureException"))?;
    let Authorization { date, region, .. } = authorization;
    let hash = sha256_hex(request.as_bytes());
    let text = format!("AWS4-HMAC-SHA256\n{}\n{date}/{region}/{SERVICE}/aws4_request\n{hash}", basic(at));
    let key = generate_signing_key(SECRET_ACCESS_KEY, at, region, SERVICE);
    Ok(calculate_signature(key, text.as_bytes()))
}

/// The payload's hash as the caller declares it; a declared hash must be the body's.
fn payload_hash(received: &Received) -> Result<String, Refusal> {
    let real = || sha256_hex(&received.body);
    match received.header("x-amz-content-sha256") {
        None => Ok(real()),
        Some(declared) if declared == "UNSIGNED-PAYLOAD" || declared == real() => Ok(declared.to_owned()),
        Some(_) => Err(Refusal::usual("InvalidSignatureException")),
    }
}

fn same(left: &str, right: &str) -> bool {
    left.as_bytes().ct_eq(right.as_bytes()).into()
}

#[cfg(test)]
mod tests;
