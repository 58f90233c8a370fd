//! The same usage, whole and streamed, from every API; and the same usage again, written in each.

use outcrop_core::Usage;
use serde_json::{Value, json};

use super::*;
use crate::dialect::trial::{
    context, converse_frames, encoded, events, gathered, holds_at_every_split, invoke_frames,
};
use crate::encode_reply;

macro_rules! golden {
    ($name:literal) => {
        include_str!(concat!("../../tests/golden/usage/", $name))
    };
}

/// What the golden answers of Claude report.
const CLAUDE: Usage = Usage {
    input: Some(21),
    output: Some(39),
    cache_read: Some(1800),
    cache_write: Some(556),
    cache_write_1h: Some(456),
    reasoning: None,
};

/// What the golden answers of OpenAI report: two answers to one request, billed together.
const OPENAI: Usage = Usage {
    input: Some(93),
    output: Some(46),
    cache_read: Some(1024),
    cache_write: None,
    cache_write_1h: None,
    reasoning: Some(20),
};

fn whole(protocol: Protocol, body: &str, expected: Usage) {
    let observed = decode_reply(protocol, body.as_bytes(), Mode::Observe).unwrap();
    assert_eq!(observed, Reply::Native(expected), "{protocol:?}");
    let decoded = decode_reply(protocol, body.as_bytes(), Mode::Decode).unwrap();
    assert_eq!(decoded.usage(), expected, "{protocol:?}");
}

fn streamed(protocol: Protocol, modes: &[Mode], stream: &[u8], expected: Usage) {
    for mode in modes {
        let reply = gathered(events(protocol, *mode, stream));
        assert_eq!(reply.usage, expected, "{protocol:?} {mode:?}");
    }
}

#[test]
fn whole_and_streamed_answers_report_the_same() {
    use Protocol::{AnthropicMessages, BedrockConverse, BedrockInvoke, OpenAiChat};
    let both = [Mode::Decode, Mode::Observe];
    whole(OpenAiChat, golden!("openai.json"), OPENAI);
    streamed(OpenAiChat, &both, golden!("openai.sse").as_bytes(), OPENAI);
    whole(AnthropicMessages, golden!("anthropic.json"), CLAUDE);
    streamed(AnthropicMessages, &both, golden!("anthropic.sse").as_bytes(), CLAUDE);
    whole(BedrockConverse, golden!("converse.json"), CLAUDE);
    streamed(BedrockConverse, &both, &converse_frames(golden!("converse.jsonl")), CLAUDE);
    whole(BedrockInvoke, golden!("anthropic.json"), CLAUDE);
    streamed(BedrockInvoke, &both, &invoke_frames(golden!("invoke_claude.jsonl")), CLAUDE);
}

#[test]
fn families_that_only_pass_are_counted_in_their_streams() {
    let check = |lines: &str, expected| {
        streamed(Protocol::BedrockInvoke, &[Mode::Observe], &invoke_frames(lines), expected);
    };
    check(golden!("invoke_nova.jsonl"), Usage { cache_read: Some(1800), ..Usage::of(21, 39) });
    check(golden!("invoke_llama.jsonl"), Usage::of(15, 3));
    check(golden!("invoke_titan.jsonl"), Usage::of(15, 3));
    check(golden!("invoke_mistral.jsonl"), Usage::of(15, 3));
    check(golden!("invoke_cohere.jsonl"), Usage::of(15, 3));
    check(golden!("invoke_like_openai.jsonl"), Usage { cache_read: Some(100), ..Usage::of(15, 3) });
}

#[test]
fn usage_holds_at_every_split() {
    holds_at_every_split(Protocol::OpenAiChat, golden!("openai.sse").as_bytes());
    holds_at_every_split(Protocol::AnthropicMessages, golden!("anthropic.sse").as_bytes());
    holds_at_every_split(Protocol::BedrockConverse, &converse_frames(golden!("converse.jsonl")));
}

#[test]
fn a_chunk_of_usage_alone_is_told_from_one_without() {
    let mut decoder = StreamDecoder::new(Protocol::OpenAiChat, Mode::Observe);
    decoder.push(Bytes::from(golden!("openai.sse")));
    let mut alone = Vec::new();
    while let Some(item) = decoder.next().unwrap() {
        alone.push(item.is_usage_only());
    }
    assert_eq!(alone, [false, false, false, false, false, false, true, false]);
}

#[test]
fn what_was_cut_keeps_what_it_had_reported() {
    let check = |protocol, stream: &[u8], expected: Usage| {
        let mut decoder = StreamDecoder::new(protocol, Mode::Observe);
        decoder.push(Bytes::copy_from_slice(stream));
        let mut usage = Usage::default();
        while let Ok(Some(item)) = decoder.next() {
            for event in item.events {
                if let Event::Usage(more) = event {
                    usage.merge(more);
                }
            }
        }
        assert_eq!(decoder.finish(), Err(StreamError::Truncated));
        assert_eq!(usage, expected);
    };
    let claude = golden!("anthropic.sse");
    let cut = claude.find("event: message_delta").unwrap();
    check(
        Protocol::AnthropicMessages,
        &claude.as_bytes()[..cut],
        Usage { input: Some(20), output: Some(2), ..CLAUDE },
    );
    let llama: Vec<&str> = golden!("invoke_llama.jsonl").lines().take(2).collect();
    check(Protocol::BedrockInvoke, &invoke_frames(&llama.join("\n")), Usage::of(15, 2));
}

#[test]
fn an_odd_usage_spoils_no_answer() {
    let odd =
        [json!("many"), json!(-3), json!([]), json!({"prompt_tokens": -1, "inputTokens": 1.5}), json!(null)];
    let bodies = [
        (Protocol::OpenAiChat, golden!("openai.json")),
        (Protocol::AnthropicMessages, golden!("anthropic.json")),
        (Protocol::BedrockConverse, golden!("converse.json")),
        (Protocol::BedrockInvoke, golden!("anthropic.json")),
        (Protocol::McpTool, r#"{"role":"assistant","content":"Yes.","finish_reason":"stop"}"#),
        (
            Protocol::OpenAiEmbeddings,
            r#"{"object":"list","data":[{"index":0,"embedding":[0.5]}],"model":"m"}"#,
        ),
    ];
    for (protocol, body) in bodies {
        for odd in &odd {
            let mut body: Value = serde_json::from_str(body).unwrap();
            body["usage"] = odd.clone();
            whole(protocol, &body.to_string(), Usage::default());
        }
    }
}

#[test]
fn tools_and_embeddings_report_theirs() {
    let tool = json!({"content": "Yes.", "usage": {"prompt_tokens": 100, "completion_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 60}, "completion_tokens_details": {"reasoning_tokens": 5}}});
    let expected = Usage { cache_read: Some(60), reasoning: Some(5), ..Usage::of(40, 7) };
    whole(Protocol::McpTool, &tool.to_string(), expected);
    // A tool in front of Claude reports as Claude does.
    let tool = json!({"content": "Yes.", "usage": {"input_tokens": 40, "output_tokens": 7, "cache_read_input_tokens": 60}});
    whole(Protocol::McpTool, &tool.to_string(), Usage { reasoning: None, ..expected });
    let vectors =
        json!({"data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    whole(Protocol::OpenAiEmbeddings, &vectors.to_string(), Usage::of(8, 0));
}

#[test]
fn counts_of_tokens_are_exact_or_no_answer() {
    for (protocol, key) in
        [(Protocol::AnthropicCountTokens, "input_tokens"), (Protocol::BedrockCountTokens, "inputTokens")]
    {
        let read =
            |count: Value| decode_reply(protocol, json!({key: count}).to_string().as_bytes(), Mode::Decode);
        assert_eq!(read(json!(2095)), Ok(Reply::TokenCount(2095)));
        for odd in [json!(-1), json!(1.5), json!("12"), json!(null)] {
            assert!(read(odd).is_err());
        }
    }
}

/// What the caller's convention makes of Claude's figures.
#[test]
fn figures_come_back_in_the_callers_convention() {
    let reply =
        decode_reply(Protocol::BedrockConverse, golden!("converse.json").as_bytes(), Mode::Decode).unwrap();
    let Reply::Chat(chat) = &reply else { panic!("no conversation") };
    let written = |protocol| -> Value {
        let body = encode_reply(protocol, &context(), &reply).body;
        assert_eq!(decode_reply(protocol, &body, Mode::Observe), Ok(Reply::Native(CLAUDE)), "{protocol:?}");
        serde_json::from_slice::<Value>(&body).unwrap()["usage"].take()
    };
    let openai = json!({"prompt_tokens": 2377, "completion_tokens": 39, "total_tokens": 2416,
        "prompt_tokens_details": {"cached_tokens": 1800, "cache_creation_tokens": 556,
            "cache_creation_token_details": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 456}}});
    assert_eq!(written(Protocol::OpenAiChat), openai);
    assert_eq!(written(Protocol::McpTool), openai);
    let anthropic = json!({"input_tokens": 21, "output_tokens": 39, "cache_creation_input_tokens": 556,
        "cache_read_input_tokens": 1800,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 456}});
    assert_eq!(written(Protocol::AnthropicMessages), anthropic);
    assert_eq!(written(Protocol::BedrockInvoke), anthropic);
    let converse = json!({"inputTokens": 21, "outputTokens": 39, "totalTokens": 2416,
        "cacheReadInputTokens": 1800, "cacheWriteInputTokens": 556,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 456}, {"ttl": "5m", "inputTokens": 100}]});
    assert_eq!(written(Protocol::BedrockConverse), converse);

    let events = chat.clone().into_events();
    for protocol in [
        Protocol::OpenAiChat,
        Protocol::AnthropicMessages,
        Protocol::BedrockConverse,
        Protocol::BedrockInvoke,
    ] {
        let both = [Mode::Decode, Mode::Observe];
        streamed(protocol, &both, &encoded(protocol, &events), CLAUDE);
    }
}
