"""A client that leaves in the middle of a stream: the upstream learns of it, and the gateway goes on."""

from __future__ import annotations

import pytest

from drivers.registry import names
from expectations import check_answer, check_upstream_told, numbered

WORDS = 400
PACE_MS = 25

routes = pytest.mark.parametrize(
    "route, target", [("on-bedrock", "fra"), ("on-openai", "openai"), ("on-anthropic", "anthropic"), ("on-mcp", "desk")]
)


# mcp 1.30 sends no cancellation for a call that its program gives up, and the older era forbids taking a closed stream for one.
SAYS_NOTHING = {"mcp1-python"}


@pytest.mark.parametrize("client", [name for name in names("abort") if name not in SAYS_NOTHING])
@routes
def test_abort_reaches_the_upstream(client, route, target, run, lab):
    lab.script(target, pace_ms={"fixed": PACE_MS})
    seen = run(client, route, op="abort", text=f"Count. [[tokens={WORDS}]]", max_tokens=1000, leave_after=3)
    assert "error" not in seen, seen
    begun = "".join(seen["pieces"])
    assert numbered(target, WORDS).startswith(begun)
    assert len(begun) < len(numbered(target, WORDS)), "the client was to leave early"

    check_upstream_told(lab, target)
    lab.heal(target)
    check_answer(client, run(client, route), target)
