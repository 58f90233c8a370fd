"""`litellm` as a client, in each of the three dialects it can speak to the gateway."""

from __future__ import annotations

import json
import os
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_LOG"] = "ERROR"

import litellm  # noqa: E402  (reads the environment when it is imported)

from drivers.ask import CLIENT_SECONDS_MAX, TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, Ask, report  # noqa: E402
from drivers.driver import Driver  # noqa: E402

TOOLS = [
    {"type": "function", "function": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA}}
]

litellm.telemetry = False
litellm.suppress_debug_info = True


def _usage(usage: Any) -> dict[str, Any]:
    return {"input": usage.prompt_tokens, "output": usage.completion_tokens} if usage else {}


class LiteLlmOpenAi(Driver):
    name = "litellm-openai"
    dialect = "openai"

    def _asked(self, ask: Ask) -> dict[str, Any]:
        return self._way(ask) | {
            "messages": [{"role": "user", "content": ask.text}],
            "max_tokens": ask.max_tokens or 400,
            "num_retries": ask.retries,
            "max_retries": 0,
            "timeout": CLIENT_SECONDS_MAX,
            "extra_headers": ask.headers or None,
        } | ask.extra

    def _way(self, ask: Ask) -> dict[str, Any]:
        return {"model": f"openai/{ask.model}", "api_base": f"{ask.base}/v1", "api_key": ask.api_key}

    def answer(self, ask: Ask) -> dict[str, Any]:
        answer = litellm.completion(**self._asked(ask))
        choice = answer.choices[0]
        return report(text=choice.message.content, finish=choice.finish_reason, **_usage(answer.usage))

    def stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        finish, usage = None, None
        for chunk in litellm.completion(**self._asked(ask), stream=True, stream_options={"include_usage": True}):
            usage = getattr(chunk, "usage", None) or usage
            for choice in chunk.choices:
                if choice.delta.content:
                    pieces.append(choice.delta.content)
                finish = choice.finish_reason or finish
        return report(finish=finish, **_usage(usage))

    def tool(self, ask: Ask) -> dict[str, Any]:
        asked = self._asked(ask) | {"tools": TOOLS}
        first = litellm.completion(**asked).choices[0]
        call = first.message.tool_calls[0]
        asked["messages"] = [
            *asked["messages"],
            first.message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "name": TOOL_NAME, "content": TOOL_RESULT},
        ]
        second = litellm.completion(**asked).choices[0]
        return report(
            first_finish=first.finish_reason,
            call={"name": call.function.name, "arguments": json.loads(call.function.arguments)},
            text=second.message.content, finish=second.finish_reason,
        )

    def tool_stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        asked = self._asked(ask) | {"tools": TOOLS}
        chunks = list(litellm.completion(**asked, stream=True))
        choice = litellm.stream_chunk_builder(chunks, messages=asked["messages"]).choices[0]
        (call,) = choice.message.tool_calls
        return report(
            first_finish=choice.finish_reason,
            call={"name": call.function.name, "arguments": json.loads(call.function.arguments)},
        )


class LiteLlmAnthropic(LiteLlmOpenAi):
    name = "litellm-anthropic"

    def _way(self, ask: Ask) -> dict[str, Any]:
        return {"model": f"anthropic/{ask.model}", "api_base": ask.base, "api_key": ask.api_key}


class LiteLlmBedrock(LiteLlmOpenAi):
    name = "litellm-bedrock"

    def _way(self, ask: Ask) -> dict[str, Any]:
        return {
            "model": f"bedrock/converse/{ask.model}",
            "api_base": ask.base,
            "aws_access_key_id": ask.key_id,
            "aws_secret_access_key": ask.secret,
            "aws_region_name": ask.region,
            # By the name of the model litellm cannot know that an alias takes tools.
            "allowed_openai_params": ["tools", "tool_choice"],
        }
