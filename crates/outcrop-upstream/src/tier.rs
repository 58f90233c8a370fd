//! The service tier of a request, where each protocol has it.
//!
//! Said only where the caller's own body says nothing of a tier; which tier it is was decided, and priced,
//! before.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Request};
use outcrop_core::Protocol;
use outcrop_core::money::Tier;

/// Where `InvokeModel` has it (Amazon Bedrock runtime API reference).
const INVOKE: HeaderName = HeaderName::from_static("x-amzn-bedrock-service-tier");

/// Whether requests of a protocol have a tier at all.
pub fn has_tiers(protocol: Protocol) -> bool {
    match protocol {
        Protocol::OpenAiChat | Protocol::BedrockConverse | Protocol::BedrockInvoke => true,
        Protocol::OpenAiEmbeddings
        | Protocol::AnthropicMessages
        | Protocol::AnthropicCountTokens
        | Protocol::BedrockCountTokens
        | Protocol::McpTool => false,
    }
}

/// The body with its tier, where the protocol has it there: in front of all other members.
pub(crate) fn in_body(protocol: Protocol, tier: Option<Tier>, body: Bytes) -> Bytes {
    let Some(tier) = tier else { return body };
    let member = match protocol {
        Protocol::OpenAiChat => format!("\"service_tier\":\"{}\",", word(tier)),
        Protocol::BedrockConverse => format!("\"serviceTier\":{{\"type\":\"{}\"}},", word(tier)),
        _ => return body,
    };
    let Some(open) = body.iter().position(|byte| *byte == b'{') else { return body };
    let (before, behind) = body.split_at(open + 1);
    let mut out = BytesMut::with_capacity(body.len() + member.len());
    out.extend_from_slice(before);
    out.extend_from_slice(member.as_bytes());
    out.extend_from_slice(behind);
    out.freeze()
}

/// Sets the header of a protocol that has its tier there.
pub(crate) fn in_head<B>(protocol: Protocol, tier: Option<Tier>, request: &mut Request<B>) {
    if let (Protocol::BedrockInvoke, Some(tier)) = (protocol, tier) {
        request.headers_mut().insert(INVOKE, HeaderValue::from_static(word(tier)));
    }
}

/// All of them call it the same.
fn word(tier: Tier) -> &'static str {
    match tier {
        Tier::Standard | Tier::Batch => "default",
        Tier::Priority => "priority",
        Tier::Flex => "flex",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(protocol: Protocol, tier: Option<Tier>, expected: &str) {
        let body = in_body(protocol, tier, Bytes::from_static(b" {\"a\": 1}"));
        assert_eq!(body, expected, "{protocol:?} {tier:?}");
    }

    #[test]
    fn each_protocol_has_it_in_its_own_place() {
        check(Protocol::OpenAiChat, Some(Tier::Flex), " {\"service_tier\":\"flex\",\"a\": 1}");
        let inner = " {\"serviceTier\":{\"type\":\"priority\"},\"a\": 1}";
        check(Protocol::BedrockConverse, Some(Tier::Priority), inner);
        check(Protocol::BedrockConverse, None, " {\"a\": 1}");
        check(Protocol::BedrockInvoke, Some(Tier::Priority), " {\"a\": 1}");
        let mut request = Request::new(());
        in_head(Protocol::BedrockConverse, Some(Tier::Priority), &mut request);
        assert!(request.headers().is_empty());
        in_head(Protocol::BedrockInvoke, Some(Tier::Priority), &mut request);
        assert_eq!(request.headers()["x-amzn-bedrock-service-tier"], "priority");
    }
}
