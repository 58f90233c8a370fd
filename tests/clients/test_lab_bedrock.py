"""The other way round: boto3 and the AWS JavaScript client talk to the simulated Bedrock directly and are content."""

from __future__ import annotations

import pytest

from drivers.ask import TOOL_PROMPT, Ask
from drivers.registry import CLIENTS
from expectations import check_answer, check_broken, check_call, check_error, check_tool_result, check_usage, numbered, succeeded
from stack.lab import HAIKU, NOVA, SONNET, TITAN_EMBED

PROFILE_ARN = f"arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/{SONNET}"

clients = pytest.mark.parametrize("client", ["boto3", "aws-node"])


@pytest.fixture
def direct(lab):
    """Runs an ask against a simulated region: `direct("boto3", op="stream")`."""

    def carry_out(client, target="fra", model=SONNET, **wanted):
        region = {"fra": "eu-central-1", "dub": "eu-west-1"}[target]
        ask = Ask(**{"base": lab.at.root(target), "model": model, "region": region, **wanted})
        return CLIENTS[client].run(ask)

    return carry_out


@clients
@pytest.mark.parametrize("model", [SONNET, HAIKU, NOVA, PROFILE_ARN])
@pytest.mark.parametrize("op", ["answer", "stream"])
def test_converse(client, model, op, direct, lab):
    seen = direct(client, model=model, op=op)
    check_answer(client, seen, "fra")
    check_usage(seen, lab, "fra")


@clients
@pytest.mark.parametrize("op", ["invoke", "invoke_stream"])
def test_invoke(client, op, direct, lab):
    seen = succeeded(direct(client, op=op))
    assert (seen["text"], seen["finish"]) == (numbered("fra"), "end_turn")
    check_usage(seen, lab, "fra")


@clients
def test_count_tokens(client, direct):
    counted = succeeded(direct(client, op="count"))["input"]
    assert counted == succeeded(direct(client))["input"]


def test_embedding_model(direct):
    body = succeeded(direct("boto3", model=TITAN_EMBED, op="invoke_embed", extra={"inputText": "Hello"}))["body"]
    assert len(body["embedding"]) > 100
    assert body["inputTextTokenCount"] > 0


@clients
def test_tool_round_trip(client, direct):
    seen = direct(client, op="tool", text=TOOL_PROMPT)
    check_call(client, seen)
    check_tool_result(client, seen)
    check_call(client, direct(client, op="tool_stream", text=TOOL_PROMPT))


@clients
def test_limit(client, direct):
    check_answer(client, direct(client, max_tokens=5), "fra", words=5, finish="limit")


@clients
@pytest.mark.parametrize("op", ["answer", "stream", "invoke"])
def test_a_wrong_secret_is_refused(client, op, direct, lab):
    error = direct(client, op=op, secret="not-the-secret")["error"]
    assert "InvalidSignatureException" in error["classes"] or "InvalidSignatureException" in error["message"], error
    assert error["status"] == 403
    assert lab.executions() == {}


@clients
def test_an_unknown_key_is_refused(client, direct):
    error = direct(client, key_id="AKIAUNKNOWN000000001")["error"]
    assert "UnrecognizedClientException" in error["classes"] or "UnrecognizedClientException" in error["message"], error
    assert error["status"] == 403


@clients
def test_a_signature_for_another_region_is_refused(client, direct):
    assert direct(client, target="dub", region="eu-central-1")["error"]["status"] == 403


@clients
def test_an_unknown_model_is_refused(client, direct):
    error = direct(client, model="anthropic.no-such-model-v1:0")["error"]
    assert error["status"] in {400, 404}, error


@clients
@pytest.mark.parametrize("kind, script", [
    ("throttled", {"kind": "throttle"}),
    ("bad_request", {"kind": "error", "status": 400, "type": "validationException"}),
    ("unavailable", {"kind": "error", "status": 503, "type": "serviceUnavailableException"}),
])
@pytest.mark.parametrize("op", ["answer", "stream"])
def test_errors(client, kind, script, op, direct, lab):
    lab.fault("fra", **script)
    check_error(client, direct(client, op=op), kind)


@clients
@pytest.mark.parametrize("error_type, name", [
    ("throttlingException", "hrottlingException"),
    ("modelStreamErrorException", "odelStreamErrorException"),
    ("internalServerException", "nternalServerException"),
])
def test_an_exception_inside_the_stream(client, error_type, name, direct, lab):
    lab.fault("fra", "stream_exception", after_events=6, type=error_type)
    seen = direct(client, op="stream")
    check_broken(seen, "fra")
    assert name in str(seen["error"]), seen["error"]


def test_a_wrong_checksum_is_noticed(direct, lab):
    for client in ["boto3", "aws-node"]:
        lab.fault("fra", "bad_crc", after_events=6)
        check_broken(direct(client, op="stream"), "fra")


@clients
def test_tokens_per_minute(client, direct, lab):
    """The quota takes `max_tokens` up front, so a large limit is throttled where a small one passes."""
    lab.script("fra", tpm=1000)
    succeeded(direct(client, max_tokens=600))
    check_error(client, direct(client, max_tokens=2000), "throttled")


@clients
def test_a_retry_succeeds(client, direct, lab):
    lab.fault("fra", "throttle", times=1)
    check_answer(client, direct(client, retries=2), "fra")


def test_the_javascript_client_came_over_http2(direct, lab):
    direct("aws-node")
    direct("boto3")
    assert [request["version"] for request in lab.requests("fra")] == ["HTTP/2.0", "HTTP/1.1"]
