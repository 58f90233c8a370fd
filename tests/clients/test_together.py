"""All clients at once: no answer crosses over to another, and a stalled upstream ends for each of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from drivers.registry import names
from expectations import check_answer, check_broken

STREAMS_PER_CLIENT = 5
ROUTES = [("on-bedrock", "fra"), ("on-mcp", "desk"), ("on-openai", "openai"), ("on-anthropic", "anthropic"), ("regions", "fra")]


def test_streams_do_not_mix(run, lab):
    """Each answer has a length of its own, so a token of a neighbour would show."""
    for _, target in ROUTES:
        lab.script(target, pace_ms={"uniform": [0, 10]})
    clients = names("stream")

    def streams_of(place: int) -> None:
        for round_, (route, target) in zip(range(STREAMS_PER_CLIENT), ROUTES, strict=True):
            words = 20 + place * STREAMS_PER_CLIENT + round_
            seen = run(clients[place], route, op="stream", text=f"Count. [[tokens={words}]]")
            check_answer(clients[place], seen, target, words=words)

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(streams_of, range(len(clients))))
    assert sum(lab.executions().values()) == len(clients) * STREAMS_PER_CLIENT


def test_a_stalled_stream_ends_as_an_error(run, lab):
    """The connection stays and nothing comes any more; only the gateway's stall limit ends it."""
    lab.fault("fra", "hang_stream", after_events=6)
    clients = names("stream")
    with ThreadPoolExecutor(len(clients)) as pool:
        for client, seen in zip(clients, pool.map(lambda one: run(one, "on-bedrock", op="stream"), clients), strict=True):
            assert "error" in seen, f"{client}: {seen}"
            check_broken(seen, "fra")
