"""Drivers that live in another process: the Node scripts, and the older MCP client in its own Python environment.

One process per client, started at its first ask; an ask and its report are one JSON line each. A worker that dies or
stays silent fails the ask with its standard error, and the next ask gets a fresh one.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from drivers.ask import CLIENT_SECONDS_MAX, Ask
from drivers.driver import Driver

HERE = Path(__file__).resolve().parent
NODE_HOME = HERE.parent / "node"
NODE = NODE_HOME / "node_modules/node/bin/node"
STORE = Path(os.environ.get("OUTCROP_CLIENTS_DIR", HERE.parents[2] / "target/clients"))
ANSWER_SECONDS_MAX = CLIENT_SECONDS_MAX + 10


class WorkerFailed(AssertionError):
    """The worker died, stayed silent, or left an error unhandled."""


class Worker(Driver):
    """A driver behind a pipe."""

    def __init__(self, name: str, dialect: str, command: list[str | Path], operations: set[str]) -> None:
        self.name = name
        self.dialect = dialect
        self._command = [str(part) for part in command]
        self._operations = operations
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: Any = None
        self._last_id = 0

    def operations(self) -> set[str]:
        return self._operations

    def run(self, ask: Ask) -> dict[str, Any]:
        process = self._started()
        self._last_id += 1
        line = json.dumps({"id": self._last_id, "client": self.name, **ask.as_json()}) + "\n"
        process.stdin.write(line.encode())
        process.stdin.flush()
        readable, _, _ = select.select([process.stdout], [], [], ANSWER_SECONDS_MAX)
        answer = process.stdout.readline() if readable else b""
        if not answer:
            told = "stayed silent" if not readable else "died"
            self.stop()
            raise WorkerFailed(f"{self.name} {told} on {ask.op}\n{self._error_text()}")
        reported = json.loads(answer)
        assert reported.pop("id") == self._last_id, reported
        if "unhandled" in reported:
            raise WorkerFailed(f"{self.name} left an error unhandled on {ask.op}: {reported['unhandled']}")
        return reported

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._errors = tempfile.TemporaryFile()
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
                env={**os.environ, "AI_SDK_LOG_WARNINGS": "false"},
            )
        return self._process

    def _error_text(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")[-4000:]

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.stdin.close()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._process = None


CHAT = {"answer", "stream", "tool", "tool_stream", "abort"}
MCP = CHAT | {"no_messages", "tools", "call"}


def _node(name: str, dialect: str, script: str, operations: set[str]) -> Worker:
    return Worker(name, dialect, [NODE, NODE_HOME / script], operations)


def workers() -> list[Worker]:
    """Every driver that lives in another process."""
    return [
        _node("openai-node", "openai", "openai.mjs", CHAT | {"no_messages", "embed", "models"}),
        _node("anthropic-node", "anthropic", "anthropic.mjs", CHAT | {"no_messages", "count"}),
        _node("anthropic-bedrock-node", "anthropic-invoke", "anthropic.mjs", CHAT | {"no_messages"}),
        _node("aws-node", "bedrock", "aws.mjs", CHAT | {"no_messages", "count", "invoke", "invoke_stream"}),
        _node("ai-amazon-bedrock", "ai", "ai.mjs", CHAT),
        _node("ai-openai-compatible", "ai", "ai.mjs", CHAT),
        _node("mcp-sdk1-node", "mcp", "mcp.mjs", MCP),
        _node("mcp-client2-node", "mcp", "mcp.mjs", MCP),
        _node("mcp-client2-node-session", "mcp", "mcp.mjs", MCP),
        Worker("mcp1-python", "mcp", [STORE / "venv-mcp1/bin/python", HERE / "mcp1_worker.py"], MCP),
    ]
