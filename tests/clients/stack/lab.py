"""The simulated upstreams (`outcrop lab`) and their control API: scripts, billing, requests seen.

The billing record is the independent witness of the suite: what a client was told is compared with what the upstream counted.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from stack.process import Child

AWS_KEY_ID = "AKIAOUTCROPLAB000001"
AWS_SECRET = "outcrop-lab-secret-key-000000000000000001"
BEDROCK_BEARER = "outcrop-lab-bedrock-bearer"
OPENAI_KEY = "outcrop-lab-openai-key"
ANTHROPIC_KEY = "outcrop-lab-anthropic-key"

SONNET = "eu.anthropic.claude-sonnet-4-5-20250929-v1:0"
HAIKU = "anthropic.claude-3-haiku-20240307-v1:0"
NOVA = "eu.amazon.nova-lite-v1:0"
TITAN_EMBED = "amazon.titan-embed-text-v2:0"

TARGETS = ("fra", "desk", "dub", "openai", "anthropic")
RECORD_MS_MAX = 5000


@dataclass(frozen=True)
class Addresses:
    """The URL of each listener, as the lab announces them."""

    control: str
    fra: str
    desk: str
    dub: str
    openai: str
    anthropic: str

    def root(self, target: str) -> str:
        """The URL of a target without its path, to which clients add their own."""
        url = urlsplit(getattr(self, target))
        return f"{url.scheme}://{url.netloc}"


class Lab:
    """A running lab."""

    def __init__(self, binary: Path, work: Path) -> None:
        self._child = Child("outcrop lab", [binary, "lab", "--port-base", "0", "--json"], work / "lab.log")
        self._child.wait_until(self._child.has_said_a_line)
        self.at = Addresses(**json.loads(self._child.first_line()))
        self._http = httpx.Client(base_url=self.at.control, timeout=10)

    def stop(self) -> None:
        self._http.close()
        self._child.stop()

    def reset(self) -> None:
        """Forgets scripts, billing and counters."""
        self._http.post("/reset", json={"seed": 1}).raise_for_status()

    def script(self, target: str, **script: Any) -> None:
        """Replaces the script of one target: `lab.script("fra", down=True)`."""
        answer = self._http.put(f"/targets/{target}/script", json=script)
        assert answer.status_code < 300, f"the lab refused a script: {answer.status_code} {answer.text}"

    def fault(self, target: str, kind: str, **fault: Any) -> None:
        """Replaces the script of one target by one fault."""
        self.script(target, faults=[{"kind": kind, "rate": 1.0, **fault}])

    def heal(self, target: str) -> None:
        """Removes the script of one target."""
        self._http.delete(f"/targets/{target}/script").raise_for_status()

    def billing(self, target: str, at_least: int = 0) -> list[dict[str, Any]]:
        """Every billing record of one target since the last reset, awaited until there are so many."""
        answer = self._http.get(f"/billing/{target}", params={"at_least": at_least, "wait_ms": RECORD_MS_MAX})
        answer.raise_for_status()
        return answer.json()["records"]

    def executed(self, target: str, at_least: int = 0) -> list[dict[str, Any]]:
        """The billing records of the requests that ran."""
        return [record for record in self.billing(target, at_least) if record["executed"]]

    def bill(self, target: str) -> dict[str, Any]:
        """The only executed record of one target: a record is written once the transport is done with the answer."""
        records = self.executed(target, at_least=1)
        assert len(records) == 1, f"{target} executed {len(records)} requests, not 1: {records}"
        return records[0]

    def requests(self, target: str) -> list[dict[str, Any]]:
        """The recent requests one target has seen."""
        answer = self._http.get(f"/targets/{target}/requests")
        answer.raise_for_status()
        return answer.json()["requests"]

    def executions(self) -> dict[str, int]:
        """How many requests each target executed, without the targets that saw none."""
        counts = {target: len(self.executed(target)) for target in TARGETS}
        return {target: count for target, count in counts.items() if count}

    @staticmethod
    def wait_for(read: Any) -> Any:
        """Reads until the value is truthy: what a simulator notes about a caller that left comes after the fact."""
        give_up = time.monotonic() + RECORD_MS_MAX / 1000
        while not (value := read()) and time.monotonic() < give_up:
            time.sleep(0.02)
        return value
