use outcrop_core::Usage;
use outcrop_core::money::{Bounds, NanoUsd, Terms, Tier};

use super::*;

fn shipped() -> &'static Catalogue {
    Catalogue::shipped().unwrap()
}

#[test]
fn every_row_of_the_shipped_catalogue_has_a_price_that_can_be_used() {
    let catalogue = shipped();
    assert!(catalogue.rows() > 500, "{}", catalogue.rows());
    assert!(SHIPPED.len() < 400_000, "{} bytes", SHIPPED.len());
    for models in [&catalogue.bedrock, &catalogue.openai, &catalogue.anthropic] {
        for (id, listed) in models.iter().flat_map(|(id, all)| all.iter().map(move |one| (id, one))) {
            let price = &listed.price;
            let tariffs = price.tiers.iter().map(|(_, tariff)| tariff).chain([&price.standard]);
            for tariff in tariffs {
                let bands = tariff.bands().iter().map(|band| &band.rates);
                for rates in bands.chain([tariff.base()]) {
                    assert!(rates.input.0 > 0 && rates.cache_read.0 > 0, "{id}: {rates:?}");
                    assert!(rates.cache_write_1h >= rates.cache_write, "{id}: {rates:?}");
                    // Nothing in the list costs a thousandth of a dollar per token.
                    assert!(
                        rates.output.0 < 1_000_000_000 && rates.input.0 < 1_000_000_000,
                        "{id}: {rates:?}"
                    );
                }
            }
            assert!(price.standard.base().output.0 > 0 || id.contains("embed"), "{id}");
            let bound = price.upper_bound(&Bounds::of(1_000_000, 1_000_000), &Terms::default()).unwrap();
            assert!(
                price.cost(&Usage::of(1_000_000, 1_000_000), &Terms::default()).unwrap() <= bound,
                "{id}"
            );
            assert!(!price.free && bound > NanoUsd(0) && price.version.contains("20"), "{id}");
        }
    }
}

/// Input price in pico-dollars.
fn input(kind: PathKind, id: &str, region: Option<&str>) -> Option<u64> {
    shipped().find(kind, id, region).map(|price| price.standard.base().input.0)
}

const SONNET: &str = "anthropic.claude-sonnet-4-5-20250929-v1:0";

#[test]
fn the_prefix_of_a_profile_is_part_of_its_price() {
    let of = |prefix: &str| input(PathKind::Bedrock, &format!("{prefix}{SONNET}"), Some("eu-central-1"));
    assert_eq!([of("eu."), of("us."), of("global.")], [Some(3_300_000), Some(3_300_000), Some(3_000_000)]);
    // The table has no such profile, and another's price is not its own.
    assert_eq!(of("apac."), None);
    // The plain row is the global profile's price, while this geography's own costs more.
    assert_eq!(of(""), None);
}

#[test]
fn a_plain_id_is_priced_only_where_the_data_says_so() {
    for (id, region, expected) in [
        ("amazon.nova-lite-v1:0", "us-east-1", Some(60_000)),
        ("amazon.nova-lite-v1:0", "eu-central-1", None),
        ("eu.amazon.nova-lite-v1:0", "eu-central-1", Some(78_000)),
        ("amazon.titan-embed-text-v2:0", "eu-central-1", Some(20_000)),
        // Priced region by region: its own row, else only in the United States.
        ("meta.llama3-8b-instruct-v1:0", "eu-west-2", Some(390_000)),
        ("meta.llama3-8b-instruct-v1:0", "us-west-2", Some(300_000)),
        ("meta.llama3-8b-instruct-v1:0", "eu-central-1", None),
        // Another partition has its own rows.
        ("amazon.nova-lite-v1:0", "us-gov-west-1", Some(72_000)),
        ("amazon.nova-lite-v1:0", "us-gov-east-1", None),
        ("amazon.titan-embed-text-v2:0", "cn-north-1", None),
        ("nobody.knows-this-v1:0", "us-east-1", None),
    ] {
        assert_eq!(input(PathKind::Bedrock, id, Some(region)), expected, "{id} in {region}");
    }
}

#[test]
fn arns_that_name_their_model_are_resolved_and_opaque_ones_are_unknown() {
    for (arn, expected) in [
        (format!("arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.{SONNET}"), Some(3_300_000)),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0".into(), Some(60_000)),
        ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0".into(), None),
        ("arn:aws-cn:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0".into(), None),
        ("arn:aws:sagemaker:us-east-1::foundation-model/amazon.nova-lite-v1:0".into(), None),
        ("arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc".into(), None),
        ("arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc".into(), None),
        ("arn:aws:bedrock:us-east-1".into(), None),
    ] {
        assert_eq!(input(PathKind::Bedrock, &arn, Some("eu-west-1")), expected, "{arn}");
    }
}

#[test]
fn other_kinds_have_their_own_tables() {
    assert_eq!(input(PathKind::OpenAi, "gpt-4o-mini", None), Some(150_000));
    assert_eq!(input(PathKind::Anthropic, "claude-sonnet-4-5", None), Some(3_000_000));
    assert_eq!(input(PathKind::Anthropic, "gpt-4o-mini", None), None);
    assert_eq!(input(PathKind::Mcp, "claude-sonnet-4-5", None), None);
    // Processing that is bound to a geography costs more.
    assert_eq!(input(PathKind::Anthropic, "claude-sonnet-4-6", Some("us-east-1")), Some(3_300_000));
    assert_eq!(input(PathKind::Anthropic, "claude-sonnet-4-6", Some("eu-west-1")), Some(3_000_000));
}

#[test]
fn a_row_has_caches_bands_tiers_and_a_limit() {
    let id = format!("eu.{SONNET}");
    let price = shipped().find(PathKind::Bedrock, &id, Some("eu-central-1")).unwrap();
    let (short, long) = (price.standard.rates(200_000), price.standard.rates(200_001));
    let shown = |rates: &outcrop_core::money::Rates| {
        [rates.input, rates.output, rates.cache_read, rates.cache_write, rates.cache_write_1h]
            .map(|price| price.to_string())
    };
    assert_eq!(shown(short), ["3.3", "16.5", "0.33", "4.125", "6.6"]);
    assert_eq!(shown(long), ["6.6", "24.75", "0.66", "8.25", "13.2"]);
    assert_eq!(price.tariff(Tier::Batch).unwrap().base().input.to_string(), "1.65");
    assert_eq!(price.tariff(Tier::Priority), None);
    assert_eq!(shipped().output_tokens_max(PathKind::Bedrock, &id, Some("eu-central-1")), Some(64_000));
    let mini = shipped().find(PathKind::OpenAi, "gpt-4o-mini", None).unwrap();
    assert_eq!(mini.tariff(Tier::Priority).unwrap().base().input.to_string(), "0.25");
    assert_eq!(&*mini.version, "litellm 1.110.2 (2026-11-24)");
    assert!(mini.source.starts_with("https://"));
}

#[test]
fn a_broken_catalogue_says_what_is_wrong() {
    let row = r#"{"id":"m","standard":{"input":"1","output":"2"}}"#;
    let with = |rows: &str| {
        let origin = serde_json::to_string(shipped().origin()).unwrap();
        format!(r#"{{"origin":{origin},"sources":[],"bedrock":[{rows}],"openai":[],"anthropic":[]}}"#)
    };
    let wrong = |rows: &str| Catalogue::read(&with(rows)).unwrap_err().to_string();
    assert_eq!(Catalogue::read(&with(row)).unwrap().rows(), 1);
    assert!(wrong(&format!("{row},{row}")).contains("lists `m` twice"));
    assert!(wrong(&row.replace("\"1\"", "\"one\"")).contains("`one` is no price"));
    assert!(wrong(&row.replace("\"1\"", "1.5")).contains("cannot be read"));
    assert!(wrong(&row.replace("\"id\"", "\"source\":7,\"id\"")).contains("no source for `m`"));
    assert!(wrong(&row.replace("\"input\"", "\"inptu\"")).contains("cannot be read"));
}
