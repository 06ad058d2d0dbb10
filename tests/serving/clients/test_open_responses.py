"""Open Responses: the requests of its conformance suite, validated with types generated from its OpenAPI document.

The suite is not on a package registry, so its requests are repeated here, along with the rules of the specification:
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


def input_message(role: str, content: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}


REQUESTS: dict[str, dict[str, Any]] = {
    "a text": {"input": "apple pear"},
    "a message": {"input": [input_message("user", "apple pear")]},
    "a message in parts": {"input": [input_message("user", [{"type": "input_text", "text": "apple pear"}])]},
    "the system": {"input": [input_message("system", "of the"), input_message("user", "apple")]},
    "the developer": {"input": [input_message("developer", "of the"), input_message("user", "apple")]},
    "several turns": {
        "input": [
            input_message("user", "apple"),
            input_message("assistant", [{"type": "output_text", "text": "pear", "annotations": []}]),
            input_message("user", "plum"),
        ]
    },
    "instructions": {"input": "apple", "instructions": "of the"},
    "a tool's output": {
        "input": [
            input_message("user", "apple"),
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
"""Model of each event, by its type."""
TEXT = ["response.content_part.added", "response.output_text.delta", "response.output_text.done"]
CALL = ["response.function_call_arguments.delta", "response.function_call_arguments.done"]


@pytest.fixture(scope="module")
def server(roomy: openai.OpenAI) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=str(roomy.base_url), timeout=60) as web:
        yield web


def body(request: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "roomy", "seed": 1, "max_output_tokens": 100, **request, **more}


def readable(response: dict[str, Any]) -> dict[str, Any]:
    """Return a response without its schema, a field of the specification that the generated types lack."""
    return {**response, "text": {"format": {**response["text"]["format"], "schema": None}}}


def stream_events(server: httpx.Client, request: dict[str, Any]) -> list[dict[str, Any]]:
    """Stream a response and return its events, checking their names and the final line."""
    with server.stream("POST", "responses", json=body(request, stream=True)) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        *blocks, last, rest = answer.read().decode().split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    events = []
    for block in blocks:
        named, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert named == f"event: {events[-1]['type']}"
        event = {key: readable(value) if key == "response" else value for key, value in events[-1].items()}
        EVENTS[events[-1]["type"]].model_validate(event)
    return events


@pytest.mark.parametrize("name", REQUESTS)
def test_a_response_conforms_to_the_specification(server: httpx.Client, name: str) -> None:
    reply = server.post("responses", json=body(REQUESTS[name]))
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/json"
    response = reply.json()
    types.ResponseResource.model_validate(readable(response))
    (item,) = response["output"]
    assert response["object"] == "response"
    assert item["type"] == ("function_call" if REQUESTS[name].get("tool_choice", "none") != "none" else "message")
    assert response["status"] == item["status"] in ("completed", "incomplete")
    for key, default in (("metadata", {}), ("frequency_penalty", 0), ("presence_penalty", 0)):
        assert response[key] == REQUESTS[name].get(key, default)
    for key in ("format", "schema"):
        assert (
            key not in REQUESTS[name].get("text", {})
            or response["text"][key].items() >= REQUESTS[name]["text"][key].items()
        )


@pytest.mark.parametrize("name", REQUESTS)
def test_events_conform_to_the_specification(server: httpx.Client, name: str) -> None:
    events = stream_events(server, REQUESTS[name])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    event_types = list(dict.fromkeys(event["type"] for event in events))
    response, item = events[-1]["response"], events[-2]["item"]
    inner = CALL if item["type"] == "function_call" else [*TEXT, "response.content_part.done"]
    first = ["response.created", "response.in_progress", "response.output_item.added"]
    assert event_types == [*first, *inner, "response.output_item.done", f"response.{response['status']}"]
    assert response["output"] == [item]
    assert {event.get("item_id", item["id"]) for event in events} == {item["id"]}
    joined = "".join(event["delta"] for event in events if event["type"].endswith(".delta"))
    assert joined == (item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])


def test_a_truncated_response_is_incomplete(server: httpx.Client) -> None:
    events = stream_events(server, {"input": "apple", "max_output_tokens": 3})
    response = events[-1]["response"]
    assert events[-1]["type"] == "response.incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["output"][0]["status"] == response["status"] == "incomplete"
    assert response["completed_at"] is None


def test_a_tool_is_called_and_its_output_read(server: httpx.Client) -> None:
    request = {"input": [input_message("user", "apple")], "tools": [TOOL], "tool_choice": "required"}
    (call,) = server.post("responses", json=body(request)).json()["output"]
    assert json.loads(call["arguments"])["kind"] in ("apple", "pear")
    for output in ("pear", [{"type": "input_text", "text": "pear"}]):
        history = [
            *request["input"],
            call,
            {"type": "function_call_output", "call_id": call["call_id"], "output": output},
        ]
        reply = server.post("responses", json=body(request, input=history, tool_choice="none"))
        types.ResponseResource.model_validate(readable(reply.json()))
        assert reply.json()["output"][0]["type"] == "message"


IMAGE = [{"type": "input_image", "image_url": "data:image/png;base64,"}]
ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "pick"}]}
UNSUPPORTED: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [input_message("user", IMAGE)]}, "input[0].content[0].type", "models read text only"),
    ({"previous_response_id": "resp_1"}, "previous_response_id", "nothing is stored between requests"),
    ({"background": True}, "background", "nothing is stored between requests"),
    ({"tools": [TOOL], "tool_choice": ALLOWED}, "tool_choice.type", "pass only the allowed tools instead"),
    ({"truncation": "auto"}, "truncation", "nothing is dropped silently"),
    (
        {"include": ["message.output_text.logprobs"]},
        "include",
        "log-probabilities are available from chat and text completions",
    ),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type", "the server has no tools of its own"),
]
"""Requests that the specification allows and this server rejects, with the reason."""


@pytest.mark.parametrize(("change", "param", "reason"), UNSUPPORTED, ids=lambda value: str(value)[:40])
def test_unsupported_fields_are_rejected(server: httpx.Client, change: dict[str, Any], param: str, reason: str) -> None:
    reply = server.post("responses", json=body({"input": "apple"}, **change))
    assert reply.status_code == 400, reason
    error = reply.json()["error"]
    types.ErrorPayload.model_validate(error)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert server.post("responses", json={"model": "moss", "input": "apple"}).status_code == 404


def test_an_error_during_streaming_fails_the_response(address: str, engine: ThreadEngine) -> None:
    request = {"model": "tiny", "input": "apple", "max_output_tokens": 30, "stream": True}
    engine.step_seconds, events = 0.05, list[dict[str, Any]]()
    try:
        with httpx.stream("POST", f"{address}/v1/responses", json=request) as stream:
            for line in stream.iter_lines():
                engine.dead = True
                if line.startswith("data: {"):
                    events.append(json.loads(line.removeprefix("data: ")))
    finally:
        engine.dead, engine.step_seconds = False, 0.0
    *_, error, failed = events
    assert (error["type"], failed["type"]) == ("error", "response.failed")
    for event in (error, failed):
        EVENTS[event["type"]].model_validate(event)
    assert error["code"] == error["error"]["code"] == failed["response"]["error"]["code"] == "engine_stopped"
    assert failed["response"]["id"] == events[0]["response"]["id"]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
