"""Every client gets a whole answer, a stream, a tool round trip and a limit, over every kind of path.

The alias leads to one path only; the simulator's billing record says that exactly one request ran and what it counted.
"""

from __future__ import annotations

import pytest

from drivers.ask import TOOL_PROMPT
from drivers.registry import CLIENTS, names
from expectations import ROUTES, check_answer, check_call, check_tool_result, check_usage

routes = pytest.mark.parametrize("route", ROUTES)


@routes
@pytest.mark.parametrize("client", names("answer"))
def test_answer(client, route, run, lab):
    seen = run(client, route)
    check_answer(client, seen, ROUTES[route])
    check_usage(seen, lab, ROUTES[route])


@routes
@pytest.mark.parametrize("client", names("stream"))
def test_stream(client, route, run, lab):
    lab.script(ROUTES[route], pace_ms={"fixed": 3})
    seen = run(client, route, op="stream", text="Count. [[tokens=40]]")
    check_answer(client, seen, ROUTES[route], words=40)
    assert "".join(seen["pieces"]) == seen["text"]
    assert len(seen["pieces"]) > 1, "the stream came in one piece"
    check_usage(seen, lab, ROUTES[route])


@routes
@pytest.mark.parametrize("client", names("tool"))
def test_tool_round_trip(client, route, run, lab):
    seen = run(client, route, op="tool", text=TOOL_PROMPT)
    check_call(client, seen)
    check_tool_result(client, seen)
    assert len(lab.executed(ROUTES[route], at_least=2)) == 2


@routes
@pytest.mark.parametrize("client", names("tool_stream"))
def test_streamed_tool_call(client, route, run, lab):
    check_call(client, run(client, route, op="tool_stream", text=TOOL_PROMPT))
    assert lab.bill(ROUTES[route])["stream"] or CLIENTS[client].dialect == "mcp" or ROUTES[route] == "desk"


@routes
@pytest.mark.parametrize("client", names("answer"))
def test_limit(client, route, run, lab):
    seen = run(client, route, max_tokens=5)
    check_answer(client, seen, ROUTES[route], words=5, finish="limit")
    check_usage(seen, lab, ROUTES[route])


@pytest.mark.parametrize("client", ["openai-python", "anthropic-python", "boto3", "aws-node", "mcp2-python"])
def test_bearer_key_and_stdio_upstreams(client, run):
    for alias, target in {"on-bearer": "fra", "on-mcp-stdio": "desk"}.items():
        check_answer(client, run(client, alias), target)
