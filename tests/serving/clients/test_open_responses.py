"""Open Responses: what its conformance suite asks, held to types that are made from its OpenAPI document.

The suite is a program on no registry; what it sends is sent here, and so are the rules of the specification:
https://www.openresponses.org/specification.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from tests.serving.servers import ThreadEngine

types = pytest.importorskip("openresponses_types", reason="pip install openresponses-types")
PARAMETERS = {"type": "object", "properties": {"kind": {"enum": ["apple", "pear"]}}, "required": ["kind"]}
TOOL = {"type": "function", "name": "pick", "description": "Pick a fruit.", "parameters": PARAMETERS}


def notify(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


ASKED: dict[str, dict[str, Any]] = {
    "a text": {"input": "apple pear"},
    "a message": {"input": [notify("user", "apple pear")]},
    "a message in parts": {"input": [notify("user", [{"type": "input_text", "text": "apple pear"}])]},
    "the system": {"input": [notify("system", "of the"), notify("user", "apple")]},
    "the developer": {"input": [notify("developer", "of the"), notify("user", "apple")]},
    "several turns": {
        "input": [
            notify("user", "apple"),
            notify("assistant", [{"type": "output_text", "text": "pear", "annotations": []}]),
            notify("user", "plum"),
        ]
    },
    "instructions": {"input": "apple", "instructions": "of the"},
    "a tool's output": {
        "input": [
            notify("user", "apple"),
            {"type": "function_call", "call_id": "call_1", "name": "pick", "arguments": '{"kind": "pear"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "pear"},
        ],
        "tools": [TOOL],
        "tool_choice": "none",
    },
    "a tool": {"input": "apple", "tools": [TOOL], "tool_choice": "required"},
    "that tool": {"input": "apple", "tools": [TOOL], "tool_choice": {"type": "function", "name": "pick"}},
    "an object": {"input": "apple", "text": {"format": {"type": "json_object"}}},
    "a schema": {"input": "apple", "text": {"format": {"type": "json_schema", "name": "fruit", "schema": PARAMETERS}}},
    "metadata": {"input": "apple", "metadata": {"a": "b"}},
    "penalties": {"input": "apple", "frequency_penalty": 0.5, "presence_penalty": -0.5},
    "options": {"input": "apple", "store": False, "parallel_tool_calls": False, "service_tier": "auto"},
}


EVENTS = {
    next(iter(kind.model_fields["type"].annotation)).value: kind
    for name, kind in vars(types).items()
    if name.endswith("StreamingEvent")
}
"""The type of each event, by its name."""
TEXT = ["response.content_part.added", "response.output_text.delta", "response.output_text.done"]
CALL = ["response.function_call_arguments.delta", "response.function_call_arguments.done"]


@pytest.fixture(scope="module")
def server(roomy: openai.OpenAI) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=str(roomy.base_url), timeout=60) as web:
        yield web


def body(asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "roomy", "seed": 1, "max_output_tokens": 100, **asked, **more}


def readable(response: dict[str, Any]) -> dict[str, Any]:
    """Return a response without the schema that it was asked for: the specification's has one, the types' has not."""
    return {**response, "text": {"format": {**response["text"]["format"], "schema": None}}}


def events_of(server: httpx.Client, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a response's events; each is named as its type says, and the last line says that it is the last."""
    with server.stream("POST", "responses", json=body(asked, stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        *blocks, last, rest = answer.read().decode().split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    found = []
    for block in blocks:
        named, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert named == f"event: {found[-1]['type']}"
        told = {key: readable(value) if key == "response" else value for key, value in found[-1].items()}
        EVENTS[found[-1]["type"]].model_validate(told)
    return found


@pytest.mark.parametrize("name", ASKED)
def test_a_response_is_what_the_specification_says(server: httpx.Client, name: str) -> None:
    told = server.post("responses", json=body(ASKED[name]))
    assert told.status_code == 200, told.text
    assert told.headers["content-type"] == "application/json"
    response = told.json()
    types.ResponseResource.model_validate(readable(response))
    (item,) = response["output"]
    assert response["object"] == "response"
    assert item["type"] == ("function_call" if ASKED[name].get("tool_choice", "none") != "none" else "message")
    assert response["status"] == item["status"] in ("completed", "incomplete")
    for key, unsaid in (("metadata", {}), ("frequency_penalty", 0), ("presence_penalty", 0)):
        assert response[key] == ASKED[name].get(key, unsaid)
    for key in ("format", "schema"):
        assert (
            key not in ASKED[name].get("text", {}) or response["text"][key].items() >= ASKED[name]["text"][key].items()
        )


@pytest.mark.parametrize("name", ASKED)
def test_events_are_what_the_specification_says(server: httpx.Client, name: str) -> None:
    events = events_of(server, ASKED[name])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(event["type"] for event in events))
    response, item = events[-1]["response"], events[-2]["item"]
    inner = CALL if item["type"] == "function_call" else [*TEXT, "response.content_part.done"]
    first = ["response.created", "response.in_progress", "response.output_item.added"]
    assert kinds == [*first, *inner, "response.output_item.done", f"response.{response['status']}"]
    assert response["output"] == [item]
    assert {event.get("item_id", item["id"]) for event in events} == {item["id"]}
    whole = "".join(event["delta"] for event in events if event["type"].endswith(".delta"))
    assert whole == (item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])


def test_an_answer_that_is_cut_is_incomplete(server: httpx.Client) -> None:
    events = events_of(server, {"input": "apple", "max_output_tokens": 3})
    response = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == response["status"] == "incomplete"
    assert response["completed_at"] is None


def test_a_tool_may_be_asked_for_and_heard_of(server: httpx.Client) -> None:
    asked = {"input": [notify("user", "apple")], "tools": [TOOL], "tool_choice": "required"}
    (call,) = server.post("responses", json=body(asked)).json()["output"]
    assert json.loads(call["arguments"])["kind"] in ("apple", "pear")
    for output in ("pear", [{"type": "input_text", "text": "pear"}]):
        heard = [*asked["input"], call, {"type": "function_call_output", "call_id": call["call_id"], "output": output}]
        told = server.post("responses", json=body(asked, input=heard, tool_choice="none"))
        types.ResponseResource.model_validate(readable(told.json()))
        assert told.json()["output"][0]["type"] == "message"


IMAGE = [{"type": "input_image", "image_url": "data:image/png;base64,"}]
ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "pick"}]}
NOT_HERE: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [notify("user", IMAGE)]}, "input[0].content[0].type", "models read text alone"),
    ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is kept between requests"),
    ({"background": True}, "background", "nothing is kept between requests"),
    ({"tools": [TOOL], "tool_choice": ALLOWED}, "tool_choice.type", "leave the others out of the tools"),
    ({"truncation": "auto"}, "truncation", "nothing is left out without a word"),
    ({"include": ["message.output_text.logprobs"]}, "include", "log-probabilities are told by chat and completions"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "there is no tool of the server's own"),
]
"""What the specification has and this server refuses, and why."""


@pytest.mark.parametrize(("change", "param", "reason"), NOT_HERE, ids=lambda value: str(value)[:40])
def test_what_is_not_carried_out_is_refused(
    server: httpx.Client, change: dict[str, Any], param: str, reason: str
) -> None:
    told = server.post("responses", json=body({"input": "apple"}, **change))
    assert told.status_code == 400, reason
    error = told.json()["error"]
    types.ErrorPayload.model_validate(error)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert server.post("responses", json={"model": "moss", "input": "apple"}).status_code == 404


def test_what_goes_wrong_later_is_told_and_the_response_has_failed(address: str, engine: ThreadEngine) -> None:
    asked = {"model": "tiny", "input": "apple", "max_output_tokens": 30, "stream": True}
    engine.step_seconds, found = 0.05, list[dict[str, Any]]()
    try:
        with httpx.stream("POST", f"{address}/v1/responses", json=asked) as told:
            for line in told.iter_lines():
                engine.dead = True
                if line.startswith("data: {"):
                    found.append(json.loads(line.removeprefix("data: ")))
    finally:
        engine.dead, engine.step_seconds = False, 0.0
    *_, error, failed = found
    assert (error["type"], failed["type"]) == ("error", "response.failed")
    for event in (error, failed):
        EVENTS[event["type"]].model_validate(event)
    assert error["code"] == error["error"]["code"] == failed["response"]["error"]["code"] == "engine_stopped"
    assert failed["response"]["id"] == found[0]["response"]["id"]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
