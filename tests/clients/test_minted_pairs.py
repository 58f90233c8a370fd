"""`keys` mode: AWS clients sign with a minted pair, and the gateway believes nobody whose signature does not fit."""

from __future__ import annotations

import hashlib
import hmac
import json
import subprocess
import time

import boto3
import pytest
from botocore.config import Config

from drivers.ask import Ask
from drivers.registry import CLIENTS, GIVEN
from expectations import numbered
from stack.lab import SONNET

SIGNING = ["boto3", "aws-node", "anthropic-bedrock-python", "anthropic-bedrock-node"]
PEPPER = "0123456789abcdef0123456789abcdef"
SOMEBODY = "oc_00a1_somebody"


@pytest.fixture(scope="module")
def keys_gateway(start_gateway):
    digest = hmac.new(PEPPER.encode(), SOMEBODY.encode(), hashlib.sha256).hexdigest()
    row = f'[[key]]\nname = "somebody"\nhash = "oc_00a1:{digest}"\n'
    return start_gateway("gateway-keys", auth={"mode": "keys", "pepper": PEPPER}, more=row)


def key(gateway, *words: str) -> dict:
    command = [gateway.binary, "key", *words, "--config", gateway.config]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout
    return json.loads(printed) if "--json" in words else {}


@pytest.fixture(scope="module")
def pair(keys_gateway) -> dict:
    return key(keys_gateway, "new", "--name", "signer", "--aws", "--raw-models", "--json")


def ask(gateway, pair: dict, client: str, model: str = "on-bedrock", **wanted) -> dict:
    credentials = {"key_id": pair["access_key_id"], "secret": pair["secret_access_key"]}
    asked = Ask(**{"base": gateway.base, "model": model, "extra": GIVEN.get(client, {}), **credentials, **wanted})
    return CLIENTS[client].run(asked)


def error_of(seen: dict) -> str:
    return json.dumps(seen["error"])


@pytest.mark.parametrize("op", ["answer", "stream"])
@pytest.mark.parametrize("client", SIGNING)
def test_a_minted_pair_is_believed(client, op, keys_gateway, pair, lab):
    seen = ask(keys_gateway, pair, client, op=op)
    assert seen.get("text") == numbered("fra"), seen
    assert pair["access_key_id"] not in str(lab.requests("fra")), "the caller's pair goes no further"


@pytest.mark.parametrize("model", [SONNET, f"arn:aws:bedrock:eu-central-1:123456789012:inference-profile/{SONNET}"])
@pytest.mark.parametrize("client", ["boto3", "aws-node"])
def test_a_model_with_colons_and_slashes_is_signed_as_it_is_sent(client, model, keys_gateway, pair, lab):
    """Whether the upstream knows the model is another matter; the signature must fit."""
    seen = ask(keys_gateway, pair, client, model)
    assert "error" not in seen or "Signature" not in error_of(seen), seen
    assert model != SONNET or seen["text"].startswith("Simulated answer from"), seen


@pytest.mark.parametrize("client", SIGNING)
def test_the_wrong_secret_is_not_believed(client, keys_gateway, pair, lab):
    seen = ask(keys_gateway, pair | {"secret_access_key": "0" * 40}, client)
    assert "signature" in error_of(seen).lower() and "403" in error_of(seen), seen
    assert not lab.requests("fra")


def test_boto3_reads_the_names_of_the_refusals(keys_gateway, pair, lab):
    for changed, name in [
        ({"secret_access_key": "0" * 40}, "InvalidSignatureException"),
        ({"access_key_id": "AKIAOCAAAAAAAAAAAAAA"}, "UnrecognizedClientException"),
    ]:
        given = pair | changed
        client = boto3.client(
            "bedrock-runtime", endpoint_url=keys_gateway.base, region_name="eu-central-1",
            aws_access_key_id=given["access_key_id"], aws_secret_access_key=given["secret_access_key"],
            config=Config(retries={"mode": "standard", "total_max_attempts": 1}),
        )
        with pytest.raises(client.exceptions.ClientError) as caught:
            client.converse(modelId="on-bedrock", messages=[{"role": "user", "content": [{"text": "hi"}]}])
        assert caught.value.response["Error"]["Code"] == name
    assert not lab.requests("fra")


def test_a_revoked_pair_is_not_believed(keys_gateway, lab):
    made = key(keys_gateway, "new", "--name", "short", "--aws", "--json")
    assert "text" in ask(keys_gateway, made, "boto3")
    key(keys_gateway, "revoke", "short")
    give_up = time.monotonic() + 1
    while "error" not in (seen := ask(keys_gateway, made, "boto3")):
        assert time.monotonic() < give_up, "revoked, and still believed a second later"
    assert "UnrecognizedClientException" in error_of(seen)
