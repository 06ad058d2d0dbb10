"""Structured output and tool calls."""

import json
from itertools import count
from typing import Any

import httpx
import openai
import pytest
from pydantic import BaseModel, Field

from baicai.data.document import Message
from baicai.errors import ConfigError
from baicai.serving.engine.grammar import GrammarConstraint
from baicai.serving.openai.requests import ChatRequest
from baicai.serving.openai.structured_output import MAX_SCHEMA_BYTES, to_messages
from baicai.serving.openai.tool_calls import ToolCallParser, merge_tool_calls
from tests.serving.openai.test_chat import MESSAGES
from tests.serving.test_errors import CHAT, check


class Fruit(BaseModel):
    """Schema of a completion."""

    name: str = Field(max_length=8)
    ripe: bool
    kind: str = Field(pattern="^(apple|pear)$")


def function(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": "a tool", "parameters": parameters}}


PICK = function("pick", fruit={"enum": ["apple", "pear"]}, count={"type": "integer", "minimum": 0, "maximum": 9})
WEIGH = function("weigh", metal={"enum": ["iron", "zinc"]})


@pytest.mark.parametrize("seed", range(3))
def test_a_completion_matches_its_schema(roomy: openai.OpenAI, seed: int) -> None:
    response = roomy.chat.completions.parse(
        model="roomy", messages=MESSAGES, response_format=Fruit, seed=seed, temperature=2, max_tokens=200
    )
    assert response.choices[0].finish_reason == "stop"
    assert response.choices[0].message.parsed.kind in ("apple", "pear")


def test_json_object_allows_any_object(roomy: openai.OpenAI) -> None:
    response = roomy.chat.completions.create(
        model="roomy", messages=MESSAGES, response_format={"type": "json_object"}, seed=1, max_tokens=300
    )
    text = response.choices[0].message.content
    assert text.startswith("{")
    if response.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("tool_choice", "names"),
    [("required", {"pick", "weigh"}), ({"type": "function", "function": {"name": "weigh"}}, {"weigh"})],
)
def test_a_required_tool_is_called(roomy: openai.OpenAI, tool_choice: Any, names: set[str]) -> None:
    params = {
        "model": "roomy",
        "messages": MESSAGES,
        "tools": [PICK, WEIGH],
        "tool_choice": tool_choice,
        "max_tokens": 100,
        "n": 4,
    }
    response = roomy.chat.completions.create(**params, seed=5)
    deltas: dict[int, list[dict[str, Any]]] = {number: [] for number in range(4)}
    reasons = set()
    for chunk in roomy.chat.completions.create(**params, seed=5, stream=True):
        for choice in chunk.choices:
            deltas[choice.index].append(choice.delta.model_dump(exclude_unset=True))
            reasons.add(choice.finish_reason)
    assert reasons == {None, "tool_calls"}
    for choice in response.choices:
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        (call,) = choice.message.tool_calls
        assert call.function.name in names
        arguments = json.loads(call.function.arguments)
        assert set(arguments) == ({"metal"} if call.function.name == "weigh" else {"fruit", "count"})
        (streamed,) = merge_tool_calls(deltas[choice.index])
        assert streamed["function"] == call.function.model_dump()
        assert streamed["id"] != call.id


def test_an_optional_tool_may_be_called(roomy: openai.OpenAI) -> None:
    params = {"model": "roomy", "messages": MESSAGES, "tools": [PICK], "max_tokens": 40}
    response = roomy.chat.completions.create(**params, n=8, seed=1, temperature=2)
    for choice in response.choices:
        if choice.message.tool_calls:
            assert set(json.loads(choice.message.tool_calls[0].function.arguments)) == {"fruit", "count"}
        else:
            assert not (choice.message.content or "").startswith("{")
    plain = roomy.chat.completions.create(**params, tool_choice="none", temperature=0)
    assert (
        plain.usage.prompt_tokens == roomy.chat.completions.create(model="roomy", messages=MESSAGES).usage.prompt_tokens
    )


def test_tools_and_their_results_reach_the_model() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Pick one."},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "pick", "arguments": '{"count": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "done"},
    ]
    request = ChatRequest.model_validate({"model": "m", "messages": messages, "tools": [PICK]})
    messages_read = to_messages(request.messages, request.tools)
    assert messages_read[0].role == "system"
    assert messages_read[0].content.startswith("Be brief.\n\nTo use a tool, answer with")
    assert json.loads(messages_read[0].content.splitlines()[-1])["name"] == "pick"
    assert messages_read[1:] == [
        Message("user", "Pick one."),
        Message("assistant", '{"name": "pick", "arguments": {"count": 1}}'),
        Message("user", "done"),
    ]
    without = to_messages(request.messages[1:], request.tools)
    assert [message.role for message in without] == ["system", "user", "assistant", "user"]


CALL = '{"name": "pick", "arguments": {"fruit": "apple", "count": 3}}'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_tool_call_is_parsed_in_chunks(size: int) -> None:
    parser = ToolCallParser()
    deltas = [parser.feed(CALL[start : start + size]) for start in range(0, len(CALL), size)]
    (call,) = merge_tool_calls([delta for delta in deltas if delta])
    assert call["function"] == {"name": "pick", "arguments": '{"fruit": "apple", "count": 3}'}
    assert parser.is_call
    assert parser.flush() == {}


def test_text_that_only_begins_like_a_call_is_kept() -> None:
    parser = ToolCallParser()
    assert parser.feed('{"na') is None
    assert parser.flush() == {"content": '{"na'}
    parser = ToolCallParser()
    assert parser.feed("apple {") == {"content": "apple {"}
    assert not parser.is_call


WRONG = [
    ({"response_format": {"type": "moss"}}, "response_format.type", "invalid_value"),
    ({"response_format": {"type": "json_schema"}}, "response_format", "invalid_value"),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "response_format.json_schema.schema",
        "missing_required_parameter",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "moss"}}}},
        "response_format.json_schema.schema",
        "invalid_json_schema",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"$ref": "http://localhost/moss"}}}},
        "response_format.json_schema.schema",
        "invalid_json_schema",
    ),
    (
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"enum": ["a" * MAX_SCHEMA_BYTES]}}}},
        "response_format.json_schema.schema",
        "schema_too_large",
    ),
    ({"response_format": {"type": "json_object"}, "tools": [PICK]}, "response_format", "unsupported_value"),
    ({"tools": [{"type": "web"}]}, "tools[0].type", "invalid_value"),
    ({"tools": [function("a b")]}, "tools[0].function.name", "invalid_value"),
    ({"tools": [PICK] * 129}, "tools", "invalid_value"),
    ({"tools": [PICK, function("a", b={"type": "moss"})]}, "tools[1].function.parameters", "invalid_json_schema"),
    ({"tool_choice": "required"}, "tool_choice", "invalid_value"),
    ({"tool_choice": "moss"}, "tool_choice", "invalid_value"),
    (
        {"tools": [PICK], "tool_choice": {"type": "function", "function": {"name": "moss"}}},
        "tool_choice",
        "invalid_value",
    ),
    ({"tool_choice": {"type": "function"}}, "tool_choice.function", "missing_required_parameter"),
]


def test_losing_the_grammar_is_an_error(client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, calls = GrammarConstraint.allowed, count()

    def fail(self: GrammarConstraint) -> Any:
        if next(calls) == 3:
            raise ConfigError("fuel exhausted")
        return allowed(self)

    monkeypatch.setattr(GrammarConstraint, "allowed", fail)
    with pytest.raises(openai.BadRequestError, match="became too large to continue"):
        client.chat.completions.create(model="tiny", messages=MESSAGES, response_format={"type": "json_object"})


@pytest.mark.parametrize(("change", "param", "code"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_format_or_tool_is_named(web: httpx.Client, change: dict[str, Any], param: str, code: str) -> None:
    check(web.post("/v1/chat/completions", json=CHAT | change), param, code)
