//! The five operations, as a caller without any SDK sees them.

use base64::Engine as _;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use outcrop_lab::{
    bedrock::BEARER,
    script::{Fault, FaultKind, Script},
};
use serde_json::{Value, json};

use crate::{
    caller::{NOVA, SONNET, call, converse, says, signed, start, stream},
    wire::{End, Talk, event_types, header, payload},
};

const TEXT: &str = "Simulated answer from fra: tok-1 tok-2 tok-3";

fn native(text: &str) -> Value {
    json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 100, "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn converse_answers_whole() {
    let (_lab, address) = start().await;
    let heard = converse(address, "[[tokens=3]]").await;
    assert_eq!((heard.status(), heard.end), (200, End::Fin));
    assert!(heard.header("x-amzn-requestid").is_some());
    let body = heard.json();
    assert_eq!(body["output"]["message"], json!({"role": "assistant", "content": [{"text": TEXT}]}));
    assert_eq!(body["stopReason"], "end_turn");
    assert_eq!(body["usage"]["outputTokens"], 3);
    let sum = body["usage"]["inputTokens"].as_u64().unwrap() + 3;
    assert_eq!(body["usage"]["totalTokens"], sum);
}

#[tokio::test]
async fn converse_stream_has_the_documented_order() {
    let (_lab, address) = start().await;
    let heard = stream(address, "[[tokens=2]]").await;
    assert_eq!(heard.header("content-type").as_deref(), Some("application/vnd.amazon.eventstream"));
    let (frames, rest) = heard.frames();
    assert_eq!(rest, Ok(0));
    assert_eq!(
        event_types(&frames),
        [
            "messageStart",
            "contentBlockDelta",
            "contentBlockDelta",
            "contentBlockStop",
            "messageStop",
            "metadata"
        ]
    );
    assert!(frames.iter().all(|frame| payload(frame)["p"].is_string()));
    assert_eq!(payload(&frames[5])["usage"]["outputTokens"], 2);
}

#[tokio::test]
async fn tools_and_thinking_keep_their_shapes() {
    let (_lab, address) = start().await;
    let mut body = says("[[think]] [[tool]]");
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    body["toolConfig"] =
        json!({"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": schema}}}]});
    let content =
        call(address, SONNET, "converse", &body).await.json()["output"]["message"]["content"].clone();
    assert!(content[0]["reasoningContent"]["reasoningText"]["signature"].is_string());
    assert_eq!(content[1]["toolUse"]["input"], json!({"city": "sample city"}));

    let (frames, _) = call(address, SONNET, "converse-stream", &body).await.frames();
    let start = frames.iter().find(|frame| header(frame, ":event-type") == "contentBlockStart").unwrap();
    assert_eq!(payload(start)["start"]["toolUse"]["toolUseId"], content[1]["toolUse"]["toolUseId"]);
    let input: String = frames
        .iter()
        .filter_map(|frame| payload(frame).pointer("/delta/toolUse/input")?.as_str().map(str::to_owned))
        .collect();
    assert_eq!(input, r#"{"city":"sample city"}"#);

    let call_block = content[1].clone();
    let id = &call_block["toolUse"]["toolUseId"];
    let result = json!({"toolResult": {"toolUseId": id, "content": [{"text": "18 degrees"}]}});
    let turns =
        [json!({"role": "assistant", "content": [call_block]}), json!({"role": "user", "content": [result]})];
    body["messages"].as_array_mut().unwrap().extend(turns);
    let answer = call(address, SONNET, "converse", &body).await.json();
    assert_eq!(answer["output"]["message"]["content"][1]["text"], "Tool said: 18 degrees");
    body.as_object_mut().unwrap().remove("toolConfig");
    let refused = call(address, SONNET, "converse", &body).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.json()["message"].as_str().unwrap().contains("toolConfig field must be defined"));
}

#[tokio::test]
async fn invoke_speaks_the_models_own_schema() {
    let (_lab, address) = start().await;
    let heard = call(address, SONNET, "invoke", &native("[[tokens=3]]")).await;
    assert_eq!(heard.json()["content"][0]["text"], TEXT);
    assert_eq!(heard.header("x-amzn-bedrock-output-token-count").as_deref(), Some("3"));
    let refused = call(address, SONNET, "invoke", &json!({"max_tokens": 1, "messages": []})).await;
    assert_eq!(refused.json()["message"], "anthropic_version: Field required");

    let (frames, rest) =
        call(address, SONNET, "invoke-with-response-stream", &native("[[tokens=3]]")).await.frames();
    assert_eq!(rest, Ok(0));
    let chunk = |frame| {
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(payload(frame)["bytes"].as_str().unwrap());
        serde_json::from_slice::<Value>(&bytes.unwrap()).unwrap()
    };
    let last = chunk(frames.last().unwrap());
    assert_eq!(last["type"], "message_stop");
    assert_eq!(last["amazon-bedrock-invocationMetrics"]["outputTokenCount"], 3);

    let nova = json!({"schemaVersion": "messages-v1", "messages": says("[[tokens=3]]")["messages"]});
    let (frames, _) = call(address, NOVA, "invoke-with-response-stream", &nova).await.frames();
    let text: String = frames
        .iter()
        .filter_map(|frame| {
            chunk(frame).pointer("/contentBlockDelta/delta/text")?.as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(text, TEXT);
}

#[tokio::test]
async fn embeddings_have_the_asked_size() {
    let (_lab, address) = start().await;
    let titan = call(
        address,
        "amazon.titan-embed-text-v2%3A0",
        "invoke",
        &json!({"inputText": "hello", "dimensions": 256}),
    )
    .await;
    assert_eq!(titan.json()["embedding"].as_array().unwrap().len(), 256);
    let two = json!({"texts": ["a", "b"], "input_type": "search_query"});
    let cohere = call(address, "cohere.embed-multilingual-v3", "invoke", &two).await.json();
    assert_eq!(cohere["embeddings"].as_array().unwrap().len(), 2);
    assert_ne!(cohere["embeddings"][0], cohere["embeddings"][1]);
}

#[tokio::test]
async fn counting_agrees_with_the_usage() {
    let (_lab, address) = start().await;
    let counted = call(address, SONNET, "count-tokens", &json!({"input": {"converse": says("some words")}}))
        .await
        .json();
    assert_eq!(counted["inputTokens"], converse(address, "some words").await.json()["usage"]["inputTokens"]);
    let body = native("some words");
    let encoded = base64::engine::general_purpose::STANDARD.encode(body.to_string());
    let counted =
        call(address, SONNET, "count-tokens", &json!({"input": {"invokeModel": {"body": encoded}}}))
            .await
            .json();
    assert_eq!(
        counted["inputTokens"],
        call(address, SONNET, "invoke", &body).await.json()["usage"]["input_tokens"]
    );
}

#[tokio::test]
async fn cache_points_are_written_then_read() {
    let (_lab, address) = start().await;
    let mut body = says("[[tokens=1]]");
    body["system"] = json!([{"text": "x".repeat(4_000)}, {"cachePoint": {"type": "default"}}]);
    let first = call(address, SONNET, "converse", &body).await.json()["usage"].clone();
    let second = call(address, SONNET, "converse", &body).await.json()["usage"].clone();
    assert_eq!(first["cacheWriteInputTokens"], 1_000);
    assert_eq!(
        (&second["cacheReadInputTokens"], &second["cacheWriteInputTokens"]),
        (&json!(1_000), &json!(0))
    );
    assert_eq!(first["totalTokens"], second["totalTokens"]);
}

#[tokio::test]
async fn requests_the_service_refuses_are_refused_in_its_words() {
    let (lab, address) = start().await;
    let user = |text: &str| json!({"role": "user", "content": [{"text": text}]});
    let with = |name: &str, value: Value| {
        let mut body = says("hi");
        body[name] = value;
        body
    };
    let cases = [
        ("no.such-model", says("hi"), 400, "ValidationException", "model identifier is invalid"),
        (
            "arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Ainference-profile%2Fnone",
            says("hi"),
            404,
            "ResourceNotFoundException",
            "",
        ),
        (SONNET, json!({"messages": []}), 400, "ValidationException", "must start with a user message"),
        (SONNET, json!({"messages": [user("a"), user("b")]}), 400, "ValidationException", "must alternate"),
        (SONNET, says(" "), 400, "ValidationException", "is blank"),
        (
            SONNET,
            with("inferenceConfig", json!({"maxTokens": 0})),
            400,
            "ValidationException",
            "greater than or equal to 1",
        ),
        (
            SONNET,
            with("toolConfig", json!({"tools": []})),
            400,
            "ValidationException",
            "length greater than or equal to 1",
        ),
        (SONNET, with("toolConfig", json!({})), 400, "ValidationException", "must not be null"),
        (SONNET, json!([]), 400, "SerializationException", ""),
        ("cohere.embed-multilingual-v3", says("hi"), 400, "ValidationException", "doesn't support the model"),
    ];
    let count = cases.len() as u64;
    for (model, body, status, name, text) in cases {
        let heard = call(address, model, "converse", &body).await;
        assert_eq!(heard.status(), status, "{body}");
        let error_type = heard.header("x-amzn-errortype").unwrap();
        assert!(error_type.starts_with(&format!("{}:", name.to_lowercase())), "{error_type}");
        assert!(heard.json()["message"].as_str().unwrap().contains(text), "{body}");
    }
    assert!(crate::caller::records(&lab, count).await.iter().all(|record| !record.executed));
    assert_eq!(call(address, SONNET, "converse-sideways", &says("hi")).await.status(), 404);
}

#[tokio::test]
async fn signatures_and_keys_are_verified() {
    let (lab, address) = start().await;
    let path = format!("/model/{SONNET}/converse");
    let body = says("hi").to_string();
    let ask = async |headers: Vec<(String, String)>, body: &str| {
        let talk = Talk::begin(address, &path, &headers, body).await.unwrap();
        talk.finish().await.status()
    };
    let good = signed(address, &path, &body, "eu-central-1");
    assert_eq!(ask(good.clone(), &body).await, 200);
    assert_eq!(ask(good, &says("ho").to_string()).await, 403);
    assert_eq!(ask(signed(address, &path, &body, "eu-west-1"), &body).await, 403);
    let bearer = |key: &str| {
        vec![("host".to_owned(), "x".to_owned()), ("authorization".to_owned(), format!("Bearer {key}"))]
    };
    assert_eq!(ask(bearer(BEARER), &body).await, 200);
    assert_eq!(ask(bearer("other"), &body).await, 403);
    assert_eq!(ask(vec![("host".to_owned(), "x".to_owned())], &body).await, 403);
    for skew in [301, -301] {
        lab.script("fra", Script { clock_skew_s: skew, ..Script::default() }).await.unwrap();
        assert_eq!(ask(signed(address, &path, &body, "eu-central-1"), &body).await, 403);
    }
    lab.script("fra", Script { credential_expired: true, ..Script::default() }).await.unwrap();
    let heard = converse(address, "hi").await;
    assert!(heard.header("x-amzn-errortype").unwrap().starts_with("expiredtokenexception"));
}

#[tokio::test]
async fn the_date_header_follows_the_skewed_clock() {
    let (lab, address) = start().await;
    lab.script("fra", Script { clock_skew_s: 86_400 * 400, ..Script::default() }).await.unwrap();
    let heard = converse(address, "hi").await;
    let real = lab.requests("fra").unwrap()[0].at_ms / 1_000;
    let year = 1970 + real / 31_556_952;
    assert!(heard.header("date").unwrap().contains(&(year + 1).to_string()));
}

#[tokio::test]
async fn http2_with_prior_knowledge_is_served() {
    let (lab, address) = start().await;
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driving = tokio::spawn(connection);
    let path = format!("/model/{SONNET}/converse");
    let body = says("[[tokens=3]]").to_string();
    let mut request = Request::post(format!("http://{address}{path}"));
    for (name, value) in signed(address, &path, &body, "eu-central-1") {
        if name != "host" {
            request = request.header(name, value);
        }
    }
    let answer =
        sender.send_request(request.body(Full::new(bytes::Bytes::from(body))).unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_2));
    let answer: Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(answer["output"]["message"]["content"][0]["text"], TEXT);
    let seen = &lab.requests("fra").unwrap()[0];
    assert_eq!((seen.version.as_str(), seen.path.as_str()), ("HTTP/2.0", path.as_str()));
    drop(sender);
    driving.await.unwrap().unwrap();
}

#[tokio::test]
async fn errors_carry_the_services_names() {
    let (lab, address) = start().await;
    for (status, given, name) in [
        (429, "throttlingException", "throttlingexception"),
        (424, "ModelErrorException", "modelerrorexception"),
        (408, "modelTimeoutException", "modeltimeoutexception"),
        (503, "serviceUnavailableException", "serviceunavailableexception"),
    ] {
        let fault = Fault::new(FaultKind::Error).spelled(status, given);
        lab.script("fra", Script::faulty([fault])).await.unwrap();
        let heard = converse(address, "hi").await;
        assert_eq!(heard.status(), status);
        assert!(heard.header("x-amzn-errortype").unwrap().starts_with(&format!("{name}:")));
    }
    lab.script("fra", Script::faulty([Fault::new(FaultKind::Throttle)])).await.unwrap();
    let heard = converse(address, "hi").await;
    assert_eq!((heard.status(), heard.header("retry-after").as_deref()), (429, Some("1")));
    assert_eq!(heard.header("x-amz-retry-after").as_deref(), Some("1000"));
}
