//! Every client API over every kind of path, whole and streamed.

use serde_json::{Value, json};

use crate::{
    api::{APIS, Api},
    client,
    house::{House, PATHS, simulated, within},
};

/// Asks over every path, whole and streamed, and holds each answer against what the path says.
async fn everywhere(api: Api) {
    let house = House::start().await;
    for (path, _) in PATHS {
        for stream in [false, true] {
            let model = format!("on-{path}");
            let answer = api.ask(&house, &model, "[[tokens=9]]", stream, &[]).await;
            let case = format!("{api:?} over {path}, stream: {stream}: {answer:?}");
            assert_eq!(answer.status, 200, "{case}");
            let told = api.hear(&answer);
            assert_eq!(told.text, simulated(path, 9), "{case}");
            assert!(told.is_complete(api) && answer.whole, "{told:?} {case}");
            if api != Api::Mcp {
                assert_eq!(answer.header("x-outcrop-path"), path, "{case}");
                assert_eq!(answer.header("x-outcrop-attempts"), "1", "{case}");
            }
        }
        let billed = house.billed(path, 2).await;
        assert!(billed.iter().all(|record| record.executed && record.output_tokens == 9), "{billed:?}");
        assert_eq!(billed.len(), 2, "{path}");
    }
}

#[tokio::test]
async fn openai_over_every_path() {
    everywhere(Api::OpenAi).await;
}

#[tokio::test]
async fn anthropic_over_every_path() {
    everywhere(Api::Anthropic).await;
}

#[tokio::test]
async fn converse_over_every_path() {
    everywhere(Api::Converse).await;
}

#[tokio::test]
async fn invoke_over_every_path() {
    everywhere(Api::Invoke).await;
}

#[tokio::test]
async fn mcp_over_every_path() {
    everywhere(Api::Mcp).await;
}

#[tokio::test]
async fn http2_callers_get_the_same_answers() {
    let house = House::start().await;
    let mut sender = client::connect_h2(house.data()).await;
    for api in APIS {
        for stream in [false, true] {
            let route = api.route("on-fra", stream);
            let body = api.body("on-fra", "[[tokens=9]]", stream);
            let request = client::post_h2(house.data(), &route, api.headers(), &body);
            let answer = client::read(within("an answer", sender.send_request(request)).await.unwrap()).await;
            let told = api.hear(&answer);
            assert!(told.is_complete(api) && answer.whole, "{api:?} {stream}: {told:?}");
            assert_eq!(told.text, simulated("fra", 9));
        }
    }
}

#[tokio::test]
async fn an_answer_says_where_it_came_from() {
    let house = House::start().await;
    let headers = [("x-outcrop-operation", "infrastructure"), ("x-outcrop-path", "dub")];
    let answer = Api::Converse.ask(&house, "any", "[[tokens=3]]", false, &headers).await;
    for (name, value) in [
        ("x-outcrop-operation", "infrastructure"),
        ("x-outcrop-path", "dub"),
        ("x-outcrop-target", "dub/eu.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("x-outcrop-region", "eu-west-1"),
        ("x-outcrop-attempts", "1"),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
    let billed = &house.billed("dub", 1).await[0];
    assert_eq!(answer.header("x-outcrop-cost-nusd"), billed.cost_nusd.to_string());
    assert!(answer.header("x-outcrop-overhead-us").parse::<u64>().is_ok());
}

#[tokio::test]
async fn tools_are_called_over_every_path() {
    let house = House::start().await;
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    for (path, _) in PATHS {
        for stream in [false, true] {
            let model = format!("on-{path}");
            let mut body = Api::OpenAi.body(&model, "[[tool]]", stream);
            body["tools"] =
                json!([{"type": "function", "function": {"name": "weather", "parameters": schema}}]);
            let answer = house.post("/v1/chat/completions", &[], &body).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            let (name, arguments) = if stream { streamed_call(&answer) } else { whole_call(&answer.json()) };
            assert_eq!(name, "weather", "{path} {stream}: {answer:?}");
            let arguments: Value = serde_json::from_str(&arguments).unwrap();
            assert_eq!(arguments, json!({"city": "sample city"}), "{path} {stream}");
        }
        let mut body = Api::Anthropic.body(&format!("on-{path}"), "[[tool]]", false);
        body["tools"] = json!([{"name": "weather", "input_schema": schema}]);
        let answer = house.post("/v1/messages", Api::Anthropic.headers(), &body).await.json();
        let content = answer["content"].as_array().unwrap();
        let call = content.iter().find(|block| block["type"] == "tool_use").unwrap();
        assert_eq!(
            (&call["name"], &call["input"]["city"]),
            (&json!("weather"), &json!("sample city")),
            "{path}"
        );
        assert_eq!(answer["stop_reason"], "tool_use", "{path}");
    }
}

fn whole_call(body: &Value) -> (String, String) {
    assert_eq!(body["choices"][0]["finish_reason"], "tool_calls");
    let call = &body["choices"][0]["message"]["tool_calls"][0]["function"];
    (call["name"].as_str().unwrap().to_owned(), call["arguments"].as_str().unwrap().to_owned())
}

fn streamed_call(answer: &client::Answer) -> (String, String) {
    let (mut name, mut arguments) = (String::new(), String::new());
    for (_, data) in crate::api::sse(answer) {
        let chunk: Value = serde_json::from_str(&data).unwrap_or_default();
        let call = &chunk["choices"][0]["delta"]["tool_calls"][0]["function"];
        name.push_str(call["name"].as_str().unwrap_or_default());
        arguments.push_str(call["arguments"].as_str().unwrap_or_default());
    }
    (name, arguments)
}

#[tokio::test]
async fn embeddings_come_from_openai_and_from_bedrock() {
    let house = House::start().await;
    for (model, path) in [("vectors", "oai"), ("titan", "fra")] {
        let body = json!({"model": model, "input": "hello"});
        let answer = house.post("/v1/embeddings", &[], &body).await;
        assert_eq!((answer.status, answer.header("x-outcrop-path")), (200, path), "{answer:?}");
        assert!(!answer.json()["data"][0]["embedding"].as_array().unwrap().is_empty());
        assert_eq!(house.billed(path, 1).await.len(), 1);
    }
    let chat = house.post("/v1/embeddings", &[], &json!({"model": "on-desk", "input": "hello"})).await;
    assert_eq!((chat.status, Api::OpenAi.error(&chat).1.as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn tokens_are_counted_without_asking_the_model() {
    let house = House::start().await;
    let messages = json!([{"role": "user", "content": "some words"}]);
    for path in ["fra", "ant"] {
        let body = json!({"model": format!("on-{path}"), "messages": messages});
        let answer = house.post("/v1/messages/count_tokens", Api::Anthropic.headers(), &body).await;
        assert!(answer.json()["input_tokens"].as_u64().unwrap() > 0, "{path}: {answer:?}");
        assert_eq!(house.executions(path), 0, "{path}");
    }
    let body =
        json!({"input": {"converse": {"messages": [{"role": "user", "content": [{"text": "some words"}]}]}}});
    let answer = house.post("/model/on-fra/count-tokens", &[], &body).await;
    assert!(answer.json()["inputTokens"].as_u64().unwrap() > 0, "{answer:?}");
}

#[tokio::test]
async fn models_are_listed_by_name() {
    let house = House::start().await;
    let list = house.get("/v1/models").await.json();
    let names: Vec<&str> = list["data"].as_array().unwrap().iter().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(names, ["any", "on-ant", "on-desk", "on-dub", "on-fra", "on-oai", "titan", "vectors"]);
    assert_eq!(house.get("/v1/models/on-fra").await.json()["id"], "on-fra");
    assert_eq!(house.get("/v1/models/nobody").await.status, 404);
}
