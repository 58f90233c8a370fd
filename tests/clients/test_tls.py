"""The TLS listener: boto3 sends a bearer key over https only, and other clients work over it as they do without."""

from __future__ import annotations

import boto3
import httpx
import pytest
from botocore.config import Config

from expectations import numbered


@pytest.fixture(scope="module")
def tls_gateway(start_gateway, certificates):
    return start_gateway("gateway-tls", tls=certificates)


@pytest.fixture
def bearer_client(tls_gateway, certificates, monkeypatch, lab):
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "oc_clients")
    return boto3.client(
        "bedrock-runtime", endpoint_url=tls_gateway.base, region_name="eu-central-1", verify=str(certificates.authority),
        config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
    )


MESSAGES = [{"role": "user", "content": [{"text": "Say something."}]}]


@pytest.mark.parametrize("alias, target", [("on-bedrock", "fra"), ("on-mcp", "desk")])
def test_boto3_with_a_bearer_key(alias, target, bearer_client, lab):
    answer = bearer_client.converse(modelId=alias, messages=MESSAGES)
    assert answer["output"]["message"]["content"][0]["text"] == numbered(target)
    stream = bearer_client.converse_stream(modelId=alias, messages=MESSAGES)["stream"]
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in stream if "contentBlockDelta" in event]
    assert "".join(deltas) == numbered(target)
    assert not [request for request in lab.requests(target) if "oc_clients" in str(request["headers"])]


def test_boto3_refuses_the_bearer_key_without_tls(gateway, monkeypatch):
    """Why the listener must speak TLS at all."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "oc_clients")
    client = boto3.client("bedrock-runtime", endpoint_url=gateway.base, region_name="eu-central-1")
    with pytest.raises(Exception, match="(?i)https|token"):
        client.converse(modelId="on-bedrock", messages=MESSAGES)


@pytest.mark.parametrize("http2", [False, True])
def test_both_http_versions_over_tls(tls_gateway, certificates, http2):
    import ssl

    context = ssl.create_default_context(cafile=str(certificates.authority))
    with httpx.Client(http1=not http2, http2=http2, verify=context) as client:
        answer = client.post(
            f"{tls_gateway.base}/v1/chat/completions",
            json={"model": "on-bedrock", "messages": [{"role": "user", "content": "Hi"}]},
        )
    assert answer.status_code == 200, answer.text
    assert answer.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
