"""From pieces to what OpenAI's clients read. A whole answer is a collected stream, so that both say the same."""

import asyncio
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import numpy as np
import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from baicai.errors import BaicaiError
from baicai.serving.errors import ApiError, error_body, to_api_error
from baicai.serving.openai.detokenizer import End, Piece, pieces
from baicai.serving.openai.preprocessing import Plan
from baicai.serving.openai.requests import Generation

DONE = b"data: [DONE]\n\n"
Values = dict[str, Any]
T = TypeVar("T")


class Form(Protocol):
    """How an answer is written."""

    id_prefix: str
    chunk_object: str
    whole_object: str

    def begin(self) -> Values | None:
        """Return what an answer begins with."""

    def piece(self, piece: Piece) -> Values | None:
        """Return what is told of a piece, None if nothing."""

    def end(self, end: End) -> Values:
        """Return what an answer ends with."""

    def whole(self, parts: Sequence[Values]) -> Values:
        """Return all that was told of an answer, in one."""


async def chunks(plan: Plan, forms: Sequence[Form]) -> AsyncGenerator[Values, None]:
    """Yield what is told of the answers, each in its form, and last of all what they took, with no choices."""
    form = forms[0]
    head = {
        "id": f"{form.id_prefix}{uuid.uuid4().hex}",
        "object": form.chunk_object,
        "created": int(time.time()),
        "model": plan.name,
        "system_fingerprint": plan.served.hash[:16],
    }
    ends = dict[int, End]()
    begun = set[int]()
    async with aclosing(merged([pieces(plan.served, ask, plan.stops) for ask in plan.asks])) as events:
        async for number, event in events:
            form = forms[number]
            told = [form.begin()] if number not in begun else []
            begun.add(number)
            if isinstance(event, End):
                ends[number] = event
                told.append(form.end(event))
            else:
                told.append(form.piece(event))
            for one in told:
                if one is not None:
                    yield head | {"choices": [{"index": number, **one}]}
    yield head | {"choices": [], "usage": usage(plan, [ends[number] for number in range(len(plan.asks))])}


async def collect(stream: AsyncGenerator[Values, None], form: Form) -> Values:
    """Return a stream as one answer."""
    choices = defaultdict[int, list[Values]](list)
    async with aclosing(stream):
        async for chunk in stream:
            for choice in chunk["choices"]:
                choices[choice["index"]].append(choice)
    told = [{"index": number} | form.whole(choices[number]) for number in sorted(choices)]
    return chunk | {"object": form.whole_object, "choices": told}


async def respond(request: Request, told: AsyncGenerator[Values, None], form: Form, asked: Generation) -> Response:
    """Return the answer: events if they are wanted as they come, else all in one.

    Raises: BaicaiError if there will be none
    """
    if asked.stream:
        return await streamed(request, _events(told, asked.stream_options.include_usage), told)
    return await whole(request, collect(told, form))


async def whole(request: Request, answer: Awaitable[Values]) -> Response:
    """Return an answer when it is complete, unless the client has gone.

    Raises: BaicaiError if there will be none
    """
    return JSONResponse(await unless_gone(request, answer))


async def streamed(
    request: Request, events: AsyncGenerator[bytes, None], source: AsyncGenerator[Values, None]
) -> Response:
    """Return events as they come; when the client goes, they and their source are closed at once.

    Raises: BaicaiError if there will be none: what is wrong shows before the first, and before a status is sent
    """
    try:
        first = await unless_gone(request, anext(events))
    except BaseException:
        await source.aclose()
        raise
    return _EventStream(first, events, source)


def usage(plan: Plan, ends: Sequence[End]) -> Values:
    """Return what answers took: tokens, and what they cost beside a dense model of the same size."""
    served, read = plan.served, sum(end.read for end in ends)
    prompt = sum(len(ask.prompt_token_ids) for ask in plan.asks[:: plan.choices])
    cached = sum(
        min(end.cached for end in ends[first : first + plan.choices]) for first in range(0, len(ends), plan.choices)
    )
    completion = sum(end.tokens for end in ends)
    shares_G = np.sum([end.weights_G for end in ends], 0) / (max(completion, 1) * served.max_leaf_weight)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "baicai": costs(plan, read)
        | {"leaves": {name: round(share, 4) for name, share in zip(plan.leaves, shares_G.tolist(), strict=True)}},
    }


def costs(plan: Plan, read: int) -> Values:
    """Return what so many tokens cost that went through the model, beside a dense model of the same size."""
    cost = plan.served.costs[len(plan.leaves)]
    return {
        "active_parameters": cost.active_parameters,
        "total_parameters": cost.total_parameters,
        "flops": read * cost.flops_per_token,
        "dense_flops": read * plan.served.dense_flops_per_token,
    }


def event(value: Mapping[str, Any]) -> bytes:
    """Return an event with some data."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


async def _events(told: AsyncGenerator[Values, None], include_usage: bool) -> AsyncGenerator[bytes, None]:
    begun, blank = False, {"usage": None} if include_usage else {}
    try:
        async for chunk in told:
            if chunk["choices"] or include_usage:
                yield event(blank | chunk)
                begun = True
    except BaicaiError as error:
        if not begun:
            raise
        yield event(error_body(to_api_error(error)))
        return
    yield DONE


async def _after(first: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for one in rest:
        yield one


class _EventStream(StreamingResponse):
    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], source: AsyncGenerator[Values, None]) -> None:
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_after(first, events), headers=headers, media_type="text/event-stream")
        self._events, self._source = events, source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source), aclosing(self._events):
            await super().__call__(scope, receive, send)


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """Return what comes of some work, which is cancelled if the client goes.

    Raises: ApiError if it has gone
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ApiError("The client has gone.", status=499)
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def merged(answers: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T], None]:
    """Yield what the generators do, each as soon as it comes, with their numbers; closing this one closes them."""
    if len(answers) == 1:  # most requests want one, which needs no task for each piece
        async with aclosing(answers[0]) as answer:
            async for one in answer:
                yield 0, one
        return
    waiting = {asyncio.ensure_future(anext(answer, None)): number for number, answer in enumerate(answers)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=waiting.__getitem__):
                number = waiting.pop(task)
                told = task.result()
                if told is not None:
                    waiting[asyncio.ensure_future(anext(answers[number], None))] = number
                    yield number, told
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for answer in answers:
            await answer.aclose()
