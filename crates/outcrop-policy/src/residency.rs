//! Where a target may run, for callers that must stay inside the EU.
//!
//! Deny by default: what is not known to stay inside is outside. The comparison is exact; a profile
//! prefix that this file does not know is denied. Source: AWS documentation of inference profiles
//! and Regions; see `docs/routing.md`, "Residency".

use outcrop_core::PathKind;
use serde::{Deserialize, Serialize};

/// A residency requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Residency {
    /// Member states of the European Union.
    Eu,
}

/// AWS Regions in EU member states.
pub const EU_REGIONS: [&str; 6] =
    ["eu-central-1", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-3"];

/// What is known about the place of a target.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Kind of the path.
    pub kind: PathKind,
    /// Declared region of the path.
    pub region: Option<&'a str>,
    /// Regions a cross-region profile may run in, as pinned by the operator; empty if not pinned.
    pub destinations: &'a [String],
    /// The model id, profile id or ARN.
    pub model_id: &'a str,
}

impl Residency {
    /// The name used in configuration, headers and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Eu => "eu",
        }
    }

    /// The residency of that name.
    pub fn parse(text: &str) -> Option<Self> {
        (text == Self::Eu.label()).then_some(Self::Eu)
    }

    /// Whether a target stays inside.
    pub fn admits(self, place: &Place<'_>) -> bool {
        let Self::Eu = self;
        let source_inside = place.region.is_some_and(is_eu);
        match place.kind {
            PathKind::Bedrock => source_inside && bedrock_stays(place),
            PathKind::Mcp | PathKind::OpenAi | PathKind::Anthropic => source_inside,
        }
    }
}

fn is_eu(region: &str) -> bool {
    EU_REGIONS.contains(&region)
}

/// A bare model id runs in the region of its endpoint; a profile runs in its destinations.
fn bedrock_stays(place: &Place<'_>) -> bool {
    match BedrockId::of(place.model_id) {
        BedrockId::InRegion => true,
        BedrockId::EuProfile => !place.destinations.is_empty() && place.destinations.iter().all(|d| is_eu(d)),
        BedrockId::Elsewhere => false,
    }
}

/// How a Bedrock identifier says where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BedrockId {
    InRegion,
    EuProfile,
    Elsewhere,
}

impl BedrockId {
    fn of(id: &str) -> Self {
        if let Some(arn) = id.strip_prefix("arn:") {
            return Self::of_arn(arn);
        }
        match id.split_once('.') {
            Some(("eu", rest)) if rest.contains('.') => Self::EuProfile,
            // `provider.model`: no geography in front, so it runs where it is called.
            Some((provider, model)) if !model.contains('.') || is_provider(provider) => Self::InRegion,
            _ => Self::Elsewhere,
        }
    }

    /// `partition:service:region:account:resource`; only a foundation model or a system profile of
    /// the EU says where it runs.
    fn of_arn(arn: &str) -> Self {
        let mut fields = arn.splitn(5, ':');
        let (_partition, service) = (fields.next(), fields.next());
        let (region, _account) = (fields.next().unwrap_or_default(), fields.next());
        let resource = fields.next().unwrap_or_default();
        if service != Some("bedrock") || !is_eu(region) {
            return Self::Elsewhere;
        }
        match resource.split_once('/') {
            Some(("foundation-model", _)) => Self::InRegion,
            Some(("inference-profile", id)) if id.starts_with("eu.") => Self::EuProfile,
            _ => Self::Elsewhere,
        }
    }
}

/// Providers whose model names contain a dot themselves.
fn is_provider(prefix: &str) -> bool {
    const PROVIDERS: [&str; 18] = [
        "ai21",
        "amazon",
        "anthropic",
        "cohere",
        "deepseek",
        "google",
        "luma",
        "meta",
        "minimax",
        "mistral",
        "moonshot",
        "nvidia",
        "openai",
        "qwen",
        "stability",
        "twelvelabs",
        "writer",
        "zai",
    ];
    PROVIDERS.contains(&prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(region: &str, destinations: &[&str], model_id: &str, expected: bool) {
        let destinations: Vec<String> = destinations.iter().map(ToString::to_string).collect();
        let place =
            Place { kind: PathKind::Bedrock, region: Some(region), destinations: &destinations, model_id };
        assert_eq!(Residency::Eu.admits(&place), expected, "{region} {destinations:?} {model_id}");
    }

    #[test]
    fn what_is_not_known_to_stay_inside_is_outside() {
        let claude = "anthropic.claude-sonnet-4-5-20250929-v1:0";
        let eu = format!("eu.{claude}");
        check("eu-central-1", &[], claude, true);
        check("us-east-1", &[], claude, false);
        check("eu-central-2", &[], claude, false);
        check("eu-west-2", &[], claude, false);
        check("eu-central-1", &[], &eu, false);
        check("eu-central-1", &["eu-central-1", "eu-west-3"], &eu, true);
        check("eu-central-1", &["eu-central-1", "eu-central-2"], &eu, false);
        check("us-east-1", &["eu-central-1"], &eu, false);
        for prefix in ["us", "us-gov", "apac", "jp", "au", "global", "EU", "mars"] {
            check("eu-central-1", &["eu-central-1"], &format!("{prefix}.{claude}"), false);
        }
        check("eu-central-1", &[], "qwen.qwen3-v1.5:0", true);
        check("eu-central-1", &[], "sonnet", false);
        let arn = "arn:aws:bedrock:eu-central-1::foundation-model/anthropic.claude-3";
        check("eu-central-1", &[], arn, true);
        let opaque = "arn:aws:bedrock:eu-central-1:1:application-inference-profile/abc";
        check("eu-central-1", &["eu-central-1"], opaque, false);
        let outside = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-3";
        check("eu-central-1", &[], outside, false);
    }

    #[test]
    fn other_kinds_need_a_declared_region_inside() {
        for (region, expected) in [(None, false), (Some("eu-west-1"), true), (Some("x"), false)] {
            let place = Place { kind: PathKind::Mcp, region, destinations: &[], model_id: "sonnet" };
            assert_eq!(Residency::Eu.admits(&place), expected);
        }
    }
}
