"""`langchain-aws`: the Converse chat model."""

from __future__ import annotations

from typing import Any

from langchain_aws import BedrockEmbeddings, ChatBedrockConverse
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage

from drivers.ask import TOOL_DESCRIPTION, TOOL_NAME, TOOL_RESULT, TOOL_SCHEMA, Ask, report
from drivers.boto3_python import client
from drivers.driver import Driver

TOOLS = [{"type": "function", "function": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "parameters": TOOL_SCHEMA}}]


def _model(ask: Ask) -> ChatBedrockConverse:
    # The alias names no vendor, so the vendor is told; it decides which features the class believes in.
    return ChatBedrockConverse(
        model=ask.model, provider="anthropic", client=client(ask), bedrock_client=object(), region_name=ask.region,
        max_tokens=ask.max_tokens, disable_streaming=False, **ask.extra,
    )


def _usage(message: Any) -> dict[str, Any]:
    usage = message.usage_metadata or {}
    return {"input": usage.get("input_tokens"), "output": usage.get("output_tokens")}


class LangChainAws(Driver):
    name = "langchain-aws"
    dialect = "bedrock"

    def answer(self, ask: Ask) -> dict[str, Any]:
        message = _model(ask).invoke([HumanMessage(ask.text)])
        return report(text=message.text, finish=message.response_metadata["stopReason"], **_usage(message))

    def stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        whole: AIMessageChunk | None = None
        for chunk in _model(ask).stream([HumanMessage(ask.text)]):
            if chunk.text:
                pieces.append(chunk.text)
            whole = chunk if whole is None else whole + chunk
        return report(finish=whole.response_metadata.get("stopReason"), **_usage(whole))

    def tool(self, ask: Ask) -> dict[str, Any]:
        model = _model(ask).bind_tools(TOOLS)
        asked = HumanMessage(ask.text)
        first = model.invoke([asked])
        call = first.tool_calls[0]
        second = model.invoke([asked, first, ToolMessage(content=TOOL_RESULT, tool_call_id=call["id"])])
        return report(
            first_finish=first.response_metadata["stopReason"],
            call={"name": call["name"], "arguments": call["args"]},
            text=second.text, finish=second.response_metadata["stopReason"],
        )

    def tool_stream(self, ask: Ask, pieces: list[str]) -> dict[str, Any]:
        whole: AIMessageChunk | None = None
        for chunk in _model(ask).bind_tools(TOOLS).stream([HumanMessage(ask.text)]):
            whole = chunk if whole is None else whole + chunk
        (call,) = whole.tool_calls
        return report(
            first_finish=whole.response_metadata.get("stopReason"), call={"name": call["name"], "arguments": call["args"]}
        )

    def embed(self, ask: Ask) -> dict[str, Any]:
        embeddings = BedrockEmbeddings(
            model_id=ask.model, provider="amazon", client=client(ask), region_name=ask.region
        )
        return report(vectors=embeddings.embed_documents(ask.extra["input"]))
