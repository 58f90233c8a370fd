"""The clients' own retries are not multiplied: one request of a client is one request upstream, plus the visible failover."""

from __future__ import annotations

import pytest

from drivers.registry import names
from expectations import check_answer

# Clients whose number of tries the drivers set; litellm and langchain-aws stand on those.
RETRYING = [
    "openai-python", "openai-node", "anthropic-python", "anthropic-node", "anthropic-bedrock-python", "boto3",
    "aws-node", "ai-openai-compatible", "ai-amazon-bedrock",
]


@pytest.mark.parametrize("client", RETRYING)
def test_each_try_is_one_request_upstream(client, run, lab):
    lab.fault("fra", "error", status=503, type="serviceUnavailableException")
    assert "error" in run(client, "on-bedrock", retries=1)
    assert len(lab.requests("fra")) == 2


@pytest.mark.parametrize("client", RETRYING)
def test_a_wrong_request_is_sent_once(client, run, lab):
    lab.fault("fra", "error", status=400, type="validationException")
    assert "error" in run(client, "on-bedrock", retries=2)
    assert len(lab.requests("fra")) == 1


@pytest.mark.parametrize("client", names("answer"))
def test_failover_spares_the_client_its_retry(client, run, lab):
    lab.fault("fra", "error", status=503, times=1)
    check_answer(client, run(client, "regions", retries=2), "dub")
    assert len(lab.requests("fra")) == 1
    assert lab.executions() == {"dub": 1}
