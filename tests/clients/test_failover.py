"""Failover happens before the first content byte and no client can tell: same dialect, same answer, from elsewhere."""

from __future__ import annotations

import pytest

from drivers.ask import TOOL_PROMPT
from drivers.registry import names
from expectations import check_answer, check_call, check_usage, succeeded

both_ways = pytest.mark.parametrize("op", ["answer", "stream"])

FAULTS = {
    "down": None,
    "error_500": {"kind": "error", "status": 500},
    "error_503": {"kind": "error", "status": 503},
    "model_not_ready": {"kind": "error", "status": 429, "type": "modelNotReadyException"},
    "model_timeout": {"kind": "error", "status": 408, "type": "modelTimeoutException"},
    "model_error": {"kind": "error", "status": 424, "type": "modelErrorException"},
    "throttle": {"kind": "throttle"},
    "reset_before": {"kind": "reset_before"},
    "reset_inside_head": {"kind": "reset_inside", "at": "head"},
    "garbage": {"kind": "garbage"},
    "cut_at_start": {"kind": "cut", "after_events": 0},
    "cut_in_first_frame": {"kind": "cut_mid_frame", "after_events": 0},
    "exception_as_first_event": {"kind": "stream_exception", "after_events": 0, "only": "stream"},
    "exception_after_message_start": {"kind": "stream_exception", "after_events": 1, "only": "stream"},
    "bad_crc_first": {"kind": "bad_crc", "after_events": 0, "only": "stream"},
}


def break_target(lab, target: str, fault: str) -> None:
    options = FAULTS[fault]
    if options is None:
        lab.script(target, down=True)
    else:
        lab.fault(target, **options)


@pytest.mark.parametrize("client", names("answer"))
@both_ways
def test_region_down(client, op, run, lab):
    lab.script("fra", down=True)
    seen = run(client, "regions", op=op)
    check_answer(client, seen, "dub")
    check_usage(seen, lab, "dub")


@pytest.mark.parametrize("client", names("answer"))
@both_ways
def test_mcp_down_then_bedrock_and_back(client, op, run, lab):
    check_answer(client, run(client, "both", op=op), "desk")
    lab.script("desk", down=True)
    check_answer(client, run(client, "both", op=op), "fra")
    lab.heal("desk")


@pytest.mark.parametrize("client", names("answer"))
@both_ways
def test_bedrock_down_then_mcp(client, op, run, lab):
    lab.script("fra", down=True)
    seen = run(client, "both", op=op, headers={"x-outcrop-operation": "infrastructure"})
    check_answer(client, seen, "desk")


@pytest.mark.parametrize("client", ["openai-python", "anthropic-python", "boto3", "aws-node", "mcp2-python"])
@both_ways
@pytest.mark.parametrize("fault", FAULTS)
def test_every_failure_before_content(client, op, fault, run, lab):
    if (options := FAULTS[fault]) and options.get("only") == "stream" and op == "answer":
        pytest.skip("happens in streams only")
    break_target(lab, "fra", fault)
    check_answer(client, run(client, "regions", op=op), "dub")


@pytest.mark.parametrize("client", ["openai-python", "boto3", "aws-node"])
@both_ways
def test_silent_region(client, op, run, lab):
    lab.fault("fra", "hang")
    seen = run(client, "regions", op=op, headers={"x-outcrop-deadline-ms": "3000"})
    check_answer(client, seen, "dub")


@pytest.mark.parametrize("client", names("tool"))
def test_tool_call_of_the_other_region(client, run, lab):
    lab.script("fra", down=True)
    check_call(client, run(client, "regions", op="tool", text=TOOL_PROMPT))


@pytest.mark.parametrize("client", names("answer"))
def test_other_protocols_stand_in(client, run, lab):
    """Bedrock and OpenAI fail, Anthropic answers: three attempts, three protocols, one dialect."""
    lab.script("fra", down=True)
    lab.fault("openai", "error", status=503)
    check_answer(client, run(client, "anywhere"), "anthropic")


@pytest.mark.parametrize("client", ["openai-python", "anthropic-python", "boto3"])
def test_headers_name_the_way_taken(client, run, lab):
    lab.script("fra", down=True)
    headers = {name.lower(): value for name, value in succeeded(run(client, "regions"))["headers"].items()}
    assert headers["x-outcrop-path"] == "dub"
    assert headers["x-outcrop-region"] == "eu-west-1"
    assert headers["x-outcrop-attempts"] == "2"
    assert headers["x-outcrop-operation"] == "standard"
    assert headers["x-outcrop-request-id"]


def test_decision_record(run, gateway, lab):
    lab.script("fra", down=True)
    seen = succeeded(run("openai-python", "regions"))
    record = gateway.decision(seen["headers"]["x-outcrop-request-id"])
    assert "dub" in str(record)
    assert "fra" in str(record)
