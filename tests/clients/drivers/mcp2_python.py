"""The `mcp` 2.x Python client, once choosing the era by itself and once held to the session era."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp import Client

from drivers import mcp_talk
from drivers.ask import CLIENT_SECONDS_MAX, Ask
from drivers.driver import Driver


class _Connected:
    def __init__(self, client: Client) -> None:
        self._client = client

    def revision(self) -> str:
        return self._client.protocol_version

    async def tools(self) -> list[dict[str, Any]]:
        listed = await self._client.list_tools()
        return [tool.model_dump(by_alias=True, exclude_none=True, mode="json") for tool in listed.tools]

    async def call(self, name: str, arguments: dict[str, Any], progress: Any) -> tuple[Any, list[dict[str, Any]], bool]:
        result = await self._client.call_tool(name, arguments, progress_callback=progress)
        content = [part.model_dump(by_alias=True, mode="json") for part in result.content]
        return result.structured_content, content, bool(result.is_error)


class Mcp2Python(Driver):
    name = "mcp2-python"
    dialect = "mcp"
    mode = "auto"

    def operations(self) -> set[str]:
        return {"answer", "stream", "tool", "tool_stream", "abort", "no_messages", "tools", "call"}

    def run(self, ask: Ask) -> dict[str, Any]:
        return asyncio.run(self._run(ask.as_json()))

    async def _run(self, ask: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(CLIENT_SECONDS_MAX):
                async with Client(f"{ask['base']}/mcp", mode=self.mode) as client:
                    return await mcp_talk.carry_out(_Connected(client), ask)
        except Exception as error:
            return mcp_talk.error_of(error)


class Mcp2PythonSession(Mcp2Python):
    name = "mcp2-python-session"
    mode = "legacy"
