"""Errors have OpenAI's format and name the parameter; no input breaks the server."""

import contextlib
import json
from typing import Any

import httpx
import openai
import pytest
from pydantic import ValidationError

from baicai.serving.openai.body import MAX_DEPTH, MAX_MEMBERS
from baicai.serving.openai.requests import ChatRequest, CompletionRequest
from baicai.serving.openai.responses_request import ResponseRequest

CHAT: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "apple"}], "max_tokens": 1}
TEXT: dict[str, Any] = {"model": "tiny", "prompt": "apple", "max_tokens": 1}
CHAT_ERRORS = [
    ({"messages": None}, "messages", "missing_required_parameter"),
    ({"model": None}, "model", "missing_required_parameter"),
    ({"model": 3}, "model", "invalid_type"),
    ({"messages": []}, "messages", "invalid_value"),
    ({"messages": "apple"}, "messages", "invalid_type"),
    ({"messages": [3]}, "messages[0]", "invalid_type"),
    ({"messages": [{"content": "apple"}]}, "messages[0].role", "missing_required_parameter"),
    ({"messages": [{"role": "pear", "content": "apple"}]}, "messages[0].role", "invalid_value"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "missing_required_parameter"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages[0].content[0].type",
        "invalid_value",
    ),
    ({"messages": [{"role": "user", "content": "apple " * 100}]}, "messages", "context_length_exceeded"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"max_tokens": "5"}, "max_tokens", "invalid_type"),
    ({"max_tokens": 5.5}, "max_tokens", "invalid_type"),
    ({"max_tokens": True}, "max_tokens", "invalid_type"),
    ({"max_tokens": 64}, "messages", "context_length_exceeded"),
    ({"max_completion_tokens": 10**30}, "messages", "context_length_exceeded"),
    ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    ({"temperature": 9}, "temperature", "decimal_above_max_value"),
    ({"temperature": -1}, "temperature", "decimal_below_min_value"),
    ({"temperature": "hot"}, "temperature", "invalid_type"),
    ({"temperature": 10**400}, "temperature", None),
    ({"top_p": 1.5}, "top_p", "decimal_above_max_value"),
    ({"top_k": -1}, "top_k", "integer_below_min_value"),
    ({"seed": 2**63}, "seed", "integer_above_max_value"),
    ({"seed": 1.5}, "seed", "invalid_type"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"n": 17}, "n", "integer_above_max_value"),
    ({"n": 10**400}, "n", "integer_above_max_value"),
    ({"stop": [1]}, "stop[0]", "invalid_type"),
    ({"stop": ""}, "stop[0]", "invalid_value"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "invalid_value"),
    ({"stream": "yes"}, "stream", "invalid_type"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
    ({"logprobs": 1}, "logprobs", "invalid_type"),
    ({"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "integer_above_max_value"),
    ({"logit_bias": [5]}, "logit_bias", "invalid_type"),
    ({"logit_bias": {"apple": 1}}, "logit_bias.apple", "invalid_value"),
    ({"logit_bias": {"5": 100.5}}, "logit_bias.5", "decimal_above_max_value"),
    ({"logit_bias": {"5": -101}}, "logit_bias.5", "decimal_below_min_value"),
    ({"logit_bias": {"5": "1"}}, "logit_bias.5", "invalid_type"),
    ({"logit_bias": {"320": 1}}, "logit_bias", "invalid_value"),
    ({"logit_bias": {str(token): 1 for token in range(2000)}}, "logit_bias", "invalid_value"),
    ({"frequency_penalty": 2.5}, "frequency_penalty", "decimal_above_max_value"),
    ({"presence_penalty": -3}, "presence_penalty", "decimal_below_min_value"),
    ({"presence_penalty": "x"}, "presence_penalty", "invalid_type"),
    ({"modalities": ["text", "audio"]}, "modalities", "unsupported_parameter"),
    ({"leaves": ["fruit"]}, "leaves", "invalid_type"),
    ({"leaves": {"only": ["moss"]}}, "leaves.only", "leaf_not_found"),
    ({"leaves": {"off": "fruit"}}, "leaves.off", "invalid_type"),
    ({"leaves": {"only": [], "on": ["fruit"]}}, "leaves", "invalid_value"),
    ({"leaves": {"without": ["fruit"]}}, "leaves.without", "invalid_value"),
    ({"routing": 1}, "routing", "invalid_type"),
]
COMPLETION_ERRORS = [
    ({"prompt": 5}, "prompt", "invalid_type"),
    ({"prompt": []}, "prompt", "invalid_value"),
    ({"prompt": [[]]}, "prompt", "invalid_value"),
    ({"prompt": [5, "a"]}, "prompt[0]", "invalid_type"),
    ({"prompt": [[5, "a"]]}, "prompt[0][1]", "invalid_type"),
    ({"prompt": [-1]}, "prompt[0][0]", "integer_below_min_value"),
    ({"prompt": [10**40]}, "prompt[0][0]", "integer_above_max_value"),
    ({"prompt": [320]}, "prompt", "invalid_value"),
    ({"prompt": ["apple"] * 17}, "n", "integer_above_max_value"),
    ({"prompt": "apple " * 100}, "prompt", "context_length_exceeded"),
    ({"max_tokens": 100}, "prompt", "context_length_exceeded"),
    ({"max_tokens": 0}, "max_tokens", "invalid_value"),
    ({"logprobs": True}, "logprobs", "invalid_type"),
    ({"logprobs": -1}, "logprobs", "integer_below_min_value"),
    ({"best_of": 2}, "best_of", "unsupported_value"),
    ({"suffix": "end"}, "suffix", "unsupported_parameter"),
    ({"echo": "yes"}, "echo", "invalid_type"),
]


def check(response: httpx.Response, param: str | None, code: str | None, status: int = 400) -> None:
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param, error
    assert code is None or error["code"] == code, error
    assert error["message"]
    assert "\n" not in error["message"]


@pytest.mark.parametrize(("change", "param", "code"), CHAT_ERRORS, ids=lambda value: str(value)[:40])
def test_a_wrong_field_of_a_chat_is_named(
    web: httpx.Client, change: dict[str, Any], param: str, code: str | None
) -> None:
    check(web.post("/v1/chat/completions", json=CHAT | change), param, code)


@pytest.mark.parametrize(("change", "param", "code"), COMPLETION_ERRORS, ids=lambda value: str(value)[:40])
def test_a_wrong_field_of_a_completion_is_named(
    web: httpx.Client, change: dict[str, Any], param: str, code: str | None
) -> None:
    check(web.post("/v1/completions", json=TEXT | change), param, code)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", TEXT),
        ("/v1/responses", {"model": "tiny", "input": "apple", "max_output_tokens": 16}),
        ("/v1/embeddings", {"model": "tiny", "input": "apple"}),
    ],
)
def test_misspelled_extensions_are_named_and_other_fields_ignored(
    web: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    for name in ("leave", "leafs", "leaf", "Leaves", "leaves\n"):
        response = web.post(path, json=body | {name: {"only": []}})
        check(response, name, "unknown_parameter")
        assert response.json()["error"]["message"] == f"Unknown parameter: {name!r}. Did you mean 'leaves'?"
    response = web.post(path, json=body | {"routeing": True})
    assert response.status_code == (400 if "completions" in path else 200), "routing is a field of completions only"
    unrelated = {
        "reasoning": {},
        "store": False,
        "route": "fallback",
        "save": 1,
        "top_a": 0.1,
        "verbosity": "low",
        "": 0,
    }
    assert web.post(path, json=body | unrelated).status_code == 200


def test_a_prompt_beyond_the_context_is_reported_with_both_lengths(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match=r"maximum context length is 64 .* requested 65 tokens"):
        client.completions.create(model="tiny", prompt=[5] * 65)
    with pytest.raises(openai.BadRequestError, match=r"64 tokens.* 60 tokens in the prompt and 5 for the completion"):
        client.completions.create(model="tiny", prompt=[5] * 60, max_tokens=5)
    assert client.completions.create(model="tiny", prompt=[5] * 60, max_tokens=4).usage.prompt_tokens == 60


@pytest.mark.parametrize("name", ["moss", "tiny:moss", "tiny:fruit,", "tin", "../tiny", "tiny:trunk:fruit"])
def test_an_unknown_model_is_not_found(client: openai.OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as raised:
        client.chat.completions.create(**CHAT | {"model": name})
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(name)


def test_unknown_fields_and_nulls_are_ignored(web: httpx.Client) -> None:
    blank = dict.fromkeys(("stop", "seed", "logprobs", "stream_options", "leaves", "temperature", "n", "logit_bias"))
    num_sent = CHAT | blank | {"moss": 1, "user": "me", "metadata": {"a": "b"}, "store": False, "frequency_penalty": 0}
    assert web.post("/v1/chat/completions", json=num_sent).status_code == 200


def test_an_integer_may_have_a_decimal_point(web: httpx.Client) -> None:
    num_sent = json.dumps(CHAT | {"n": 2}).replace('"n": 2', '"n": 2.0')
    assert len(web.post("/v1/chat/completions", content=num_sent).json()["choices"]) == 2


def deep(levels: int) -> bytes:
    return b'{"messages": ' + b"[" * levels + b"]" * levels + b"}"


HOSTILE: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "not JSON": (b"apple", 400),
    "half": (b'{"model": "tiny"', 400),
    "a list": (b"[]", 400),
    "null": (b"null", 400),
    "not UTF-8": (b'{"model": "\xff"}', 400),
    "UTF-16": ('{"model": "tiny"}'.encode("utf-16"), 400),
    "a half pair": (rb'{"model": "tiny", "messages": [{"role": "user", "content": "\ud800"}]}', 400),
    "a half pair as a key": (rb'{"\udfff": 1}', 400),
    "nested deep": (deep(MAX_DEPTH + 1), 400),
    "nested very deep": (deep(100_000), 400),
    "objects nested very deep": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, 400),
    "a number of many digits": (b'{"model": "tiny", "messages": [], "n": ' + b"9" * 100_000 + b"}", 400),
    "a number beyond float": (json.dumps(CHAT).replace("}]", '}], "temperature": 1e999').encode(), 400),
    "not a number": (json.dumps(CHAT).replace("}]", '}], "temperature": NaN').encode(), 400),
    "infinity": (json.dumps(CHAT).replace("}]", '}], "top_p": -Infinity').encode(), 400),
    "a zero byte": (json.dumps(CHAT | {"model": "tiny\0"}).encode(), 404),
    "many members": (b'{"model": "tiny", "messages": [{}' + b", {}" * MAX_MEMBERS + b"]}", 413),
    "large": (b'{"model": "' + b"a" * (5 << 20) + b'"}', 413),
}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies_are_rejected(web: httpx.Client, path: str, name: str) -> None:
    body, status = HOSTILE[name]
    response = web.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status, response.text
    assert "error" in response.json()
    assert web.post("/v1/chat/completions", json=CHAT).status_code == 200


def test_validation_stops_at_the_first_wrong_element() -> None:
    part = {"role": "user", "content": [{}] * 9}
    for model, change in (
        (CompletionRequest, {"prompt": [-1] * 9}),
        (CompletionRequest, {"prompt": [[]] * 9 + [[-1]] * 9}),
        (CompletionRequest, {"leaves": {"on": [1] * 9}}),
        (ChatRequest, {"messages": [{}] * 9}),
        (ChatRequest, {"messages": [part]}),
        (ChatRequest, {"messages": [{"role": "assistant", "tool_calls": [{}] * 9}]}),
        (ResponseRequest, {"input": [{}] * 9}),
        (ResponseRequest, {"input": [part]}),
    ):
        with pytest.raises(ValidationError) as raised:
            model.model_validate({"model": "tiny"} | change)
        assert len({error["loc"][:1] for error in raised.value.errors() if error["loc"][0] in change}) == 1
        assert raised.value.error_count() <= 2, change  # a message may lack two fields


def test_prompts_are_counted_before_they_are_tokenized(web: httpx.Client) -> None:
    response = web.post("/v1/completions", json=TEXT | {"prompt": ["apple " * 100] * 17})
    check(response, "n", "integer_above_max_value")


def test_a_chunked_body_is_limited_in_size(web: httpx.Client) -> None:
    num_sent = 0

    def parts() -> Any:
        nonlocal num_sent
        for _ in range(200):
            num_sent += 1 << 20
            yield b" " * (1 << 20)

    with contextlib.suppress(httpx.HTTPError):  # the connection may be closed while the client is sending
        assert web.post("/v1/completions", content=parts()).status_code == 413
    assert num_sent < 150 << 20


@pytest.mark.parametrize("path", ["/page", "/v1", "/v1/moss", "/v1/completions/", "/%2e%2e/etc/passwd", "/v1//models"])
def test_an_unknown_url_is_reported(web: httpx.Client, path: str) -> None:
    check(web.get(path), None, "unknown_url", 404)


def test_a_wrong_method_is_reported(web: httpx.Client) -> None:
    response = web.get("/v1/completions")
    check(response, None, "unknown_url", 405)
    assert response.headers["Allow"] == "POST"
