//! Every spelling of a usage block, and everything that is none.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn check(block: &Value, expected: Usage) {
    let text = block.to_string();
    assert_eq!(serde_json::from_str::<Counted>(&text).unwrap().usage(), expected, "{text}");
    assert_eq!(serde_json::from_value::<Counted>(block.clone()).unwrap().usage(), expected, "{text}");
}

#[test]
fn openai_splits_what_its_input_includes() {
    check(
        &json!({
            "prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107,
            "prompt_tokens_details": {"cached_tokens": 60, "audio_tokens": 8, "future": [1]},
            "completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 0,
                "accepted_prediction_tokens": 1, "rejected_prediction_tokens": 1}
        }),
        Usage { cache_read: Some(60), reasoning: Some(5), ..Usage::of(40, 7) },
    );
    // The Responses API says the same in other words.
    check(
        &json!({"input_tokens": 100, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 60},
            "output_tokens_details": {"reasoning_tokens": 5}}),
        Usage { cache_read: Some(60), reasoning: Some(5), ..Usage::of(40, 7) },
    );
    check(
        &json!({"prompt_tokens": 100, "completion_tokens": 7, "prompt_tokens_details": {
            "cached_tokens": 10, "cache_creation_tokens": 50,
            "cache_creation_token_details": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30}},
            "cache_read_input_tokens": 10, "cache_creation_input_tokens": 50}),
        Usage { cache_read: Some(10), cache_write: Some(50), cache_write_1h: Some(30), ..Usage::of(40, 7) },
    );
    // Both sets of names in one block.
    check(
        &json!({"prompt_tokens": 3, "completion_tokens": 4, "input_tokens": 3, "output_tokens": 4}),
        Usage::of(3, 4),
    );
    // Parts larger than the whole.
    check(
        &json!({"prompt_tokens": 10, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 60}}),
        Usage { cache_read: Some(60), ..Usage::of(0, 1) },
    );
}

#[test]
fn anthropic_tells_the_lives_of_what_it_caches() {
    let of = |read, write, hour| Usage {
        cache_read: Some(read),
        cache_write: Some(write),
        cache_write_1h: hour,
        ..Usage::of(10, 5)
    };
    let mut block = json!({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 4,
        "cache_creation_input_tokens": 9, "service_tier": "standard",
        "server_tool_use": {"web_search_requests": 1}});
    check(&block, of(4, 9, None));
    block["cache_creation"] = json!({"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 7});
    check(&block, of(4, 9, Some(7)));
    block["cache_creation_input_tokens"] = Value::Null;
    check(&block, of(4, 9, Some(7)));
    // A compaction is billed and stands in no figure but its own.
    block["iterations"] = json!([
        {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500},
        {"type": "message", "input_tokens": 10, "output_tokens": 5}
    ]);
    check(&block, Usage { input: Some(180_010), output: Some(3_505), ..of(4, 9, Some(7)) });
    check(
        &json!({"output_tokens": 5, "iterations": [{"type": "compaction", "input_tokens": 1, "output_tokens": 2}]}),
        Usage { output: Some(7), cache_read: None, ..Usage::default() },
    );
}

#[test]
fn bedrock_has_its_own_words() {
    let expected =
        |hour| Usage { cache_read: Some(4), cache_write: Some(9), cache_write_1h: hour, ..Usage::of(10, 5) };
    let mut converse = json!({"inputTokens": 10, "outputTokens": 5, "totalTokens": 28,
        "cacheReadInputTokens": 4, "cacheWriteInputTokens": 9});
    check(&converse, expected(None));
    converse["cacheDetails"] = json!([]);
    check(&converse, expected(None));
    converse["cacheDetails"] = json!([{"ttl": "1h", "inputTokens": 7}, {"ttl": "5m", "inputTokens": 2}]);
    check(&converse, expected(Some(7)));
    check(
        &json!({"inputTokenCount": 10, "outputTokenCount": 5, "cacheReadInputTokenCount": 4,
            "cacheWriteInputTokenCount": 9, "invocationLatency": 100}),
        expected(None),
    );
    check(&json!({"billed_units": {"input_tokens": 10, "output_tokens": 5}}), Usage::of(10, 5));
}

#[test]
fn what_is_no_count_is_not_reported() {
    let odd = [
        json!(-1),
        json!(1.5),
        json!(-0.0),
        json!(1e300),
        json!("12"),
        json!(true),
        json!([1]),
        json!({"a": 1}),
        json!(null),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(TOKENS_MAX + 1),
    ];
    for odd in odd {
        check(&odd, Usage::default());
        check(
            &json!({"prompt_tokens": odd, "completion_tokens": 7}),
            Usage { output: Some(7), ..Usage::default() },
        );
        check(
            &json!({"input_tokens": 7, "output_tokens": odd}),
            Usage { input: Some(7), ..Usage::default() },
        );
        check(
            &json!({"prompt_tokens": 7, "prompt_tokens_details": {"cached_tokens": odd}}),
            Usage { input: Some(7), ..Usage::default() },
        );
        for part in [
            "prompt_tokens_details",
            "completion_tokens_details",
            "cache_creation",
            "cacheDetails",
            "iterations",
            "billed_units",
        ] {
            check(&json!({"prompt_tokens": 7, part: odd}), Usage { input: Some(7), ..Usage::default() });
        }
        check(
            &json!({"inputTokens": 7, "cacheDetails": [odd, {"ttl": odd, "inputTokens": odd}]}),
            Usage { input: Some(7), ..Usage::default() },
        );
    }
    check(&json!({"prompt_tokens": TOKENS_MAX}), Usage { input: Some(TOKENS_MAX), ..Usage::default() });
    check(&json!({}), Usage::default());
}

#[test]
fn metrics_fill_gaps_and_replace_nothing() {
    let metrics: Counted = serde_json::from_value(json!({"inputTokenCount": 99, "outputTokenCount": 98,
        "cacheReadInputTokenCount": 97}))
    .unwrap();
    let mut seen = Usage { input: Some(1), ..Usage::default() };
    let missing = metrics.beside(&seen);
    assert_eq!(missing, Usage { output: Some(98), cache_read: Some(97), ..Usage::default() });
    seen.merge(missing);
    assert_eq!(metrics.beside(&seen), Usage::default());
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|n| json!(n)),
        "1h|5m|compaction|[0-9]{1,3}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "prompt_tokens",
        "input_tokens",
        "inputTokens",
        "completion_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "cacheWriteInputTokens",
        "cache_creation",
        "cacheDetails",
        "ttl",
        "prompt_tokens_details",
        "cached_tokens",
        "cache_creation_tokens",
        "ephemeral_1h_input_tokens",
        "completion_tokens_details",
        "reasoning_tokens",
        "iterations",
        "type",
        "billed_units",
        "other",
    ]);
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_value_makes_it_fail(value in anything()) {
        let usage = serde_json::from_value::<Counted>(value).unwrap().usage();
        // Far from overflow, so that sums over many answers stay exact.
        prop_assert!(usage.total() < TOKENS_MAX * 1_000);
    }
}
