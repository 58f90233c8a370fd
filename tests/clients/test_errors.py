"""Every client raises its own exception class for an unknown model, a throttled upstream, a wrong request and an outage."""

from __future__ import annotations

import json

import pytest

from drivers.registry import CLIENTS, names
from expectations import check_error

clients = pytest.mark.parametrize("client", names("answer"))
both_ways = pytest.mark.parametrize("op", ["answer", "stream"])


def told(error) -> str:
    """Everything the client shows of an error."""
    return json.dumps(error, default=str)


@clients
@both_ways
def test_unknown_model(client, op, run, lab):
    error = check_error(client, run(client, "no-such-model", op=op), "unknown_model")
    if client not in {"boto3", "langchain-aws", "aws-node"}:  # These drop members of the error body they do not know.
        assert "unknown_model" in told(error)
    assert "no-such-model" in told(error)
    assert lab.executions() == {}


@clients
@both_ways
@pytest.mark.parametrize("route, target", [("on-bedrock", "fra"), ("on-mcp", "desk")])
def test_throttled_upstream(client, op, route, target, run, lab):
    lab.fault(target, "throttle", retry_after_s=1)
    check_error(client, run(client, route, op=op), "throttled")
    assert lab.executions() == {}


@clients
@both_ways
def test_request_the_upstream_refuses(client, op, run, lab):
    lab.fault("fra", "error", status=400, type="validationException")
    check_error(client, run(client, "on-bedrock", op=op), "bad_request")
    assert len(lab.requests("fra")) == 1, "a wrong request is wrong everywhere and must not be tried again"


@clients
@both_ways
def test_outage(client, op, run, lab):
    lab.fault("fra", "error", status=503, type="serviceUnavailableException")
    check_error(client, run(client, "on-bedrock", op=op), "unavailable")


@pytest.mark.parametrize("client", names("no_messages"))
@pytest.mark.parametrize("route", ["on-bedrock", "on-mcp"])
def test_request_without_messages(client, route, run, lab):
    check_error(client, run(client, route, op="no_messages"), "bad_request")
    assert lab.executions() == {}


@pytest.mark.parametrize("client", ["openai-python", "openai-node", "anthropic-python", "boto3", "aws-node", "mcp2-python"])
def test_mcp_server_down(client, run, lab):
    lab.script("desk", down=True)
    seen = run(client, "on-mcp")
    assert "error" in seen, seen
    assert (seen["error"]["status"] or 502) in {502, 503} or CLIENTS[client].dialect == "mcp", seen["error"]
