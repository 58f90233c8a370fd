"""The gateway under test (`outcrop serve`): its configuration and its process.

Each alias of the configuration leads to the paths its name says, so that a test chooses a way by choosing a model.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx

from stack import lab as upstream
from stack.certificates import Certificates
from stack.everything import stdio_command
from stack.process import Child, answers_ok

ENVIRONMENT = {
    "LAB_AWS_ID": upstream.AWS_KEY_ID,
    "LAB_AWS_SECRET": upstream.AWS_SECRET,
    "LAB_BEARER": upstream.BEDROCK_BEARER,
    "LAB_OPENAI_KEY": upstream.OPENAI_KEY,
    "LAB_ANTHROPIC_KEY": upstream.ANTHROPIC_KEY,
}

ALIASES: dict[str, list[tuple[str, str]]] = {
    "on-bedrock": [("fra", upstream.SONNET)],
    "on-nova": [("fra", upstream.NOVA)],
    "on-bearer": [("fra-bearer", upstream.SONNET)],
    "on-mcp": [("desk", "sonnet")],
    "on-mcp-stdio": [("desk-stdio", "sonnet")],
    "on-openai": [("openai", "gpt-4o-mini")],
    "on-anthropic": [("anthropic", "claude-sonnet-4-5")],
    "regions": [("fra", upstream.SONNET), ("dub", upstream.SONNET)],
    "both": [("desk", "sonnet"), ("fra", upstream.SONNET)],
    "anywhere": [("fra", upstream.SONNET), ("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5")],
    "embed-bedrock": [("fra", upstream.TITAN_EMBED)],
    "embed-openai": [("openai", "text-embedding-3-small")],
    "echo-stdio": [("everything", "echo")],
    "echo-http": [("everything-http", "echo")],
    "limited": [("openai", "gpt-4o-mini")],
}


# What the lab bills for the models behind MCP servers; the catalogue inside the gateway knows the others.
PRICES: dict[str, dict[str, object]] = {
    "sonnet": {"input": "3 USD/Mtok", "output": "15 USD/Mtok"},
    "echo": {"free": True},
}


@dataclass(frozen=True)
class GatewayPorts:
    """Where the gateway listens."""

    data: int
    admin: int


def _table(kind: str, /, **entries: object) -> str:
    lines = [f"{name} = {_toml(value)}" for name, value in entries.items()]
    return "\n".join([kind, *lines, ""])


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(entry)}" for name, entry in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    # JSON strings and numbers are TOML strings and numbers.
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _bedrock(name: str, region: str, endpoint: str, credentials: dict[str, object]) -> str:
    return _table(
        "[[path]]", name=name, kind="bedrock", region=region, endpoint=endpoint, credentials=credentials,
        # As Bedrock does not, so that the tests of clients that leave can see the upstream learn of it.
        abort_billing="unknown",
    )


def _mcp(name: str, tool: str, **way: object) -> str:
    return _table("[[path]]", name=name, kind="mcp", tool=tool, effect="read_only", region="eu-central-1", **way)


def configuration(
    ports: GatewayPorts, lab: upstream.Addresses, everything_url: str, binary: Path, tls: Certificates | None,
    auth: dict[str, object] | None = None, more: str = "",
) -> str:
    """The whole configuration file."""
    pair = {"keys_env": ["LAB_AWS_ID", "LAB_AWS_SECRET"]}
    listen: dict[str, object] = {"data": f"127.0.0.1:{ports.data}", "admin": f"127.0.0.1:{ports.admin}"}
    if tls:
        listen |= {"tls_cert": tls.chain, "tls_key": tls.key}
    mapped = {"arguments": {"message": "${last_user_text}"}, "result": {"text": "/content/0/text"}}
    parts = [
        _table("[listen]", **listen),
        _table("[auth]", **(auth or {"mode": "open"})),
        # The order of an alias's targets is the test's.
        _table("[flags]", intelligent_routing=False),
        _bedrock("fra", "eu-central-1", lab.fra, pair),
        _bedrock("dub", "eu-west-1", lab.dub, pair),
        _bedrock("fra-bearer", "eu-central-1", lab.fra, {"bearer_env": "LAB_BEARER"}),
        _mcp("desk", "converse", progress="text", url=lab.desk),
        _mcp("desk-stdio", "converse", progress="text", command=[binary, "lab", "mcp-stdio"]),
        _mcp("everything", "echo", command=stdio_command(), **mapped),
        _mcp("everything-http", "echo", url=everything_url, **mapped),
        _table("[[path]]", name="openai", kind="openai", url=lab.openai, key_env="LAB_OPENAI_KEY"),
        _table("[[path]]", name="anthropic", kind="anthropic", url=lab.anthropic, key_env="LAB_ANTHROPIC_KEY"),
    ]
    for alias, targets in ALIASES.items():
        parts.append(_table("[[model]]", name=alias, targets=[{"path": path, "id": model} for path, model in targets]))
    for model, prices in PRICES.items():
        parts.append(_table("[[price]]", model=model, **prices))
    parts.append(_table("[[rate]]", scope="model:limited+user:*", limit="1 requests/h"))
    return "\n".join([*parts, more])


class Gateway:
    """A running gateway."""

    def __init__(self, binary: Path, ports: GatewayPorts, file: str, work: Path, tls: bool = False) -> None:
        self.base = f"{'https' if tls else 'http'}://127.0.0.1:{ports.data}"
        self.admin = f"http://127.0.0.1:{ports.admin}"
        self.binary = binary
        self.config = work / "outcrop.toml"
        work.mkdir(parents=True, exist_ok=True)
        self.config.write_text(file)
        self._child = Child("outcrop serve", [binary, "serve", "--config", self.config], work / "gateway.log", ENVIRONMENT)
        self._child.wait_until(lambda: answers_ok(f"{self.admin}/readyz"))
        self._hold_breakers(binary)

    def _hold_breakers(self, binary: Path) -> None:
        """The tests break the same target again and again, each for itself: none may trip for the next."""
        for path, model in {target for targets in ALIASES.values() for target in targets}:
            command = [binary, "target", "force", f"{path}/{model}", "serving", "--config", self.config]
            subprocess.run(command, check=True, capture_output=True, timeout=30)

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._child.alive()

    def log_end(self) -> str:
        """The end of its log."""
        return self._child.log_end()

    def decision(self, request_id: str) -> dict:
        """The decision record of one request."""
        answer = httpx.get(f"{self.admin}/admin/v1/decisions/{request_id}", timeout=5)
        answer.raise_for_status()
        return answer.json()

    def stop(self) -> int:
        """Ends the process; hands back its exit code."""
        return self._child.stop()
