"""A stream that breaks upstream reaches every client as an error: never a clean end, never an invented stop reason.

boto3 takes half a frame, or a stream without its last events, for a clean end; only the gateway can tell it.
"""

from __future__ import annotations

import pytest

from drivers.ask import TOOL_PROMPT
from drivers.registry import names
from expectations import check_broken

FAULTS = {
    "cut": {},
    "cut_cleanly": {"kind": "cut", "http_end": True},
    "cut_mid_frame": {},
    "cut_mid_frame_cleanly": {"kind": "cut_mid_frame", "http_end": True},
    "reset_inside": {},
    "stream_exception": {},
    "bad_crc": {},
}
ROUTES = {"on-bedrock": "fra", "on-openai": "openai", "on-anthropic": "anthropic", "on-mcp": "desk"}
# Only Bedrock's framing carries a checksum; over MCP the answer is a single event, broken by these three.
FAULTS_OF = {
    "on-bedrock": list(FAULTS),
    "on-openai": [fault for fault in FAULTS if fault != "bad_crc"],
    "on-anthropic": [fault for fault in FAULTS if fault != "bad_crc"],
    "on-mcp": ["cut", "cut_mid_frame", "reset_inside"],
}


def break_stream(lab, target: str, fault: str, after_events: int) -> None:
    options = {"kind": fault, "after_events": after_events, "only": "stream"} | FAULTS[fault]
    if target == "desk":
        options.pop("only")
    lab.fault(target, options.pop("kind"), **options)


@pytest.mark.parametrize("client", names("stream"))
@pytest.mark.parametrize("fault", FAULTS_OF["on-bedrock"])
def test_broken_bedrock_stream(client, fault, run, lab):
    break_stream(lab, "fra", fault, after_events=6)
    check_broken(run(client, "on-bedrock", op="stream"), "fra")


@pytest.mark.parametrize("client", names("stream"))
@pytest.mark.parametrize(
    "route, fault", [(route, fault) for route in ("on-openai", "on-anthropic", "on-mcp") for fault in FAULTS_OF[route]]
)
def test_broken_stream_of_another_path(client, route, fault, run, lab):
    # The first event of an MCP answer may be its only one.
    break_stream(lab, ROUTES[route], fault, after_events=0 if route == "on-mcp" else 6)
    check_broken(run(client, route, op="stream"), ROUTES[route])


@pytest.mark.parametrize("client", names("tool_stream"))
@pytest.mark.parametrize("fault", ["cut", "cut_mid_frame_cleanly"])
def test_broken_tool_call(client, fault, run, lab):
    """Half a tool call must never be executed by a program that believes it whole."""
    break_stream(lab, "fra", fault, after_events=4)
    seen = run(client, "on-bedrock", op="tool_stream", text=TOOL_PROMPT)
    assert "error" in seen, f"half a tool call passed for a whole one: {seen}"


@pytest.mark.parametrize("client", names("answer"))
@pytest.mark.parametrize("fault", ["reset_inside", "garbage", "cut"])
def test_broken_whole_answer(client, fault, run, lab):
    lab.fault("fra", fault)
    seen = run(client, "on-bedrock")
    assert "error" in seen, f"a broken answer passed for a whole one: {seen}"
