//! What the MCP server offers: its tools with their schemas and annotations.
//!
//! The schemas are loose on purpose (unknown members pass), as the servers found in the wild are. The
//! catalogue is one literal; a test proves that it deserialises and that names are unique.

use std::sync::LazyLock;

use rmcp::model::Tool;
use serde_json::{Value, json};

/// The name of the tool behind which a language model sits.
pub(super) const CONVERSE: &str = "converse";

static CATALOGUE: LazyLock<Vec<Tool>> = LazyLock::new(|| {
    [converse(), echo(), slow(), fail(), add(), write_note()]
        .into_iter()
        .map(|tool| {
            serde_json::from_value(tool).expect("invariant: the catalogue is a literal that a test reads")
        })
        .collect()
});

/// All tools in the order in which `tools/list` shows them.
pub(super) fn tools() -> &'static [Tool] {
    &CATALOGUE
}

/// The tool called `name`.
pub(super) fn find(name: &str) -> Option<&'static Tool> {
    tools().iter().find(|tool| tool.name == name)
}

fn converse() -> Value {
    json!({
        "name": CONVERSE,
        "title": "Converse",
        "description": "Answers a conversation with a language model.",
        "inputSchema": {
            "type": "object",
            "properties": {
                "model": {"type": "string", "description": "Name of the model, for instance `sonnet`."},
                "messages": {"type": "array", "items": {"type": "object"}, "minItems": 1,
                    "description": "Chat messages as OpenAI spells them: content parts, tool_calls and tool results included."},
                "system": {"type": "string"},
                "tools": {"type": "array", "items": {"type": "object"}},
                "tool_choice": {"description": "`auto`, `none`, `required` or one named function."},
                "max_tokens": {"type": "integer", "minimum": 1},
                "temperature": {"type": "number"},
                "top_p": {"type": "number"},
                "stop": {"description": "One stop sequence or a list of them."},
                "response_format": {"type": "object"}
            },
            "required": ["model", "messages"]
        },
        "outputSchema": {
            "type": "object",
            "properties": {
                "model": {"type": "string"},
                "role": {"type": "string", "const": "assistant"},
                "content": {"type": "string"},
                "tool_calls": {"type": "array", "items": {"type": "object"}},
                "finish_reason": {"type": "string", "enum": ["stop", "length", "tool_calls"]},
                "usage": {
                    "type": "object",
                    "properties": {
                        "prompt_tokens": {"type": "integer"},
                        "completion_tokens": {"type": "integer"},
                        "total_tokens": {"type": "integer"}
                    },
                    "required": ["prompt_tokens", "completion_tokens", "total_tokens"]
                }
            },
            "required": ["model", "role", "content", "finish_reason", "usage"]
        },
        "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}
    })
}

fn echo() -> Value {
    json!({
        "name": "echo",
        "description": "Gives the text back.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"]
        },
        "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}
    })
}

fn slow() -> Value {
    json!({
        "name": "slow",
        "description": "Works for `ms` milliseconds and reports progress.",
        "inputSchema": {
            "type": "object",
            "properties": {"ms": {"type": "integer", "minimum": 0, "maximum": super::tools::SLOW_MS_MAX}},
            "required": ["ms"]
        },
        "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}
    })
}

fn fail() -> Value {
    json!({
        "name": "fail",
        "description": "Always answers with an error result.",
        "inputSchema": {
            "type": "object",
            "properties": {"message": {"type": "string"}}
        },
        "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}
    })
}

fn add() -> Value {
    json!({
        "name": "add",
        "description": "Adds two numbers.",
        "inputSchema": {
            "type": "object",
            "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
            "required": ["a", "b"]
        },
        "outputSchema": {
            "type": "object",
            "properties": {"sum": {"type": "number"}},
            "required": ["sum"]
        },
        "annotations": {"readOnlyHint": true, "destructiveHint": false, "idempotentHint": true, "openWorldHint": false}
    })
}

fn write_note() -> Value {
    json!({
        "name": "write_note",
        "description": "Appends a note; each call leaves another one.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"]
        },
        "outputSchema": {
            "type": "object",
            "properties": {"executions": {"type": "integer", "description": "Notes written since the start or the last reset."}},
            "required": ["executions"]
        },
        "annotations": {"readOnlyHint": false, "destructiveHint": true, "idempotentHint": false, "openWorldHint": false}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_literal_deserialises_with_unique_names() {
        let mut names: Vec<_> = tools().iter().map(|tool| tool.name.as_ref()).collect();
        assert_eq!(names, ["converse", "echo", "slow", "fail", "add", "write_note"]);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), tools().len());
    }

    #[test]
    fn only_write_note_is_announced_as_having_effects() {
        for tool in tools() {
            let annotations = tool.annotations.clone().unwrap_or_default();
            assert_eq!(annotations.read_only_hint, Some(tool.name != "write_note"), "{}", tool.name);
            assert_eq!(annotations.is_destructive(), tool.name == "write_note", "{}", tool.name);
        }
    }
}
