"""What the Anthropic dialect adds: thinking, beta headers, prompt caching, token counting."""

from __future__ import annotations

import uuid

import pytest

from expectations import numbered, succeeded

THINKING = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}


def cached_system() -> list[dict]:
    """A system prompt no one sent before, marked for the cache."""
    text = f"Rules of house {uuid.uuid4()}. " * 200
    return [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]


def thinking_of(seen) -> dict:
    (block,) = [block for block in seen["blocks"] if block["type"] == "thinking"]
    return block


@pytest.mark.parametrize("client, route", [
    ("anthropic-python", "on-anthropic"), ("anthropic-python", "on-bedrock"), ("anthropic-bedrock-python", "on-bedrock"),
])
@pytest.mark.parametrize("op", ["answer", "stream"])
def test_thinking_passes_through(client, route, op, run):
    seen = succeeded(run(client, route, op=op, text="Why? [[think]]", extra=THINKING))
    block = thinking_of(seen)
    assert block["thinking"] == "Let me think about this step by step."
    assert len(block["signature"]) > 20
    assert seen["blocks"][-1]["text"].startswith("Simulated answer from")


def test_thinking_is_the_same_streamed_and_whole(run):
    signatures = {
        thinking_of(succeeded(run("anthropic-python", route, op=op, text="Why? [[think]]", extra=THINKING)))["signature"]
        for route in ["on-anthropic"]
        for op in ["answer", "stream"]
    }
    assert len(signatures) == 1, "a signature must be kept byte for byte"


def test_beta_header_is_forwarded(run, lab):
    betas = "context-1m-2025-08-07,some-unknown-beta-2099-01-01"
    succeeded(run("anthropic-python", "on-anthropic", headers={"anthropic-beta": betas}))
    (request,) = lab.requests("anthropic")
    arrived = [beta.strip() for beta in request["headers"]["anthropic-beta"].split(",")]
    assert arrived == betas.split(",")


def test_prompt_cache_usage_is_reported(run, lab):
    extra = {"system": cached_system()}
    first = succeeded(run("anthropic-python", "on-anthropic", extra=extra))
    second = succeeded(run("anthropic-python", "on-anthropic", extra=extra))
    streamed = succeeded(run("anthropic-python", "on-anthropic", op="stream", extra=extra))
    records = lab.executed("anthropic", at_least=3)
    for seen, record in zip([first, second, streamed], records, strict=True):
        usage = seen["usage"]
        assert usage["input_tokens"] == record["input_tokens"]
        assert (usage["cache_creation_input_tokens"] or 0) == record["cache_write_tokens"]
        assert (usage["cache_read_input_tokens"] or 0) == record["cache_read_tokens"]
    assert records[0]["cache_write_tokens"] > 0
    assert records[1]["cache_read_tokens"] > 0


@pytest.mark.parametrize("client", ["anthropic-python", "anthropic-node"])
@pytest.mark.parametrize("route, target", [("on-anthropic", "anthropic"), ("on-bedrock", "fra")])
def test_count_tokens(client, route, target, run, lab):
    text = "Count these words, please. " * 20
    counted = succeeded(run(client, route, op="count", text=text))["input"]
    answered = succeeded(run(client, route, text=text))
    assert counted == answered["input"]
    assert answered["text"] == numbered(target)


@pytest.mark.parametrize("client", ["anthropic-bedrock-python", "anthropic-bedrock-node"])
def test_newest_version_on_a_model_that_does_not_know_it(client, run):
    """These clients send `anthropic_version` 2026-10-21, which Bedrock refuses for models before Claude 4.7.

    What that version adds are refusals only, so the gateway can ask in the version the model knows.
    """
    assert succeeded(run(client, "on-bedrock"))["text"] == numbered("fra")


def test_version_of_the_client_is_forwarded(run, lab):
    succeeded(run("anthropic-python", "on-anthropic"))
    (request,) = lab.requests("anthropic")
    assert request["headers"]["anthropic-version"] == "2026-10-21"


def test_temperature_of_another_dialect_needs_the_older_version(run, lab):
    """The newest version refuses `temperature`, which OpenAI clients send; translated requests must not ask for it."""
    succeeded(run("openai-python", "on-anthropic", extra={"temperature": 0.2}))
    (request,) = lab.requests("anthropic")
    assert request["headers"]["anthropic-version"] == "2023-06-01"


def test_credentials_of_the_client_stay_here(run, lab):
    succeeded(run("anthropic-python", "on-anthropic", api_key="oc_secret_of_the_client"))
    (request,) = lab.requests("anthropic")
    assert "oc_secret_of_the_client" not in str(request["headers"])
    assert not [name for name in request["headers"] if name.startswith("x-outcrop-")]
