"""What only the OpenAI dialect offers: embeddings, models, images, structured output."""

from __future__ import annotations

import json

import pytest

from drivers.registry import names
from expectations import check_usage, numbered, succeeded
from stack.gateway import ALIASES

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.mark.parametrize("client", ["openai-python", "openai-node"])
@pytest.mark.parametrize("alias, target", [("embed-openai", "openai"), ("embed-bedrock", "fra")])
def test_embeddings(client, alias, target, run, lab):
    seen = succeeded(run(client, alias, op="embed", extra={"input": ["one", "another"]}))
    assert seen["indexes"] == [0, 1]
    first, second = seen["vectors"]
    assert len(first) == len(second) > 100
    assert first != second
    again = succeeded(run(client, alias, op="embed", extra={"input": ["one", "another"]}))
    assert again["vectors"] == seen["vectors"]
    billed = lab.executed(target, at_least=2)
    assert sum(record["input_tokens"] for record in billed) == 2 * seen["input"]


def test_embeddings_as_floats_and_single_input(run):
    seen = succeeded(run("openai-python", "embed-openai", op="embed", extra={"input": "one", "encoding_format": "float"}))
    packed = succeeded(run("openai-python", "embed-openai", op="embed", extra={"input": "one", "encoding_format": "base64"}))
    assert len(seen["vectors"]) == 1
    assert isinstance(seen["vectors"][0][0], float)
    # The client hands base64 over as it came when it was asked for by name.
    assert isinstance(packed["vectors"][0], str) or packed["vectors"][0] == pytest.approx(seen["vectors"][0], rel=1e-3)


@pytest.mark.parametrize("client", ["openai-python", "openai-node"])
def test_models(client, run):
    assert set(ALIASES) <= set(succeeded(run(client, "-", op="models"))["models"])


@pytest.mark.parametrize("client", names("image"))
@pytest.mark.parametrize("route, target", [("on-bedrock", "fra"), ("on-openai", "openai"), ("on-anthropic", "anthropic")])
def test_image(client, route, target, run, lab):
    seen = succeeded(run(client, route, op="image", text="What is this?", extra={"png": PNG}))
    assert seen["text"] == numbered(target)
    assert check_usage(seen, lab, target)["input_tokens"] >= 1000, "the simulators count an image as 1,000 tokens"


@pytest.mark.parametrize("route", ["on-openai", "on-bedrock", "on-mcp"])
def test_json_schema(route, run):
    seen = succeeded(run("openai-python", route, op="json_schema", text="Forecast for Köln."))
    answer = json.loads(seen["text"])
    assert set(answer) == {"city", "days"}
    assert isinstance(answer["days"], int)


def test_responses_api_is_refused_clearly(gateway):
    import openai

    with openai.OpenAI(base_url=f"{gateway.base}/v1", api_key="oc_clients", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as raised:
            client.responses.create(model="on-openai", input="Say something.")
    assert raised.value.status_code in {400, 404, 501}
    assert "chat/completions" in str(raised.value)
