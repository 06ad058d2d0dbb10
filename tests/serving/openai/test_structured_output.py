"""Answers in JSON, and calls of tools."""

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
from tests.serving.openai.test_chat import ASK
from tests.serving.test_errors import CHAT, check


class Fruit(BaseModel):
    """What an answer is to be."""

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
def test_an_answer_keeps_to_its_schema(roomy: openai.OpenAI, seed: int) -> None:
    told = roomy.chat.completions.parse(
        model="roomy", messages=ASK, response_format=Fruit, seed=seed, temperature=2, max_tokens=200
    )
    assert told.choices[0].finish_reason == "stop"
    assert told.choices[0].message.parsed.kind in ("apple", "pear")


def test_any_object_will_do_where_it_is_json_that_is_wanted(roomy: openai.OpenAI) -> None:
    told = roomy.chat.completions.create(
        model="roomy", messages=ASK, response_format={"type": "json_object"}, seed=1, max_tokens=300
    )
    text = told.choices[0].message.content
    assert text.startswith("{")
    if told.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize(
    ("choice", "names"),
    [("required", {"pick", "weigh"}), ({"type": "function", "function": {"name": "weigh"}}, {"weigh"})],
)
def test_a_tool_is_called_where_it_must_be(roomy: openai.OpenAI, choice: Any, names: set[str]) -> None:
    asked = {
        "model": "roomy",
        "messages": ASK,
        "tools": [PICK, WEIGH],
        "tool_choice": choice,
        "max_tokens": 100,
        "n": 4,
    }
    told = roomy.chat.completions.create(**asked, seed=5)
    found: dict[int, list[dict[str, Any]]] = {number: [] for number in range(4)}
    reasons = set()
    for chunk in roomy.chat.completions.create(**asked, seed=5, stream=True):
        for one in chunk.choices:
            found[one.index].append(one.delta.model_dump(exclude_unset=True))
            reasons.add(one.finish_reason)
    assert reasons == {None, "tool_calls"}
    for one in told.choices:
        assert one.finish_reason == "tool_calls"
        assert one.message.content is None
        (call,) = one.message.tool_calls
        assert call.function.name in names
        arguments = json.loads(call.function.arguments)
        assert set(arguments) == ({"metal"} if call.function.name == "weigh" else {"fruit", "count"})
        (streamed,) = merge_tool_calls(found[one.index])
        assert streamed["function"] == call.function.model_dump()
        assert streamed["id"] != call.id


def test_a_tool_may_be_used_or_not(roomy: openai.OpenAI) -> None:
    asked = {"model": "roomy", "messages": ASK, "tools": [PICK], "max_tokens": 40}
    told = roomy.chat.completions.create(**asked, n=8, seed=1, temperature=2)
    for one in told.choices:
        if one.message.tool_calls:
            assert set(json.loads(one.message.tool_calls[0].function.arguments)) == {"fruit", "count"}
        else:
            assert not (one.message.content or "").startswith("{")
    plain = roomy.chat.completions.create(**asked, tool_choice="none", temperature=0)
    assert plain.usage.prompt_tokens == roomy.chat.completions.create(model="roomy", messages=ASK).usage.prompt_tokens


def test_tools_and_what_they_gave_are_told_to_the_model() -> None:
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
    told = to_messages(request.messages, request.tools)
    assert told[0].role == "system"
    assert told[0].content.startswith("Be brief.\n\nTo use a tool, answer with")
    assert json.loads(told[0].content.splitlines()[-1])["name"] == "pick"
    assert told[1:] == [
        Message("user", "Pick one."),
        Message("assistant", '{"name": "pick", "arguments": {"count": 1}}'),
        Message("user", "done"),
    ]
    without = to_messages(request.messages[1:], request.tools)
    assert [message.role for message in without] == ["system", "user", "assistant", "user"]


CALL = '{"name": "pick", "arguments": {"fruit": "apple", "count": 3}}'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_a_call_is_told_piece_by_piece(size: int) -> None:
    reader = ToolCallParser()
    deltas = [reader.feed(CALL[place : place + size]) for place in range(0, len(CALL), size)]
    (call,) = merge_tool_calls([delta for delta in deltas if delta])
    assert call["function"] == {"name": "pick", "arguments": '{"fruit": "apple", "count": 3}'}
    assert reader.is_call
    assert reader.flush() == {}


def test_what_only_begins_as_a_call_is_told_as_text() -> None:
    reader = ToolCallParser()
    assert reader.feed('{"na') is None
    assert reader.flush() == {"content": '{"na'}
    text = ToolCallParser()
    assert text.feed("apple {") == {"content": "apple {"}
    assert not text.is_call


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


def test_an_answer_that_loses_its_grammar_is_not_told_as_a_whole_one(
    client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed, calls = GrammarConstraint.allowed, count()

    def fail(self: GrammarConstraint) -> Any:
        if next(calls) == 3:
            raise ConfigError("fuel exhausted")
        return allowed(self)

    monkeypatch.setattr(GrammarConstraint, "allowed", fail)
    with pytest.raises(openai.BadRequestError, match="became too large to continue"):
        client.chat.completions.create(model="tiny", messages=ASK, response_format={"type": "json_object"})


@pytest.mark.parametrize(("change", "param", "code"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_shape_is_named(web: httpx.Client, change: dict[str, Any], param: str, code: str) -> None:
    check(web.post("/v1/chat/completions", json=CHAT | change), param, code)
