#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;

use super::{Block, Choice, Directives, Plan, Prompt, Stop, Tool, from_schema};
use crate::dice::Dice;

fn prompt(text: &str) -> Prompt {
    Prompt { target: "fra".to_owned(), last_user_text: text.to_owned(), ..Prompt::default() }
}

fn weather() -> Tool {
    Tool {
        name: "weather".to_owned(),
        schema: json!({
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 3}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "days", "unit"],
        }),
    }
}

#[test]
fn twelve_numbered_words_by_default() {
    let plan = Plan::new(&prompt("hello"), 1);
    assert_eq!(
        plan.blocks[0].text(),
        "Simulated answer from fra: tok-1 tok-2 tok-3 tok-4 tok-5 tok-6 tok-7 tok-8 tok-9 tok-10 tok-11 tok-12"
    );
    assert_eq!((plan.output_tokens(), plan.stop), (12, Stop::End));
}

#[test]
fn the_limit_cuts_and_says_so() {
    let limited = Prompt { max_tokens: Some(3), ..prompt("[[tokens=50]]") };
    let plan = Plan::new(&limited, 1);
    assert_eq!(plan.blocks[0].text(), "Simulated answer from fra: tok-1 tok-2 tok-3");
    assert_eq!(plan.stop, Stop::MaxTokens);
    let exact = Prompt { max_tokens: Some(50), ..prompt("[[tokens=50]]") };
    assert_eq!(Plan::new(&exact, 1).stop, Stop::End);
}

#[test]
fn a_tool_is_called_when_asked_or_forced() {
    let offered = Prompt { tools: vec![weather()], ..prompt("[[tool]]") };
    let plan = Plan::new(&offered, 1);
    let Block::Tool { name, input, .. } = &plan.blocks[0] else { panic!("{plan:?}") };
    assert_eq!(name, "weather");
    assert_eq!(input["city"], "sample city");
    assert!((1..=3).contains(&input["days"].as_i64().unwrap()));
    assert_eq!(plan.blocks[0].text(), input.to_string());
    assert_eq!(plan.stop, Stop::Tool);

    let forced =
        Prompt { tools: vec![weather()], choice: Choice::Named("weather".to_owned()), ..prompt("hi") };
    assert_eq!(Plan::new(&forced, 1).stop, Stop::Tool);
    let barred = Prompt { tools: vec![weather()], choice: Choice::None, ..prompt("[[tool]]") };
    assert_eq!(Plan::new(&barred, 1).stop, Stop::End);
}

#[test]
fn a_tool_result_is_repeated() {
    let answered = Prompt {
        tools: vec![weather()],
        choice: Choice::Any,
        tool_result: Some("18 degrees".to_owned()),
        ..prompt("[[tool]]")
    };
    assert_eq!(Plan::new(&answered, 1).blocks[0].text(), "Tool said: 18 degrees");
}

#[test]
fn the_same_seed_thinks_the_same() {
    let signature = |seed| match &Plan::new(&prompt("[[think]]"), seed).blocks[0] {
        Block::Thinking { signature, .. } => signature.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(signature(1), signature(1));
    assert_ne!(signature(1), signature(2));
}

#[test]
fn a_stop_sequence_ends_before_it_appears() {
    let stopping = Prompt { stop_sequences: vec!["tok-4".to_owned()], ..prompt("x") };
    let plan = Plan::new(&stopping, 1);
    assert_eq!(plan.blocks[0].text(), "Simulated answer from fra: tok-1 tok-2 tok-3 ");
    assert_eq!(plan.stop, Stop::Sequence("tok-4".to_owned()));
}

#[test]
fn directives_are_read_from_anywhere() {
    let read = Directives::read("a [[tokens=5]] b [[tool=x]] [[args={\"k\":1}]] [[nonsense]] [[open");
    assert_eq!(read.tokens, Some(5));
    assert_eq!(read.tool_name.as_deref(), Some("x"));
    assert_eq!(read.arguments, Some(json!({"k": 1})));
    assert!(!read.think);
}

#[test]
fn json_answers_are_json() {
    let plan = Plan::new(&Prompt { json: Some(None), ..prompt("x") }, 1);
    assert!(serde_json::from_str::<serde_json::Value>(&plan.blocks[0].text()).unwrap().is_object());
}

#[test]
fn schemas_with_references_and_recursion_end() {
    let schema = json!({
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "type": "object",
        "properties": {"first": {"$ref": "#/$defs/node"}, "when": {"type": ["null", "string"], "format": "date"}},
    });
    let value = from_schema(&schema, &mut Dice::new(1, []));
    assert!(value["first"]["next"].is_object());
    assert_eq!(value["when"], "2026-01-02");
}
