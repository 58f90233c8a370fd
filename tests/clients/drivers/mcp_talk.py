"""What an MCP client says to the gateway's `converse` tool, and how its answers are read.

Plain data only, so that both generations of the Python client share it; the older one lives in another environment.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any


def arguments(ask: dict[str, Any], messages: list[dict[str, Any]] | None = None, tools: bool = False) -> dict[str, Any]:
    """The arguments of `converse` for an ask in its JSON form."""
    made: dict[str, Any] = {
        "model": ask["model"],
        "messages": messages if messages is not None else [{"role": "user", "content": ask["text"]}],
    }
    if ask.get("max_tokens") is not None:
        made["max_tokens"] = ask["max_tokens"]
    if tools:
        tool = ask["tool"]
        function = {"name": tool["name"], "description": tool["description"], "parameters": tool["schema"]}
        made["tools"] = [{"type": "function", "function": function}]
    return made | ask.get("extra", {})


def read(structured: dict[str, Any] | None, content: list[dict[str, Any]], is_error: bool) -> dict[str, Any]:
    """A report from a tool result; a result marked as an error is one."""
    said = "".join(part.get("text", "") for part in content)
    if is_error:
        error = {"class": "ToolResultError", "classes": ["ToolResultError"], "status": None, "body": structured, "message": said}
        return {"error": error}
    if structured is None:
        return {"text": said, "structured": None}
    usage = structured.get("usage") or {}
    return {
        "text": structured.get("content"),
        "finish": structured.get("finish_reason"),
        "input": usage.get("prompt_tokens"),
        "output": usage.get("completion_tokens"),
        "structured": structured,
        "said": said,
    }


def call_of(structured: dict[str, Any]) -> dict[str, Any]:
    """The one tool call of a structured answer, its arguments parsed."""
    (call,) = structured["tool_calls"]
    made = call["function"]["arguments"]
    return {"name": call["function"]["name"], "arguments": json.loads(made) if isinstance(made, str) else made}


def after_call(ask: dict[str, Any], structured: dict[str, Any]) -> list[dict[str, Any]]:
    """The conversation that hands the tool's result back."""
    return [
        {"role": "user", "content": ask["text"]},
        {"role": "assistant", "content": structured.get("content") or "", "tool_calls": structured["tool_calls"]},
        {"role": "tool", "tool_call_id": structured["tool_calls"][0]["id"], "content": ask["tool_result"]},
    ]


def error_of(error: BaseException) -> dict[str, Any]:
    """A report of a JSON-RPC error or of a broken transport; a group of one is that one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    told = getattr(error, "error", None)
    return {
        "error": {
            "class": type(error).__name__,
            "classes": [one.__name__ for one in type(error).__mro__],
            "status": getattr(told, "code", None),
            "body": getattr(told, "data", None),
            "message": str(error),
        }
    }


async def _leave(calling: asyncio.Future[Any], enough: asyncio.Event) -> None:
    """Waits for enough progress, then gives the call up, which closes its stream."""
    waiting = asyncio.ensure_future(enough.wait())
    await asyncio.wait([calling, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if calling.done():
        calling.result()
    calling.cancel()
    await asyncio.wait([calling])


async def carry_out(client: Any, ask: dict[str, Any]) -> dict[str, Any]:
    """Carries out an ask over a connected client with `tools()`, `call(name, arguments, on_progress)` and `revision()`."""
    pieces: list[str] = []
    enough = asyncio.Event()

    async def on_progress(_progress: float, _total: float | None, message: str | None) -> None:
        if message:
            pieces.append(message)
        if len(pieces) >= (ask.get("leave_after") or 1):
            enough.set()

    op = ask["op"]
    if op == "abort":
        await _leave(asyncio.ensure_future(client.call("converse", arguments(ask), on_progress)), enough)
        # The older era cancels with a notice of its own: a further request shows that it has left.
        await client.tools()
        return {"pieces": pieces}
    if op == "tools":
        return {"tools": await client.tools(), "revision": client.revision()}
    if op == "call":
        return read(*await client.call(ask["extra"]["name"], ask["extra"]["arguments"], None))
    if op == "no_messages":
        return read(*await client.call("converse", {"model": ask["model"], "messages": []}, None))
    if op in {"tool", "tool_stream"}:
        progress = on_progress if op == "tool_stream" else None
        first = read(*await client.call("converse", arguments(ask, tools=True), progress))
        if "error" in first:
            return first
        answer = {"first_finish": first["finish"], "call": call_of(first["structured"])}
        if op == "tool_stream":
            return answer
        conversation = after_call(ask, first["structured"])
        second = read(*await client.call("converse", arguments(ask, conversation, tools=True), None))
        return second | answer
    progress = on_progress if op == "stream" else None
    seen = read(*await client.call("converse", arguments(ask), progress))
    return seen | {"revision": client.revision()} | ({"pieces": pieces} if op == "stream" else {})
