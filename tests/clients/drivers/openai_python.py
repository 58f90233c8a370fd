"""The `openai` Python client."""

from __future__ import annotations

import json
from typing import Any

import openai

from drivers.ask import CLIENT_SECONDS_MAX, TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, Ask, report
from drivers.driver import Driver

TOOLS = [
    {"type": "function", "function": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA}}
]


def _client(ask: Ask) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{ask.base}/v1",
        api_key=ask.api_key,
        max_retries=ask.retries,
        timeout=CLIENT_SECONDS_MAX,
        default_headers=ask.headers,
    )


def _asked(ask: Ask) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": ask.model, "messages": [{"role": "user", "content": ask.text}]}
    if ask.max_tokens is not None:
        asked["max_tokens"] = ask.max_tokens
    return asked | ask.extra


def _usage(usage: Any) -> dict[str, Any]:
    return {"input": usage.prompt_tokens, "output": usage.completion_tokens, "usage": usage.model_dump()} if usage else {}


class OpenAiPython(Driver):
    name = "openai-python"
    dialect = "openai"

    def answer(self, ask: Ask) -> dict[str, Any]:
        with _client(ask) as client:
            raw = client.chat.completions.with_raw_response.create(**_asked(ask))
            answer = raw.parse()
        choice = answer.choices[0]
        return report(
            text=choice.message.content, finish=choice.finish_reason, model=answer.model, id=answer.id,
            headers=dict(raw.headers), **_usage(answer.usage),
        )

    def stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        finish, usage = None, None
        with _client(ask) as client:
            for chunk in client.chat.completions.create(
                **_asked(ask), stream=True, stream_options={"include_usage": True}
            ):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    if choice.delta.content:
                        pieces.append(choice.delta.content)
                    finish = choice.finish_reason or finish
        return report(finish=finish, **_usage(usage))

    def tool(self, ask: Ask) -> dict[str, Any]:
        asked = _asked(ask) | {"tools": TOOLS}
        with _client(ask) as client:
            first = client.chat.completions.create(**asked).choices[0]
            call = first.message.tool_calls[0]
            asked["messages"] += [
                first.message.model_dump(exclude_none=True),
                {"role": "tool", "tool_call_id": call.id, "content": TOOL_RESULT},
            ]
            second = client.chat.completions.create(**asked).choices[0]
        return report(
            first_finish=first.finish_reason,
            call={"name": call.function.name, "arguments": json.loads(call.function.arguments)},
            text=second.message.content, finish=second.finish_reason,
        )

    def tool_stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        calls: dict[int, dict[str, str]] = {}
        finish = None
        with _client(ask) as client:
            for chunk in client.chat.completions.create(**_asked(ask), tools=TOOLS, stream=True):
                for choice in chunk.choices:
                    finish = choice.finish_reason or finish
                    for part in choice.delta.tool_calls or []:
                        call = calls.setdefault(part.index, {"id": "", "name": "", "arguments": ""})
                        call["id"] += part.id or ""
                        call["name"] += part.function.name or ""
                        call["arguments"] += part.function.arguments or ""
        assert len(calls) == 1, calls
        call = calls[0]
        assert call["id"], calls
        return report(first_finish=finish, call={"name": call["name"], "arguments": json.loads(call["arguments"])})

    def abort(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        with _client(ask) as client:
            stream = client.chat.completions.create(**_asked(ask), stream=True)
            for chunk in stream:
                pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
                if len(pieces) >= (ask.leave_after or 1):
                    stream.close()
                    break
        return report()

    def no_messages(self, ask: Ask) -> dict[str, Any]:
        with _client(ask) as client:
            client.chat.completions.create(model=ask.model, messages=[])
        return report()

    def json_schema(self, ask: Ask) -> dict[str, Any]:
        schema = {"name": "forecast", "schema": TOOL_SCHEMA, "strict": True}
        with _client(ask) as client:
            choice = client.chat.completions.create(
                **_asked(ask), response_format={"type": "json_schema", "json_schema": schema}
            ).choices[0]
        return report(text=choice.message.content, finish=choice.finish_reason)

    def image(self, ask: Ask) -> dict[str, Any]:
        content = [
            {"type": "text", "text": ask.text},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ask.extra['png']}"}},
        ]
        with _client(ask) as client:
            answer = client.chat.completions.create(model=ask.model, messages=[{"role": "user", "content": content}])
        return report(text=answer.choices[0].message.content, **_usage(answer.usage))

    def embed(self, ask: Ask) -> dict[str, Any]:
        with _client(ask) as client:
            answer = client.embeddings.create(model=ask.model, **ask.extra)
        return report(
            vectors=[one.embedding for one in answer.data], indexes=[one.index for one in answer.data],
            input=answer.usage.prompt_tokens,
        )

    def models(self, ask: Ask) -> dict[str, Any]:
        with _client(ask) as client:
            return report(models=[model.id for model in client.models.list()])
