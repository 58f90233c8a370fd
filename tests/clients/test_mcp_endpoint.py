"""The gateway as an MCP server: its operation as a tool, the tools of the servers behind it, both protocol eras."""

from __future__ import annotations

import pytest

from drivers.registry import names
from expectations import succeeded

SESSION_ERA = {"2025-11-25"}
STATELESS_ERA = {"2026-07-28"}

clients = pytest.mark.parametrize("client", names(dialects={"mcp"}))


@clients
def test_the_operation_and_the_federated_tools_are_listed(client, run):
    tools = {tool["name"]: tool for tool in succeeded(run(client, "-", op="tools"))["tools"]}
    assert {"converse", "desk__add", "desk__echo", "everything__get-sum", "everything-http__get-sum"} <= set(tools)
    assert "everything__echo" not in tools, "a path's chat tool is reached through `converse` only"
    schema = tools["converse"]["inputSchema"]
    assert {"model", "messages"} <= set(schema["required"])
    assert {"max_tokens", "tools"} <= set(schema["properties"])


@clients
def test_a_federated_tool_answers(client, run):
    extra = {"name": "desk__add", "arguments": {"a": 40, "b": 2}}
    seen = succeeded(run(client, "-", op="call", extra=extra))
    assert seen["structured"]["sum"] == 42


@clients
def test_a_federated_tool_of_a_server_no_one_here_wrote(client, run):
    for path in ["everything", "everything-http"]:
        extra = {"name": f"{path}__get-sum", "arguments": {"a": 40, "b": 2}}
        assert "42" in succeeded(run(client, "-", op="call", extra=extra))["text"]


@clients
def test_a_failing_tool_is_an_error_result(client, run):
    # Its own words: the same call that fails again and again rests.
    words = f"no luck for {client}"
    seen = run(client, "-", op="call", extra={"name": "desk__fail", "arguments": {"message": words}})
    assert words in seen["error"]["message"]


@clients
def test_an_unknown_tool_is_refused(client, run, lab):
    seen = run(client, "-", op="call", extra={"name": "desk__no_such_tool", "arguments": {}})
    assert "no_such_tool" in str(seen["error"])


@pytest.mark.parametrize("client, eras", [
    ("mcp2-python", STATELESS_ERA), ("mcp-client2-node", STATELESS_ERA), ("mcp2-python-session", SESSION_ERA),
    ("mcp-client2-node-session", SESSION_ERA), ("mcp-sdk1-node", SESSION_ERA), ("mcp1-python", SESSION_ERA),
])
def test_each_client_speaks_the_newest_revision_it_knows(client, eras, run):
    assert succeeded(run(client, "on-bedrock"))["revision"] in eras


@clients
def test_text_content_stands_beside_the_structured_answer(client, run):
    seen = succeeded(run(client, "on-bedrock"))
    assert seen["structured"]["role"] == "assistant"
    assert seen["structured"]["content"] in seen["said"]
