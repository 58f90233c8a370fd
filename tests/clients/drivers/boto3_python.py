"""`boto3`: the Bedrock runtime over HTTP/1.1 with a signature."""

from __future__ import annotations

import base64
import json
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config

from drivers.ask import CLIENT_SECONDS_MAX, TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, Ask, report
from drivers.driver import Driver

TOOL_CONFIG = {
    "tools": [
        {"toolSpec": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "inputSchema": {"json": TOOL_SCHEMA}}}
    ]
}


def client(ask: Ask) -> Any:
    """A signing client that tries `1 + retries` times; one per configuration, as an application would have it."""
    return _client(ask.base, ask.region, ask.key_id, ask.secret, ask.retries, tuple(ask.headers.items()))


@lru_cache(maxsize=64)
def _client(base: str, region: str, key_id: str, secret: str, retries: int, headers: tuple[tuple[str, str], ...]) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 1 + retries},
        read_timeout=CLIENT_SECONDS_MAX, connect_timeout=5,
    )
    made = boto3.client(
        "bedrock-runtime", endpoint_url=base, region_name=region, aws_access_key_id=key_id,
        aws_secret_access_key=secret, config=config,
    )

    def add_headers(request: Any, **_: Any) -> None:
        for name, value in headers:
            request.headers[name] = value

    made.meta.events.register("before-sign.bedrock-runtime.*", add_headers)
    return made


def _asked(ask: Ask) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "modelId": ask.model,
        "messages": [{"role": "user", "content": [{"text": ask.text}]}],
    }
    if ask.max_tokens is not None:
        asked["inferenceConfig"] = {"maxTokens": ask.max_tokens}
    return asked | ask.extra


def _text(message: dict[str, Any]) -> str:
    return "".join(block.get("text", "") for block in message["content"])


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    return {"input": usage["inputTokens"], "output": usage["outputTokens"], "usage": usage}


def _invoke_body(ask: Ask) -> bytes:
    return json.dumps(
        {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": ask.max_tokens or 400,
            "messages": [{"role": "user", "content": ask.text}],
        }
        | ask.extra
    ).encode()


class Boto3(Driver):
    name = "boto3"
    dialect = "bedrock"

    def answer(self, ask: Ask) -> dict[str, Any]:
        answer = client(ask).converse(**_asked(ask))
        return report(
            text=_text(answer["output"]["message"]), finish=answer["stopReason"],
            headers=answer["ResponseMetadata"]["HTTPHeaders"], blocks=answer["output"]["message"]["content"],
            latency_ms=answer["metrics"]["latencyMs"], **_usage(answer["usage"]),
        )

    def stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        finish, usage, kinds = None, None, []
        for event in client(ask).converse_stream(**_asked(ask))["stream"]:
            kinds += event
            if "contentBlockDelta" in event:
                delta = event["contentBlockDelta"]["delta"]
                if "text" in delta:
                    pieces.append(delta["text"])
            finish = event.get("messageStop", {}).get("stopReason", finish)
            usage = event.get("metadata", {}).get("usage", usage)
        return report(finish=finish, kinds=kinds, **(_usage(usage) if usage else {}))

    def tool(self, ask: Ask) -> dict[str, Any]:
        aws = client(ask)
        asked = _asked(ask) | {"toolConfig": TOOL_CONFIG}
        first = aws.converse(**asked)
        message = first["output"]["message"]
        call = next(block["toolUse"] for block in message["content"] if "toolUse" in block)
        result = {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"text": TOOL_RESULT}]}}
        asked["messages"] = [*asked["messages"], message, {"role": "user", "content": [result]}]
        second = aws.converse(**asked)
        return report(
            first_finish=first["stopReason"], call={"name": call["name"], "arguments": call["input"]},
            text=_text(second["output"]["message"]), finish=second["stopReason"],
        )

    def tool_stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        finish, starts, arguments = None, [], ""
        for event in client(ask).converse_stream(**_asked(ask), toolConfig=TOOL_CONFIG)["stream"]:
            if "contentBlockStart" in event:
                starts.append(event["contentBlockStart"]["start"]["toolUse"])
            arguments += event.get("contentBlockDelta", {}).get("delta", {}).get("toolUse", {}).get("input", "")
            finish = event.get("messageStop", {}).get("stopReason", finish)
        (start,) = starts
        assert start["toolUseId"]
        return report(first_finish=finish, call={"name": start["name"], "arguments": json.loads(arguments)})

    def abort(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        stream = client(ask).converse_stream(**_asked(ask))["stream"]
        for event in stream:
            delta = event.get("contentBlockDelta", {}).get("delta", {})
            if "text" in delta:
                pieces.append(delta["text"])
            if len(pieces) >= (ask.leave_after or 1):
                stream.close()
                break
        return report()

    def no_messages(self, ask: Ask) -> dict[str, Any]:
        client(ask).converse(modelId=ask.model, messages=[])
        return report()

    def image(self, ask: Ask) -> dict[str, Any]:
        image = {"image": {"format": "png", "source": {"bytes": base64.b64decode(ask.extra["png"])}}}
        answer = client(ask).converse(
            modelId=ask.model, messages=[{"role": "user", "content": [image, {"text": ask.text}]}]
        )
        return report(text=_text(answer["output"]["message"]), **_usage(answer["usage"]))

    def count(self, ask: Ask) -> dict[str, Any]:
        counted = client(ask).count_tokens(
            modelId=ask.model, input={"converse": {"messages": _asked(ask)["messages"]}}
        )
        return report(input=counted["inputTokens"])

    def invoke(self, ask: Ask) -> dict[str, Any]:
        answer = client(ask).invoke_model(modelId=ask.model, body=_invoke_body(ask), contentType="application/json")
        message = json.loads(answer["body"].read())
        return report(
            text="".join(block.get("text", "") for block in message["content"]), finish=message["stop_reason"],
            input=message["usage"]["input_tokens"], output=message["usage"]["output_tokens"],
        )

    def invoke_stream(self, ask: Ask) -> dict[str, Any]:
        pieces, finish, last = [], None, {}
        for event in client(ask).invoke_model_with_response_stream(modelId=ask.model, body=_invoke_body(ask))["body"]:
            last = json.loads(event["chunk"]["bytes"])
            if last["type"] == "content_block_delta" and last["delta"]["type"] == "text_delta":
                pieces.append(last["delta"]["text"])
            if last["type"] == "message_delta":
                finish = last["delta"]["stop_reason"]
        metrics = last.get("amazon-bedrock-invocationMetrics", {})
        return report(
            text="".join(pieces), finish=finish, pieces=pieces, last=last["type"],
            input=metrics.get("inputTokenCount"), output=metrics.get("outputTokenCount"),
        )

    def invoke_embed(self, ask: Ask) -> dict[str, Any]:
        answer = client(ask).invoke_model(modelId=ask.model, body=json.dumps(ask.extra))
        return report(body=json.loads(answer["body"].read()))
