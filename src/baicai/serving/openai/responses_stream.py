"""The answers of `/v1/responses`: events, each numbered; the last one holds the whole."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import uuid4

from baicai.errors import BaicaiError
from baicai.serving.errors import ApiError, error_body, to_api_error
from baicai.serving.openai.responses_request import ResponseRequest, TextFormat
from baicai.serving.openai.streaming import DONE, Values, event


async def response_events(told: AsyncGenerator[Values, None], request: ResponseRequest) -> AsyncGenerator[Values, None]:
    """Yield a response's events, made from the chunks of a chat's answer."""
    number, response, item, reason = 0, dict[str, Any](), _Item(), "stop"

    def numbered(kind: str, values: Values) -> Values:
        nonlocal number
        number += 1
        return {"type": kind, "sequence_number": number - 1, **values}

    async for chunk in told:
        if not response:
            response = _blank(request, chunk)
            yield numbered("response.created", {"response": dict(response)})
            yield numbered("response.in_progress", {"response": dict(response)})
        for choice in chunk["choices"]:
            reason = choice["finish_reason"] or reason
            for kind, values in item.add(choice["delta"]):
                yield numbered(kind, values)
        if "usage" in chunk:
            cut = reason == "length"
            for kind, values in item.end("incomplete" if cut else "completed"):
                yield numbered(kind, values)
            response["status"] = "incomplete" if cut else "completed"
            response["completed_at"] = None if cut else int(time.time())
            response["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
            response |= {"output": [item.whole], "usage": _usage(chunk["usage"])}
            yield numbered(f"response.{response['status']}", {"response": response})


async def written(events: AsyncGenerator[Values, None]) -> AsyncGenerator[bytes, None]:
    """Yield events as they are sent; what goes wrong after the first is told by two more."""
    number, response = 0, dict[str, Any]()
    async with aclosing(events):
        try:
            async for one in events:
                yield _written(one)
                number, response = one["sequence_number"] + 1, one.get("response", response)
        except BaicaiError as error:
            if not number:
                raise
            for one in _failed(to_api_error(error), number, response):
                yield _written(one)
    yield DONE


def _written(one: Values) -> bytes:
    return f"event: {one['type']}\n".encode() + event(one)


def _failed(error: ApiError, number: int, response: Values) -> tuple[Values, Values]:
    """Return the events that tell of an error: as OpenAI's reference writes it and as its clients read it, in one."""
    told = error_body(error)
    failed = {"status": "failed", "error": {"code": error.code, "message": str(error)}}
    return (
        {**told["error"], **told, "type": "error", "sequence_number": number},
        {"type": "response.failed", "sequence_number": number + 1, "response": response | failed},
    )


async def last(events: AsyncGenerator[Values, None], source: AsyncGenerator[Values, None]) -> Values:
    """Return the whole response."""
    async with aclosing(source), aclosing(events):
        async for one in events:
            found = one
    return dict(found["response"])


class _Item:
    """What a response puts out: a message, or a call of a function."""

    def __init__(self) -> None:
        self.whole: Values = {}

    def add(self, delta: Values) -> list[tuple[str, Values]]:
        """Return the events that tell of a delta of a chat's answer."""
        told = []
        for call in delta.get("tool_calls", ()):
            function = call["function"]
            if "id" in call:
                about = {"type": "function_call", "call_id": call["id"], "name": function["name"], "arguments": ""}
                told.append(self._begin("fc", about))
            self.whole["arguments"] += function["arguments"]
            told.append(("response.function_call_arguments.delta", self._at({"delta": function["arguments"]})))
        if delta.get("content"):
            told += self._message()
            self._part["text"] += delta["content"]
            told.append(
                (
                    "response.output_text.delta",
                    self._at({"content_index": 0, "delta": delta["content"], "logprobs": []}),
                )
            )
        return told

    def end(self, status: str) -> list[tuple[str, Values]]:
        """Return the events that tell of the end."""
        told = [] if self.whole else self._message()
        self.whole["status"] = status
        if self.whole["type"] == "function_call":
            done = {"name": self.whole["name"], "arguments": self.whole["arguments"]}
            told.append(("response.function_call_arguments.done", self._at(done)))
        else:
            text = {"content_index": 0, "text": self._part["text"], "logprobs": []}
            told.append(("response.output_text.done", self._at(text)))
            told.append(("response.content_part.done", self._at({"content_index": 0, "part": self._part})))
        return [*told, ("response.output_item.done", {"output_index": 0, "item": self.whole})]

    def _message(self) -> list[tuple[str, Values]]:
        """Return the events with which a message begins, if it has not."""
        if self.whole:
            return []
        begun = self._begin("msg", {"type": "message", "role": "assistant", "content": []})
        self._part: Values = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        self.whole["content"] = [self._part]
        return [begun, ("response.content_part.added", self._at({"content_index": 0, "part": dict(self._part)}))]

    def _begin(self, prefix: str, about: Values) -> tuple[str, Values]:
        self.whole = {"id": f"{prefix}_{uuid4().hex}", "status": "in_progress", **about}
        return "response.output_item.added", {"output_index": 0, "item": dict(self.whole)}

    def _at(self, values: Values) -> Values:
        return {"item_id": self.whole["id"], "output_index": 0, **values}


def _blank(request: ResponseRequest, chunk: Values) -> Values:
    asked = request.model_dump(include={"tools", "tool_choice"})
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
        "model": chunk["model"],
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
        "text": {"format": _format(request.text.format)},
        "tool_choice": asked["tool_choice"],
        "tools": [{**tool, "strict": True} for tool in asked["tools"]],
        "top_logprobs": 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "usage": None,
    }


def _format(form: TextFormat) -> Values:
    if form.type != "json_schema":
        return {"type": form.type}
    return form.model_dump(by_alias=True) | {"strict": True}


def _usage(usage: Values) -> Values:
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": usage["prompt_tokens_details"],
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
        "baicai": usage["baicai"],
    }
