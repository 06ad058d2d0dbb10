"""Responses through OpenAI's own client, whole and streamed."""

import json
from typing import Any

import httpx
import openai
import pytest

from tests.serving.openai.test_chat import MESSAGES
from tests.serving.openai.test_structured_output import Fruit
from tests.serving.servers import ThreadEngine
from tests.serving.test_errors import check

PICK = {
    "type": "function",
    "name": "pick",
    "strict": True,
    "description": None,
    "parameters": {
        "type": "object",
        "properties": {"fruit": {"enum": ["apple", "pear"]}},
        "required": ["fruit"],
        "additionalProperties": False,
    },
}


def test_a_response_matches_the_chat_completion(client: openai.OpenAI) -> None:
    chat = client.chat.completions.create(model="tiny:fruit", messages=MESSAGES, temperature=0, max_tokens=12)
    for input_value in (
        "apple pear",
        MESSAGES,
        [{"role": "user", "content": [{"type": "input_text", "text": "apple pear"}]}],
    ):
        response = client.responses.create(
            model="tiny:fruit", input=input_value, temperature=0, max_output_tokens=12, store=False
        )
        assert response.output_text == chat.choices[0].message.content
        assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
        assert response.usage.input_tokens == chat.usage.prompt_tokens
        assert response.usage.output_tokens == 12
        assert response.usage.baicai["leaves"].keys() == {"fruit"}
        assert response.output[0].status == "incomplete"


def test_instructions_become_the_system_message(client: openai.OpenAI, engine: ThreadEngine) -> None:
    client.responses.create(model="tiny", instructions="of the", input="apple", max_output_tokens=1)
    prompt = engine.requests[-1].prompt_token_ids
    messages: Any = [{"role": "system", "content": "of the"}, {"role": "user", "content": "apple"}]
    client.chat.completions.create(model="tiny", messages=messages, max_tokens=1)
    assert engine.requests[-1].prompt_token_ids == prompt


def test_events_add_up_to_the_response(client: openai.OpenAI) -> None:
    params: dict[str, Any] = {"model": "tiny", "input": "apple pear", "temperature": 0, "max_output_tokens": 10}
    events = list(client.responses.create(**params, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == client.responses.create(**params).output_text == events[-1].response.output_text
    with client.responses.stream(**params) as stream:  # the client assembles the response from its events
        assert [event.snapshot for event in stream if event.type == "response.output_text.delta"][-1] == text


def test_a_response_matches_its_schema(roomy: openai.OpenAI) -> None:
    response = roomy.responses.parse(model="roomy", input="apple", text_format=Fruit, max_output_tokens=200)
    assert response.status == "completed"
    assert response.output_parsed.kind in ("apple", "pear")


def test_a_response_calls_a_tool_and_reads_its_output(roomy: openai.OpenAI) -> None:
    params: dict[str, Any] = {"model": "roomy", "tools": [PICK], "tool_choice": "required", "max_output_tokens": 100}
    response = roomy.responses.create(input="apple", **params)
    (call,) = response.output
    assert (call.type, call.name, call.status) == ("function_call", "pick", "completed")
    assert json.loads(call.arguments)["fruit"] in ("apple", "pear")
    events = list(roomy.responses.create(input="apple", stream=True, **params))
    deltas = "".join(event.delta for event in events if event.type == "response.function_call_arguments.delta")
    assert deltas == events[-1].response.output[0].arguments
    assert "response.function_call_arguments.done" in [event.type for event in events]
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "pear"}
    params["tool_choice"] = "none"
    again = roomy.responses.create(input=[*MESSAGES, call.model_dump(), output], **params)
    assert again.output[0].type == "message"


@pytest.mark.parametrize("stream", [False, True])
def test_schemas_must_be_serializable(web: httpx.Client, stream: bool) -> None:
    tool = PICK | {"parameters": {"type": "object", "maxProperties": 10**30}}
    params = {"model": "tiny", "input": "apple", "tools": [tool], "tool_choice": "none", "stream": stream}
    check(web.post("/v1/responses", json=params), "tools[0].parameters", "invalid_value")
    body = json.dumps(params | {"max_output_tokens": 1})
    assert web.post("/v1/responses", content=body.replace(str(10**30), "1e30")).status_code == 200
    check(web.post("/v1/responses", content=body.replace(str(10**30), "1e999")), None, "invalid_json")


WRONG = [
    ({"input": None}, "input", "missing_required_parameter"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": 5}, "input", "invalid_type"),
    ({"input": "apple " * 100}, "input", "context_length_exceeded"),
    ({"input": [{"role": "moss", "content": "a"}]}, "input[0].role", "invalid_value"),
    ({"input": [{"type": "item_reference", "id": "1"}]}, "input[0].type", "invalid_value"),
    ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
    ({"previous_response_id": "resp_1"}, "previous_response_id", "unsupported_parameter"),
    ({"background": True}, "background", "unsupported_parameter"),
    ({"text": {"format": {"type": "json_schema", "schema": {"type": "moss"}}}}, "text.format.schema", None),
    ({"tools": [PICK | {"parameters": {"type": "moss"}}]}, "tools[0].parameters", "invalid_json_schema"),
    ({"tool_choice": {"type": "function", "name": "moss"}}, "tool_choice", "invalid_value"),
    ({"leaves": {"only": ["moss"]}}, "leaves.only", "leaf_not_found"),
]


@pytest.mark.parametrize(("change", "param", "code"), WRONG, ids=lambda value: str(value)[:50])
def test_a_wrong_field_of_a_response_is_named(
    web: httpx.Client, change: dict[str, Any], param: str, code: str | None
) -> None:
    check(web.post("/v1/responses", json={"model": "tiny", "input": "apple"} | change), param, code)


def test_an_error_after_the_first_event_is_reported(client: openai.OpenAI, engine: ThreadEngine) -> None:
    engine.step_seconds = 0.05
    try:
        stream = client.responses.create(model="tiny", input="apple", max_output_tokens=30, stream=True)
        next(stream)
        engine.dead = True
        with pytest.raises(openai.APIError, match="the engine has stopped: ask again") as raised:
            list(stream)
        assert raised.value.code == "engine_stopped"
    finally:
        engine.dead, engine.step_seconds = False, 0.0
