"""What the Bedrock dialect adds: invoke and its stream, token counting, caching, reasoning, and the caller's bytes unchanged."""

from __future__ import annotations

import hashlib
import uuid

import pytest

from drivers.ask import Ask
from drivers.boto3_python import client as boto3_client
from expectations import numbered, succeeded
from stack.lab import SONNET

PROFILE_ARN = f"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/{SONNET}"


@pytest.mark.parametrize("client", ["boto3", "aws-node"])
@pytest.mark.parametrize("op", ["invoke", "invoke_stream"])
@pytest.mark.parametrize("route, target", [("on-bedrock", "fra"), ("on-mcp", "desk"), ("on-anthropic", "anthropic")])
def test_invoke(client, op, route, target, run, lab):
    seen = succeeded(run(client, route, op=op))
    assert seen["text"] == numbered(target)
    assert seen["finish"] == "end_turn"
    bill = lab.bill(target)
    assert (seen["input"], seen["output"]) == (bill["input_tokens"], bill["output_tokens"])


@pytest.mark.parametrize("client", ["boto3", "aws-node"])
@pytest.mark.parametrize("route, target", [("on-bedrock", "fra"), ("on-anthropic", "anthropic")])
def test_count_tokens(client, route, target, run):
    text = "Count these words, please. " * 20
    counted = succeeded(run(client, route, op="count", text=text))["input"]
    assert counted == succeeded(run(client, route, text=text))["input"]


@pytest.mark.parametrize("client", ["boto3", "aws-node"])
@pytest.mark.parametrize("model", [SONNET, PROFILE_ARN, "eu.amazon.nova-lite-v1:0"])
def test_raw_model_ids(client, model, run, lab):
    """A raw id, a profile and an ARN with its slash travel as one path segment; what is signed is what is sent."""
    seen = succeeded(run(client, model))
    assert seen["text"].startswith("Simulated answer from")


def test_the_callers_bytes_pass_unchanged(gateway, lab):
    sent = {}
    # A header of its own gives this test a client of its own, with its own event handlers.
    aws = boto3_client(Ask(base=gateway.base, model="on-bedrock", headers={"x-outcrop-run": "bytes"}))
    aws.meta.events.register("before-send.bedrock-runtime.*", lambda request, **_: sent.update(body=request.body))
    aws.converse(
        modelId="on-bedrock",
        messages=[{"role": "user", "content": [{"text": "Grüße"}]}],
        inferenceConfig={"maxTokens": 50},
        additionalModelRequestFields={"some_future_field": {"deep": [1, 2.5, None]}},
        requestMetadata={"purpose": "pass-through"},
    )
    (request,) = lab.requests("fra")
    assert request["body_sha256"] == hashlib.sha256(sent["body"]).hexdigest()
    assert f"/model/{SONNET.replace(':', '%3A')}/converse" == request["path"]
    assert request["headers"]["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIAOUTCROPLAB000001/")


def test_reasoning_passes_through(run):
    fields = {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}
    seen = succeeded(run("boto3", "on-bedrock", text="Why? [[think]]", max_tokens=2000, extra=fields))
    reasoning = seen["blocks"][0]["reasoningContent"]["reasoningText"]
    assert reasoning["text"] == "Let me think about this step by step."
    assert len(reasoning["signature"]) > 20


def test_prompt_cache_usage_is_reported(run, lab):
    rules = f"Rules of house {uuid.uuid4()}. " * 200
    extra = {"system": [{"text": rules}, {"cachePoint": {"type": "default"}}]}
    for place, op in enumerate(["answer", "answer", "stream"], start=1):
        usage = succeeded(run("boto3", "on-bedrock", op=op, extra=extra))["usage"]
        record = lab.executed("fra", at_least=place)[-1]
        assert usage["cacheWriteInputTokens"] == record["cache_write_tokens"]
        assert usage["cacheReadInputTokens"] == record["cache_read_tokens"]
    first, second, third = lab.executed("fra", at_least=3)
    assert first["cache_write_tokens"] > 0
    assert second["cache_read_tokens"] == third["cache_read_tokens"] > 0


def test_stream_events_are_botocores_own(run):
    kinds = succeeded(run("boto3", "on-bedrock", op="stream"))["kinds"]
    assert kinds[0] == "messageStart"
    assert kinds[-2:] == ["messageStop", "metadata"]


def test_embeddings_by_langchain(run):
    first, second = succeeded(run("langchain-aws", "embed-bedrock", op="embed", extra={"input": ["one", "another"]}))["vectors"]
    assert len(first) == len(second) > 100
    assert first != second


def test_throttling_carries_the_exceptions_own_class(gateway, lab):
    lab.fault("fra", "throttle")
    aws = boto3_client(Ask(base=gateway.base, model="on-bedrock"))
    with pytest.raises(aws.exceptions.ThrottlingException) as raised:
        aws.converse(modelId="on-bedrock", messages=[{"role": "user", "content": [{"text": "Hi"}]}])
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 429
    assert raised.value.response["ResponseMetadata"]["RequestId"]
