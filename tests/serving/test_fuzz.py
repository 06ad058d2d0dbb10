"""Any value of any field is accepted or rejected in the API's format."""

import copy
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.serving.openai.test_chat import MESSAGES

CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
GOOD: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "tiny",
        "messages": [
            *MESSAGES,
            {"role": "assistant", "tool_calls": [CALL]},
            {"role": "tool", "content": [], "tool_call_id": "1"},
        ],
        "max_tokens": 2,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 1,
        "n": 2,
        "stop": ["a"],
        "logit_bias": {"5": 1.5},
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "stream_options": {"include_usage": True},
        "logprobs": True,
        "top_logprobs": 2,
        "leaves": {"only": []},
        "tools": [{"type": "function", "function": {"name": "f", "parameters": PARAMETERS}}],
        "tool_choice": "none",
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": PARAMETERS}},
    },
    "/v1/completions": {"model": "tiny", "prompt": ["a", [1, 2]], "max_tokens": 2, "logprobs": 2, "echo": True, "n": 1},
    "/v1/responses": {
        "model": "tiny",
        "input": [*MESSAGES, {"type": "function_call", "name": "f", "arguments": "{}"}],
        "max_output_tokens": 2,
        "text": {"format": {"type": "json_schema", "name": "x", "schema": PARAMETERS}},
        "metadata": {"a": "b"},
    },
    "/v1/embeddings": {
        "model": "tiny",
        "input": ["a", [1, 2]],
        "encoding_format": "base64",
        "dimensions": 32,
        "leaves": {"only": []},
    },
    "/tokenize": {"model": "tiny", "prompt": "a"},
}
STRANGE: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**64, 10**30, 1e308, 0.5, "", "a", "\0", "白菜", "<|end|>", "a" * 5000),
    *([], [[]], [None], [1], ["a"], [{}], {}, {"type": "object"}, {"type": "function"}, {"role": "user"}),
]


def locations(value: Any, path_so_far: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path_so_far, key)
        yield from locations(child, (*path_so_far, key))


@pytest.mark.parametrize("path", GOOD)
def test_strange_values_never_crash_the_server(web: httpx.Client, path: str) -> None:
    assert web.post(path, json=GOOD[path]).status_code == 200
    draw = random.Random(path)
    for _ in range(120):
        body = copy.deepcopy(GOOD[path])
        for _ in range(draw.choice([1, 1, 2])):
            *above, last = draw.choice(list(locations(body)))
            inner = body
            for key in above:
                inner = inner[key]
            inner[last] = copy.deepcopy(draw.choice(STRANGE))
        response = web.post(path, json=body)
        assert response.status_code in (200, 400, 404), (body, response.text)
        if response.status_code != 200:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}
