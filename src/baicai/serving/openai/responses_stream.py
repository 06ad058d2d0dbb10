"""Events of `/v1/responses`, converted from the chunks of a chat completion; the last one holds the whole response."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from uuid import uuid4

from baicai.errors import BaicaiError
from baicai.serving.errors import ApiError, error_body, to_api_error
from baicai.serving.openai.response_models import ChatChunkChoice, ChatDelta, ChunkStream, JsonObject, Usage
from baicai.serving.openai.responses_request import ResponseRequest, TextFormat
from baicai.serving.openai.streaming import DONE, sse_event


async def response_events(
    stream: ChunkStream[ChatChunkChoice], request: ResponseRequest
) -> AsyncGenerator[JsonObject, None]:
    """Convert the chunks of a chat completion into numbered events."""
    number, response, writer, reason = 0, JsonObject(), _OutputItemWriter(), "stop"

    def numbered(event_type: str, values: JsonObject) -> JsonObject:
        nonlocal number
        number += 1
        return {"type": event_type, "sequence_number": number - 1, **values}

    async for chunk in stream:
        if not response:
            response = _new_response(request, chunk["model"])
            yield numbered("response.created", {"response": dict(response)})
            yield numbered("response.in_progress", {"response": dict(response)})
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            for event_type, values in writer.add(choice["delta"]):
                yield numbered(event_type, values)
        if "usage" in chunk:
            is_cut = reason == "length"
            for event_type, values in writer.finish("incomplete" if is_cut else "completed"):
                yield numbered(event_type, values)
            response["status"] = "incomplete" if is_cut else "completed"
            response["completed_at"] = None if is_cut else int(time.time())
            response["incomplete_details"] = {"reason": "max_output_tokens"} if is_cut else None
            response |= {"output": [writer.item], "usage": _response_usage(chunk["usage"])}
            yield numbered(f"response.{response['status']}", {"response": response})


async def encode_events(events: AsyncGenerator[JsonObject, None]) -> AsyncGenerator[bytes, None]:
    """Encode events for sending; an error after the first one adds two more, `error` and `response.failed`."""
    number, response = 0, JsonObject()
    async with aclosing(events):
        try:
            async for event in events:
                yield _encode(event)
                number, response = event["sequence_number"] + 1, event.get("response", response)
        except BaicaiError as error:
            if not number:
                raise
            for event in _error_events(to_api_error(error), number, response):
                yield _encode(event)
    yield DONE


def _encode(event: JsonObject) -> bytes:
    return f"event: {event['type']}\n".encode() + sse_event(event)


def _error_events(error: ApiError, number: int, response: JsonObject) -> tuple[JsonObject, JsonObject]:
    """Return the events that report an error; the first has the fields of OpenAI's reference and of its clients."""
    body = error_body(error)
    failed = {"status": "failed", "error": {"code": error.code, "message": str(error)}}
    return (
        {**body["error"], **body, "type": "error", "sequence_number": number},
        {"type": "response.failed", "sequence_number": number + 1, "response": response | failed},
    )


async def final_response(events: AsyncGenerator[JsonObject, None], source: ChunkStream[ChatChunkChoice]) -> JsonObject:
    """Return the whole response from the last event; `source` is closed with the events."""
    async with aclosing(source), aclosing(events):
        async for event in events:
            last = event
    return dict(last["response"])


class _OutputItemWriter:
    """Writes the one output item of a response: a message or a function call."""

    def __init__(self) -> None:
        self.item: JsonObject = {}

    def add(self, delta: ChatDelta) -> list[tuple[str, JsonObject]]:
        """Convert a delta of a chat completion into events."""
        events = []
        for call in delta.get("tool_calls", ()):
            name, arguments = call["function"].get("name", ""), call["function"]["arguments"]
            if "id" in call:
                item: JsonObject = {"type": "function_call", "call_id": call["id"], "name": name, "arguments": ""}
                events.append(self._start("fc", item))
            self.item["arguments"] += arguments
            events.append(("response.function_call_arguments.delta", self._located({"delta": arguments})))
        if content := delta.get("content"):
            events += self._start_message()
            self._part["text"] += content
            text_delta = {"content_index": 0, "delta": content, "logprobs": []}
            events.append(("response.output_text.delta", self._located(text_delta)))
        return events

    def finish(self, status: str) -> list[tuple[str, JsonObject]]:
        """Return the events that complete the item."""
        events = [] if self.item else self._start_message()
        self.item["status"] = status
        if self.item["type"] == "function_call":
            call = {"name": self.item["name"], "arguments": self.item["arguments"]}
            events.append(("response.function_call_arguments.done", self._located(call)))
        else:
            text = {"content_index": 0, "text": self._part["text"], "logprobs": []}
            events.append(("response.output_text.done", self._located(text)))
            part = {"content_index": 0, "part": self._part}
            events.append(("response.content_part.done", self._located(part)))
        return [*events, ("response.output_item.done", {"output_index": 0, "item": self.item})]

    def _start_message(self) -> list[tuple[str, JsonObject]]:
        """Return the events that start a message, unless the item has started already."""
        if self.item:
            return []
        item_added = self._start("msg", {"type": "message", "role": "assistant", "content": []})
        self._part: JsonObject = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self.item["content"] = [self._part]
        part = {"content_index": 0, "part": dict(self._part)}
        return [item_added, ("response.content_part.added", self._located(part))]

    def _start(self, prefix: str, item: JsonObject) -> tuple[str, JsonObject]:
        self.item = {"id": f"{prefix}_{uuid4().hex}", "status": "in_progress", **item}
        return "response.output_item.added", {"output_index": 0, "item": dict(self.item)}

    def _located(self, values: JsonObject) -> JsonObject:
        return {"item_id": self.item["id"], "output_index": 0, **values}


def _new_response(request: ResponseRequest, model: str) -> JsonObject:
    tools_fields = request.model_dump(include={"tools", "tool_choice"})
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "frequency_penalty": request.frequency_penalty,
        "incomplete_details": None,
        "instructions": request.instructions or None,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": None,
        "metadata": request.metadata,
        "model": model,
        "output": [],
        "parallel_tool_calls": False,
        "presence_penalty": request.presence_penalty,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": None,
        "safety_identifier": None,
        "service_tier": "default",
        "store": False,
        "temperature": request.temperature,
        "text": {"format": _response_format(request.text.format)},
        "tool_choice": tools_fields["tool_choice"],
        "tools": [{**tool, "strict": True} for tool in tools_fields["tools"]],
        "top_logprobs": 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _response_format(text_format: TextFormat) -> JsonObject:
    if text_format.type != "json_schema":
        return {"type": text_format.type}
    return text_format.model_dump(by_alias=True) | {"strict": True}


def _response_usage(usage: Usage) -> JsonObject:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
        "baicai": usage["baicai"],
    }
