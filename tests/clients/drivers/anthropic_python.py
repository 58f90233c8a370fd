"""The `anthropic` Python client, and its Bedrock class that speaks the invoke routes with a signature."""

from __future__ import annotations

from typing import Any

import anthropic

from drivers.ask import CLIENT_SECONDS_MAX, TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, Ask, report
from drivers.driver import Driver

TOOLS = [{"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "input_schema": TOOL_SCHEMA}]


def _asked(ask: Ask) -> dict[str, Any]:
    return {
        "model": ask.model,
        "max_tokens": ask.max_tokens or 400,
        "messages": [{"role": "user", "content": ask.text}],
    } | ask.extra


def _text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def _usage(usage: Any) -> dict[str, Any]:
    return {"input": usage.input_tokens, "output": usage.output_tokens, "usage": usage.model_dump()}


class AnthropicPython(Driver):
    name = "anthropic-python"
    dialect = "anthropic"

    def _client(self, ask: Ask) -> Any:
        return anthropic.Anthropic(
            base_url=ask.base, api_key=ask.api_key, max_retries=ask.retries, timeout=CLIENT_SECONDS_MAX,
            default_headers=ask.headers,
        )

    def answer(self, ask: Ask) -> dict[str, Any]:
        with self._client(ask) as client:
            raw = client.messages.with_raw_response.create(**_asked(ask))
            message = raw.parse()
        return report(
            text=_text(message), finish=message.stop_reason, model=message.model, id=message.id,
            headers=dict(raw.headers), blocks=[block.model_dump() for block in message.content],
            **_usage(message.usage),
        )

    def stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        with self._client(ask) as client, client.messages.stream(**_asked(ask)) as stream:
            for piece in stream.text_stream:
                pieces.append(piece)
            message = stream.get_final_message()
        return report(
            finish=message.stop_reason, blocks=[block.model_dump() for block in message.content],
            **_usage(message.usage),
        )

    def tool(self, ask: Ask) -> dict[str, Any]:
        asked = _asked(ask) | {"tools": TOOLS}
        with self._client(ask) as client:
            first = client.messages.create(**asked)
            call = next(block for block in first.content if block.type == "tool_use")
            result = {"type": "tool_result", "tool_use_id": call.id, "content": TOOL_RESULT}
            asked["messages"] = [
                *asked["messages"],
                {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
                {"role": "user", "content": [result]},
            ]
            second = client.messages.create(**asked)
        return report(
            first_finish=first.stop_reason, call={"name": call.name, "arguments": call.input},
            text=_text(second), finish=second.stop_reason,
        )

    def tool_stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        with self._client(ask) as client, client.messages.stream(**_asked(ask), tools=TOOLS) as stream:
            message = stream.get_final_message()
        (call,) = [block for block in message.content if block.type == "tool_use"]
        return report(first_finish=message.stop_reason, call={"name": call.name, "arguments": call.input})

    def abort(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        with self._client(ask) as client, client.messages.stream(**_asked(ask)) as stream:
            for piece in stream.text_stream:
                pieces.append(piece)
                if len(pieces) >= (ask.leave_after or 1):
                    break
        return report()

    def no_messages(self, ask: Ask) -> dict[str, Any]:
        with self._client(ask) as client:
            client.messages.create(model=ask.model, max_tokens=10, messages=[])
        return report()

    def image(self, ask: Ask) -> dict[str, Any]:
        source = {"type": "base64", "media_type": "image/png", "data": ask.extra["png"]}
        content = [{"type": "image", "source": source}, {"type": "text", "text": ask.text}]
        with self._client(ask) as client:
            message = client.messages.create(
                model=ask.model, max_tokens=400, messages=[{"role": "user", "content": content}],
                extra_body=ask.extra.get("extra_body"),
            )
        return report(text=_text(message), **_usage(message.usage))

    def count(self, ask: Ask) -> dict[str, Any]:
        with self._client(ask) as client:
            counted = client.messages.count_tokens(model=ask.model, messages=_asked(ask)["messages"])
        return report(input=counted.input_tokens)


class AnthropicBedrockPython(AnthropicPython):
    name = "anthropic-bedrock-python"
    dialect = "anthropic-invoke"

    def _client(self, ask: Ask) -> Any:
        return anthropic.AnthropicBedrock(
            aws_access_key=ask.key_id, aws_secret_key=ask.secret, aws_region=ask.region, base_url=ask.base,
            max_retries=ask.retries, timeout=CLIENT_SECONDS_MAX, default_headers=ask.headers,
        )

    count = None  # The client itself refuses to count tokens over Bedrock.
