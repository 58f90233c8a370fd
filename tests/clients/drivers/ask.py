"""What a test asks of a client, and the shape in which every client's driver reports what happened.

The same shape travels as JSON to the Node scripts and to the worker in the other Python environment.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

TOOL_NAME = "get_weather"
TOOL_DESCRIPTION = "Weather forecast of a city."
TOOL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
TOOL_ARGUMENTS = {"city": "Köln", "days": 3}
TOOL_PROMPT = 'What will the weather be? [[tool]] [[args={"city":"Köln","days":3}]]'
TOOL_RESULT = "18 degrees, reading 4711"

CLIENT_SECONDS_MAX = 30.0
AWS_KEY_ID = "AKIAOUTCROPLAB000001"
AWS_SECRET = "outcrop-lab-secret-key-000000000000000001"
AWS_REGION = "eu-central-1"
API_KEY = "oc_clients"


@dataclass(frozen=True)
class Ask:
    """One use of a client."""

    base: str
    model: str
    op: str = "answer"
    text: str = "Say something."
    max_tokens: int | None = 400
    retries: int = 0
    leave_after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    region: str = AWS_REGION
    key_id: str = AWS_KEY_ID
    secret: str = AWS_SECRET
    api_key: str = API_KEY
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The ask with everything a driver in another process needs."""
        return asdict(self) | {
            "tool": {"name": TOOL_NAME, "description": TOOL_DESCRIPTION, "schema": TOOL_SCHEMA},
            "tool_result": TOOL_RESULT,
            "timeout": CLIENT_SECONDS_MAX,
        }


def report(**seen: Any) -> dict[str, Any]:
    """A driver's report.

    `text` and `finish` are the client's own; `input` and `output` are its usage numbers; `pieces` the text pieces of a
    stream in order; `call` the tool call as `{"name", "arguments"}`; `error` as `failure` makes it.
    """
    return seen


def failure(error: BaseException, **seen: Any) -> dict[str, Any]:
    """A report of an exception: its class, every class it is of, and what the client made of the answer."""
    status = getattr(error, "status_code", None)
    body = getattr(error, "body", None)
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", status)
        body = response
    return {
        "error": {
            "class": type(error).__name__,
            "classes": [one.__name__ for one in type(error).__mro__],
            "status": status,
            "body": body if isinstance(body, (dict, list, str)) else None,
            "message": str(error),
        }
    } | seen
