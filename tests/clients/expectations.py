"""What every client must see, in one place: texts, stop reasons, error classes, usage.

The stop reasons and exception classes are the clients' own words; nothing here is taken from the gateway.
"""

from __future__ import annotations

import json
from typing import Any

from drivers.ask import TOOL_ARGUMENTS, TOOL_NAME, TOOL_RESULT
from drivers.registry import CLIENTS
from stack.lab import Lab

WORDS_DEFAULT = 12

# The alias that leads to each kind of path, and the simulator behind it.
ROUTES = {"on-bedrock": "fra", "on-mcp": "desk", "on-openai": "openai", "on-anthropic": "anthropic"}

FINISH = {
    "openai": {"end": "stop", "tool": "tool_calls", "limit": "length"},
    "mcp": {"end": "stop", "tool": "tool_calls", "limit": "length"},
    "anthropic": {"end": "end_turn", "tool": "tool_use", "limit": "max_tokens"},
    "anthropic-invoke": {"end": "end_turn", "tool": "tool_use", "limit": "max_tokens"},
    "bedrock": {"end": "end_turn", "tool": "tool_use", "limit": "max_tokens"},
    "ai": {"end": "stop", "tool": "tool-calls", "limit": "length"},
}

# The exception each client raises: (class or one of its bases, HTTP status the client shows or None).
ERRORS: dict[str, dict[str, tuple[str, int | None]]] = {
    "openai-python": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("InternalServerError", 503),
    },
    "openai-node": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("InternalServerError", 503),
    },
    "anthropic-python": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("InternalServerError", 503),
    },
    "anthropic-bedrock-python": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("InternalServerError", 503),
    },
    "anthropic-node": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("InternalServerError", 503),
    },
    "anthropic-bedrock-node": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("InternalServerError", 503),
    },
    "boto3": {
        "unknown_model": ("ResourceNotFoundException", 404), "throttled": ("ThrottlingException", 429),
        "bad_request": ("ValidationException", 400), "unavailable": ("ServiceUnavailableException", 503),
    },
    "aws-node": {
        "unknown_model": ("ResourceNotFoundException", 404), "throttled": ("ThrottlingException", 429),
        "bad_request": ("ValidationException", 400), "unavailable": ("ServiceUnavailableException", 503),
    },
    "langchain-aws": {
        "unknown_model": ("ResourceNotFoundException", 404), "throttled": ("ThrottlingException", 429),
        "bad_request": ("ValidationException", 400), "unavailable": ("ServiceUnavailableException", 503),
    },
    # Reads the type before the status: `invalid_request_error` is a bad request unless the code is OpenAI's own.
    "litellm-openai": {
        "unknown_model": ("BadRequestError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("ServiceUnavailableError", 503),
    },
    "litellm-anthropic": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("InternalServerError", 500),
    },
    "litellm-bedrock": {
        "unknown_model": ("NotFoundError", 404), "throttled": ("RateLimitError", 429),
        "bad_request": ("BadRequestError", 400), "unavailable": ("ServiceUnavailableError", 503),
    },
    "ai-amazon-bedrock": {
        "unknown_model": ("AI_APICallError", 404), "throttled": ("AI_APICallError", 429),
        "bad_request": ("AI_APICallError", 400), "unavailable": ("AI_APICallError", 503),
    },
    "ai-openai-compatible": {
        "unknown_model": ("AI_APICallError", 404), "throttled": ("AI_APICallError", 429),
        "bad_request": ("AI_APICallError", 400), "unavailable": ("AI_APICallError", 503),
    },
}


def numbered(target: str, words: int = WORDS_DEFAULT) -> str:
    """The simulators' default answer; its numbers show loss, doubling and reordering."""
    return f"Simulated answer from {target}:" + "".join(f" tok-{word}" for word in range(1, words + 1))


def succeeded(seen: dict[str, Any]) -> dict[str, Any]:
    """The report, unless it is of an error."""
    assert "error" not in seen, f"the client raised {json.dumps(seen['error'], default=str)}"
    return seen


def check_answer(client: str, seen: dict[str, Any], target: str, words: int = WORDS_DEFAULT, finish: str = "end") -> None:
    """The client got the whole numbered text with its own word for the stop reason."""
    succeeded(seen)
    assert seen["text"] == numbered(target, words)
    assert seen["finish"] == FINISH[CLIENTS[client].dialect][finish]


def check_usage(seen: dict[str, Any], lab: Lab, target: str) -> dict[str, Any]:
    """The client's usage numbers are the upstream's billing record; hands back the record."""
    bill = lab.bill(target)
    assert (seen["input"], seen["output"]) == (bill["input_tokens"], bill["output_tokens"])
    assert bill["completed"], bill
    return bill


def check_call(client: str, seen: dict[str, Any]) -> None:
    """The client got the tool call, name and arguments unharmed."""
    succeeded(seen)
    assert seen["call"] == {"name": TOOL_NAME, "arguments": TOOL_ARGUMENTS}
    assert seen["first_finish"] == FINISH[CLIENTS[client].dialect]["tool"]


def check_tool_result(client: str, seen: dict[str, Any]) -> None:
    """The model got the tool's result and answered with it."""
    assert seen["text"] == f"Tool said: {TOOL_RESULT}"
    assert seen["finish"] == FINISH[CLIENTS[client].dialect]["end"]


def check_error(client: str, seen: dict[str, Any], kind: str) -> dict[str, Any]:
    """The client raised its own class for this kind of error; hands back the error."""
    assert "error" in seen, f"the client took an error for an answer: {seen}"
    error = seen["error"]
    if CLIENTS[client].dialect == "mcp":
        return error
    wanted, status = ERRORS[client][kind]
    assert wanted in error["classes"], error
    if error["status"] is not None:
        assert error["status"] == status, error
    return error


def check_broken(seen: dict[str, Any], target: str) -> None:
    """The client saw an error, no finish, and of the text only a true beginning."""
    assert "error" in seen, f"a broken stream ended cleanly: {seen}"
    assert seen.get("finish") is None, seen
    assert numbered(target).startswith(seen.get("text") or ""), seen


def check_upstream_told(lab: Lab, target: str) -> None:
    """The upstream learnt that its caller left: the connection or stream was closed, or the call cancelled by name."""

    def told() -> bool:
        closed = any(request["aborted_by_peer"] for request in lab.requests(target))
        return closed or any(record["client_gone"] for record in lab.billing(target))

    assert lab.wait_for(told), f"the upstream was never told: {lab.requests(target)}"
