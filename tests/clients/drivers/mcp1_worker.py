"""The `mcp` 1.x Python client as a process of its own environment: asks come in as JSON lines, reports go out as JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from mcp import ClientSession  # noqa: E402
from mcp.client.streamable_http import streamablehttp_client  # noqa: E402

from drivers import mcp_talk  # noqa: E402


class _Connected:
    def __init__(self, session: ClientSession, revision: str, seconds_max: float) -> None:
        self._session = session
        self._revision = revision
        self._timeout = timedelta(seconds=seconds_max)

    def revision(self) -> str:
        return self._revision

    async def tools(self) -> list[dict[str, Any]]:
        listed = await self._session.list_tools()
        return [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in listed.tools]

    async def call(self, name: str, arguments: dict[str, Any], progress: Any) -> tuple[Any, list[dict[str, Any]], bool]:
        result = await self._session.call_tool(
            name, arguments, read_timeout_seconds=self._timeout, progress_callback=progress
        )
        content = [part.model_dump(by_alias=True, mode="json") for part in result.content]
        return result.structuredContent, content, bool(result.isError)


async def _run(ask: dict[str, Any]) -> dict[str, Any]:
    try:
        async with asyncio.timeout(ask["timeout"]):
            async with streamablehttp_client(f"{ask['base']}/mcp") as (read, write, _session_id):
                async with ClientSession(read, write) as session:
                    started = await session.initialize()
                    connected = _Connected(session, started.protocolVersion, ask["timeout"])
                    return await mcp_talk.carry_out(connected, ask)
    except Exception as error:
        return mcp_talk.error_of(error)


def main() -> None:
    """Serves asks until the standard input ends."""
    for line in sys.stdin:
        ask = json.loads(line)
        reported = asyncio.run(_run(ask))
        print(json.dumps({"id": ask["id"], **reported}), flush=True)


if __name__ == "__main__":
    main()
