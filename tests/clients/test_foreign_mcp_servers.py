"""The MCP path over a server no one here wrote: a tool that only echoes, mapped to the operation by the configuration."""

from __future__ import annotations

import pytest

from drivers.registry import CLIENTS, names
from expectations import FINISH, succeeded

aliases = pytest.mark.parametrize("alias", ["echo-stdio", "echo-http"])


@pytest.mark.parametrize("client", names("answer"))
@aliases
def test_answer(client, alias, run):
    seen = succeeded(run(client, alias, text="Hello from a client."))
    assert seen["text"] == "Echo: Hello from a client."
    assert seen["finish"] == FINISH[CLIENTS[client].dialect]["end"]


@pytest.mark.parametrize("client", names("stream"))
@aliases
def test_stream(client, alias, run):
    seen = succeeded(run(client, alias, op="stream", text="Hello from a client."))
    assert seen["text"] == "Echo: Hello from a client."
    assert seen["finish"] == FINISH[CLIENTS[client].dialect]["end"]


@aliases
def test_text_that_must_be_escaped(alias, run):
    text = 'Quotes " and \\ and {"json": "${last_user_text}"} and\nlines and 😀.'
    assert succeeded(run("openai-python", alias, text=text))["text"] == f"Echo: {text}"
