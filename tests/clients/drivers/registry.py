"""Every client under test, by name."""

from __future__ import annotations

from drivers.anthropic_python import AnthropicBedrockPython, AnthropicPython
from drivers.boto3_python import Boto3
from drivers.driver import Driver
from drivers.langchain_python import LangChainAws
from drivers.litellm_python import LiteLlmAnthropic, LiteLlmBedrock, LiteLlmOpenAi
from drivers.mcp2_python import Mcp2Python, Mcp2PythonSession
from drivers.openai_python import OpenAiPython
from drivers.worker import workers

IN_PROCESS: tuple[type[Driver], ...] = (
    OpenAiPython,
    AnthropicPython,
    AnthropicBedrockPython,
    Boto3,
    LiteLlmOpenAi,
    LiteLlmAnthropic,
    LiteLlmBedrock,
    LangChainAws,
    Mcp2Python,
    Mcp2PythonSession,
)

CLIENTS: dict[str, Driver] = {driver.name: driver for driver in [*(made() for made in IN_PROCESS), *workers()]}


def names(operation: str = "answer", without: tuple[str, ...] = (), dialects: set[str] | None = None) -> list[str]:
    """The clients that can do an operation, as pytest parameters."""
    return [
        name
        for name, driver in CLIENTS.items()
        if operation in driver.operations() and name not in without and (dialects is None or driver.dialect in dialects)
    ]

# These send the version 2026-10-21, which Bedrock refuses for models before Claude 4.7; one that is given stays.
BEDROCK_VERSION = {"anthropic_version": "bedrock-2023-05-31"}
GIVEN: dict[str, dict] = {
    "anthropic-bedrock-python": {"extra_body": BEDROCK_VERSION},
    "anthropic-bedrock-node": BEDROCK_VERSION,
}
