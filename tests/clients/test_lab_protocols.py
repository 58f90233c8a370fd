"""Every client against the simulator of its own protocol, without the gateway: what differs behind the gateway is the gateway's."""

from __future__ import annotations

import pytest

from drivers.ask import TOOL_PROMPT, Ask
from drivers.registry import CLIENTS, GIVEN, names
from expectations import (
    check_answer,
    check_broken,
    check_call,
    check_error,
    check_tool_result,
    check_upstream_told,
    check_usage,
)
from stack.lab import ANTHROPIC_KEY, OPENAI_KEY, SONNET

# The simulator that speaks a client's protocol, and a model it knows.
HOMES = {
    "openai": ("openai", "gpt-4o-mini"),
    "anthropic": ("anthropic", "claude-sonnet-4-5"),
    "anthropic-invoke": ("fra", SONNET),
    "bedrock": ("fra", SONNET),
    "mcp": ("desk", "sonnet"),
}
# These speak another protocol than the dialect of their reports.
EXCEPTIONS = {
    "litellm-anthropic": HOMES["anthropic"],
    "litellm-bedrock": HOMES["bedrock"],
    "ai-openai-compatible": HOMES["openai"],
    "ai-amazon-bedrock": HOMES["bedrock"],
}


def home(client: str) -> tuple[str, str]:
    """Target and model for a client."""
    return EXCEPTIONS.get(client) or HOMES[CLIENTS[client].dialect]


@pytest.fixture
def direct(lab):
    """Runs an ask against the simulator of the client's protocol."""

    def carry_out(client, **wanted):
        target, model = home(client)
        base = lab.at.root(target)
        key = {"openai": OPENAI_KEY, "anthropic": ANTHROPIC_KEY}.get(target, "-")
        return CLIENTS[client].run(Ask(**{"base": base, "model": model, "api_key": key, "extra": GIVEN.get(client, {}), **wanted}))

    return carry_out


clients = pytest.mark.parametrize("client", names("answer"))


@clients
@pytest.mark.parametrize("op", ["answer", "stream"])
def test_answer(client, op, direct, lab):
    target, _ = home(client)
    seen = direct(client, op=op)
    check_answer(client, seen, target)
    check_usage(seen, lab, target)


@clients
def test_tools(client, direct):
    seen = direct(client, op="tool", text=TOOL_PROMPT)
    check_call(client, seen)
    check_tool_result(client, seen)
    check_call(client, direct(client, op="tool_stream", text=TOOL_PROMPT))


@clients
def test_limit(client, direct):
    check_answer(client, direct(client, max_tokens=5), home(client)[0], words=5, finish="limit")


@pytest.mark.parametrize("client", list(GIVEN))
def test_bedrock_refuses_the_newest_version_for_this_model(client, direct):
    error = check_error(client, direct(client, extra={}), "bad_request")
    assert "anthropic_version" in error["message"]


@clients
@pytest.mark.parametrize("op", ["answer", "stream"])
def test_throttle(client, op, direct, lab):
    lab.fault(home(client)[0], "throttle")
    check_error(client, direct(client, op=op), "throttled")


@pytest.mark.parametrize("client", [name for name in names("stream") if CLIENTS[name].dialect != "mcp"])
def test_error_inside_a_stream(client, direct, lab):
    target, _ = home(client)
    lab.fault(target, "stream_exception", after_events=6)
    check_broken(direct(client, op="stream"), target)


@pytest.mark.parametrize("client", names("abort"))
def test_abort(client, direct, lab):
    target, _ = home(client)
    lab.script(target, pace_ms={"fixed": 20})
    seen = direct(client, op="abort", text="Count. [[tokens=400]]", max_tokens=1000, leave_after=3)
    assert "error" not in seen, seen
    check_upstream_told(lab, target)


@pytest.mark.parametrize("client", [name for name in names("answer") if home(name)[0] in {"openai", "anthropic"}])
def test_a_wrong_key_is_refused(client, direct):
    error = direct(client, api_key="wrong")["error"]
    assert error["status"] == 401, error
