"""A rate limit as the OpenAI SDK meets it: what is left on good answers, and its own error class on a refusal."""

from __future__ import annotations

import uuid

import openai
import pytest

from drivers.ask import CLIENT_SECONDS_MAX

MESSAGES = [{"role": "user", "content": "hi"}]
LEFT = "x-ratelimit-remaining-requests"


def test_openai_sees_what_is_left_and_then_a_rate_limit_error(gateway, lab):
    with openai.OpenAI(
        base_url=f"{gateway.base}/v1", api_key="unused", max_retries=0, timeout=CLIENT_SECONDS_MAX,
        default_headers={"x-outcrop-user": uuid.uuid4().hex},
    ) as client:
        raw = client.chat.completions.with_raw_response.create(model="limited", messages=MESSAGES)
        assert raw.parse().choices[0].finish_reason == "stop"
        assert (raw.headers["x-ratelimit-limit-requests"], raw.headers[LEFT]) == ("1", "0")
        for stream in (False, True):
            with pytest.raises(openai.RateLimitError) as refused:
                client.chat.completions.create(model="limited", messages=MESSAGES, stream=stream)
            answer = refused.value.response
            assert refused.value.code == "rate_limited"
            assert answer.headers[LEFT] == "0"
            assert 3500 < int(answer.headers["retry-after"]) <= 3600
            assert answer.headers["x-ratelimit-reset-requests"].startswith(("59m", "1h"))
    assert len(lab.requests("openai")) == 1
