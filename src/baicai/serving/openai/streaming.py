"""Streamed and whole responses, as OpenAI's clients read them. A whole response is a collected stream."""

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from baicai.errors import BaicaiError
from baicai.serving.errors import ApiError, error_body, to_api_error
from baicai.serving.openai.detokenizer import Finish, TextDelta, stream_text
from baicai.serving.openai.preprocessing import PreparedRequest
from baicai.serving.openai.requests import BaseCompletionRequest
from baicai.serving.openai.response_models import C, Chunk, ChunkStream, ComputeCost, JsonObject, Usage

DONE = b"data: [DONE]\n\n"
T = TypeVar("T")


class ResponseWriter(Protocol[C]):
    """Writes one completion in the format of an endpoint; `C` is its part of a chunk."""

    id_prefix: str
    chunk_object: str
    completion_object: str

    def start(self) -> C | None:
        """Write the part before the text, if the format has one."""

    def add(self, text_delta: TextDelta) -> C | None:
        """Write new text and tokens; None if nothing can be sent yet."""

    def finish(self, finish: Finish) -> C:
        """Write the finish reason."""

    def combine(self, parts: Sequence[C]) -> JsonObject:
        """Combine all parts into one choice of a whole response."""


async def stream_chunks(prepared: PreparedRequest, writers: Sequence[ResponseWriter[C]]) -> ChunkStream[C]:
    """Yield the chunks of all completions as they are generated, and last a chunk with the usage and no choices.

    Args:
        writers: one for each completion
    """
    head = Chunk[C](
        id=f"{writers[0].id_prefix}{uuid.uuid4().hex}",
        object=writers[0].chunk_object,
        created=int(time.time()),
        model=prepared.name,
        system_fingerprint=prepared.served.hash[:16],
        choices=[],
    )
    finishes = dict[int, Finish]()
    started = set[int]()
    streams = [stream_text(prepared.served, generation, prepared.stop_strings) for generation in prepared.requests]
    async with aclosing(merge_streams(streams)) as events:
        async for index, event in events:
            writer = writers[index]
            parts = [writer.start()] if index not in started else []
            started.add(index)
            if isinstance(event, Finish):
                finishes[index] = event
                parts.append(writer.finish(event))
            else:
                parts.append(writer.add(event))
            for part in parts:
                if part is not None:
                    yield {**head, "choices": [part]}
    yield {**head, "usage": count_usage(prepared, [finishes[index] for index in range(len(prepared.requests))])}


async def collect_chunks(stream: ChunkStream[C], writers: Sequence[ResponseWriter[C]]) -> JsonObject:
    """Collect a stream into one response."""
    parts = defaultdict[int, list[C]](list)
    async with aclosing(stream):
        async for chunk in stream:
            for part in chunk["choices"]:
                parts[part["index"]].append(part)
    choices = [writer.combine(parts[index]) for index, writer in enumerate(writers)]
    return {**chunk, "object": writers[0].completion_object, "choices": choices}


async def completion_response(
    http_request: Request, stream: ChunkStream[C], writers: Sequence[ResponseWriter[C]], request: BaseCompletionRequest
) -> Response:
    """Respond with server-sent events if the request requests for a stream, else with one JSON object.

    Raises: BaicaiError if the request fails before the first byte is sent
    """
    if request.stream:
        return await event_response(http_request, _encode(stream, request.stream_options.include_usage), stream)
    return await json_response(http_request, collect_chunks(stream, writers))


async def json_response(http_request: Request, content: Awaitable[JsonObject]) -> Response:
    """Respond with a JSON object as soon as it is complete; it is cancelled if the client disconnects.

    Raises: BaicaiError if the request fails
    """
    return JSONResponse(await cancel_on_disconnect(http_request, content))


async def event_response(
    http_request: Request, events: AsyncGenerator[bytes, None], source: AsyncGenerator[Any, None]
) -> Response:
    """Respond with server-sent events; both generators are closed as soon as the client disconnects.

    Args:
        events: encoded events
        source: generator that `events` reads from

    Raises: BaicaiError if the request fails before the first event, so that no status has been sent
    """
    try:
        first = await cancel_on_disconnect(http_request, anext(events))
    except BaseException:
        await source.aclose()
        raise
    return _EventStream(first, events, source)


def count_usage(prepared: PreparedRequest, finishes: Sequence[Finish]) -> Usage:
    """Count the tokens and the compute of all completions; `finishes` has one entry for each."""
    served, n = prepared.served, prepared.num_choices
    prompt_tokens = sum(len(generation.prompt_token_ids) for generation in prepared.requests[::n])
    cached_tokens = sum(
        min(finish.cached_tokens for finish in finishes[first : first + n]) for first in range(0, len(finishes), n)
    )
    completion_tokens = sum(finish.completion_tokens for finish in finishes)
    shares_G = np.sum([finish.weights_G for finish in finishes], 0) / (
        max(completion_tokens, 1) * served.max_leaf_weight
    )
    leaves = {name: round(share, 4) for name, share in zip(prepared.leaves, shares_G.tolist(), strict=True)}
    cost = compute_cost(prepared, sum(finish.computed_tokens for finish in finishes))
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
        "baicai": {**cost, "leaves": leaves},
    }


def compute_cost(prepared: PreparedRequest, num_tokens: int) -> ComputeCost:
    """Compute the cost of passing tokens through the model, compared with a dense model of the same size."""
    cost = prepared.served.costs[len(prepared.leaves)]
    return {
        "active_parameters": cost.active_parameters,
        "total_parameters": cost.total_parameters,
        "flops": num_tokens * cost.flops_per_token,
        "dense_flops": num_tokens * prepared.served.dense_flops_per_token,
    }


def sse_event(data: object) -> bytes:
    """Encode data as a server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


async def _encode(stream: ChunkStream[C], include_usage: bool) -> AsyncGenerator[bytes, None]:
    started, no_usage = False, {"usage": None} if include_usage else {}
    try:
        async for chunk in stream:
            if chunk["choices"] or include_usage:
                yield sse_event({**no_usage, **chunk})
                started = True
    except BaicaiError as error:
        if not started:
            raise
        yield sse_event(error_body(to_api_error(error)))
        return
    yield DONE


async def _prepend(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for event in rest:
        yield event


class _EventStream(StreamingResponse):
    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], source: AsyncGenerator[Any, None]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_prepend(first, events), headers=headers, media_type="text/event-stream")
        self._events, self._source = events, source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source), aclosing(self._events):
            await super().__call__(scope, receive, send)


async def cancel_on_disconnect(http_request: Request, work: Awaitable[T]) -> T:
    """Return the result of some work, which is cancelled if the client disconnects.

    Raises: ApiError if it has disconnected
    """
    task, disconnect = asyncio.ensure_future(work), asyncio.ensure_future(_wait_for_disconnect(http_request))
    try:
        await asyncio.wait((task, disconnect), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError("The client has disconnected.", status=499)
    finally:
        task.cancel()
        disconnect.cancel()
        await asyncio.gather(task, disconnect, return_exceptions=True)


async def _wait_for_disconnect(http_request: Request) -> None:
    while (await http_request.receive())["type"] != "http.disconnect":
        pass


async def merge_streams(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """Yield the items of all streams as they arrive, with the index of their stream.

    Closing this generator closes the streams.
    """
    if len(streams) == 1:  # the usual case, which needs no task for each item
        async with aclosing(streams[0]) as stream:
            async for item in stream:
                yield 0, item
        return
    waiting = {asyncio.ensure_future(anext(stream, None)): index for index, stream in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                index = waiting.pop(task)
                result = task.result()
                if result is not None:
                    waiting[asyncio.ensure_future(anext(streams[index], None))] = index
                    yield index, result
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()
