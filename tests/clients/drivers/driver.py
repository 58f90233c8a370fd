"""The common part of the Python drivers: picks the method of an ask and reports exceptions instead of raising them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drivers.ask import Ask, failure


class Driver:
    """Drives one client. A subclass has one method per `op`; each takes an `Ask` and hands back a report.

    A streaming method appends to the list it is given as `pieces`, so that text that arrived before an error is reported.
    """

    name = "?"
    dialect = "?"

    def operations(self) -> set[str]:
        """The `op` values this client can do."""
        public = (name for name in dir(self) if not name.startswith("_") and name not in RESERVED)
        return {name for name in public if callable(getattr(self, name))}

    def run(self, ask: Ask) -> dict[str, Any]:
        """Carries out an ask."""
        pieces: list[str] = []
        method: Callable[..., dict[str, Any]] = getattr(self, ask.op)
        try:
            seen = method(ask, pieces) if ask.op in STREAMED else method(ask)
        except Exception as error:
            return failure(error, pieces=pieces, text="".join(pieces))
        if ask.op in STREAMED:
            seen.setdefault("pieces", pieces)
            seen.setdefault("text", "".join(pieces))
        return seen

    def stop(self) -> None:
        """Ends what the driver started."""


RESERVED = {"name", "dialect", "operations", "run", "stop"}
STREAMED = {"stream", "tool_stream", "abort"}
