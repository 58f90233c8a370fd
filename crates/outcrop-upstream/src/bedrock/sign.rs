//! Signature Version 4 over exactly what is sent.
//!
//! The signature itself is made by aws-sigv4 (service `bedrock`, the sent path encoded a second time
//! as AWS requires). This file picks what is signed, and corrects for a wrong local clock.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SigningError, SigningParams, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use bytes::Bytes;
use http::header::{InvalidHeaderValue, USER_AGENT};
use http::{HeaderValue, Request};
use http_body_util::Full;

use super::credentials::Issued;

/// A difference of clocks below this does not explain a refused signature.
const SKEW_MIN: Duration = Duration::from_mins(1);

/// Signs requests for one region.
#[derive(Debug)]
pub(crate) struct Signer {
    region: Box<str>,
    settings: SigningSettings,
    /// Seconds that the upstream's clock is ahead of ours.
    skew_s: AtomicI64,
}

/// Why a request cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("cannot sign: {0}")]
    Sign(#[from] SigningError),
    #[error("cannot sign: {0}")]
    Parameters(#[from] v4::signing_params::BuildError),
    #[error("the signature cannot stand in a header")]
    Header(#[from] InvalidHeaderValue),
}

impl Signer {
    pub(crate) fn new(region: &str) -> Self {
        let mut settings = SigningSettings::default();
        // Only headers that are to be signed are given to the signer.
        settings.excluded_headers = None;
        Self { region: region.into(), settings, skew_s: AtomicI64::new(0) }
    }

    /// Adds date, token and authorization to a request whose body is `body`.
    pub(crate) fn sign(
        &self,
        request: &mut Request<Full<Bytes>>,
        body: &[u8],
        issued: &Issued,
        now: SystemTime,
    ) -> Result<(), SignError> {
        let params = v4::SigningParams::builder()
            .identity(&issued.identity)
            .region(&self.region)
            .name("bedrock")
            .time(self.corrected(now))
            .settings(self.settings.clone())
            .build()?;
        let headers = request
            .headers()
            .iter()
            .filter(|(name, _)| *name != USER_AGENT)
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
        let signable = SignableRequest::new(
            request.method().as_str(),
            request.uri().to_string(),
            headers,
            SignableBody::Bytes(body),
        )?;
        let (instructions, _) = sign(signable, &SigningParams::V4(params))?.into_parts();
        let (added, _) = instructions.into_parts();
        for header in added {
            let mut value = HeaderValue::from_str(header.value())?;
            value.set_sensitive(header.sensitive());
            request.headers_mut().insert(header.name(), value);
        }
        Ok(())
    }

    fn corrected(&self, now: SystemTime) -> SystemTime {
        let skew_s = self.skew_s.load(Ordering::Relaxed);
        let skew = Duration::from_secs(skew_s.unsigned_abs());
        let corrected = if skew_s < 0 { now.checked_sub(skew) } else { now.checked_add(skew) };
        corrected.unwrap_or(now)
    }

    /// Takes over the upstream's clock when it explains a refusal; `false` when it does not.
    pub(crate) fn correct_clock(&self, theirs: SystemTime, now: SystemTime) -> bool {
        let signed_at = self.corrected(now);
        let off = match theirs.duration_since(signed_at) {
            Ok(ahead) => ahead,
            Err(behind) => behind.duration(),
        };
        if off < SKEW_MIN {
            return false;
        }
        let skew_s = match theirs.duration_since(now) {
            Ok(ahead) => i64::try_from(ahead.as_secs()).unwrap_or(i64::MAX),
            Err(behind) => i64::try_from(behind.duration().as_secs()).map_or(i64::MIN, |s| -s),
        };
        self.skew_s.store(skew_s, Ordering::Relaxed);
        tracing::warn!(skew_s, "the local clock is wrong; signing with the upstream's");
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_that_matters_is_taken_over() {
        let signer = Signer::new("eu-central-1");
        let now = crate::clock::wall();
        assert!(!signer.correct_clock(now + Duration::from_secs(30), now));
        assert_eq!(signer.corrected(now), now);
        let ahead = now + Duration::from_mins(15);
        assert!(signer.correct_clock(ahead, now));
        assert_eq!(signer.corrected(now), ahead);
        assert!(!signer.correct_clock(ahead, now), "already corrected");
        let behind = now - Duration::from_mins(10);
        assert!(signer.correct_clock(behind, now));
        assert_eq!(signer.corrected(now), behind);
    }
}
