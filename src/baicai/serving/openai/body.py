"""Reading what clients send, who may send anything."""

import asyncio
import json
import math
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError, explain_validation_error
from baicai.serving.openai.requests import OWN

MAX_DEPTH = 32
MAX_MEMBERS = 2**15
"""Of all objects together: checking one takes a hundred times as long as reading it."""
READ_ON = 8
"""A body that is too large is read on, up to so many times what is allowed: who still sends does not hear an answer."""
MAX_COMPARED = 100
"""Unknown fields of a body whose names are looked at: that takes longer than reading them."""
NEARLY = 0.7
"""Of difflib's ratio: by its own 0.6, OpenAI's `reasoning` would be our `routing`."""
B = TypeVar("B", bound=BaseModel)


async def read_body(request: Request, kind: type[B], config: ServeRecipe) -> B:
    """Return the request in a body.

    Raises: ApiError
    """
    value = parse(await _read(request, config))
    if not isinstance(value, dict):
        raise ApiError("The body must be a JSON object.", code="invalid_type")
    _check_spelling(value, kind)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise explain_validation_error(error) from None


def _check_spelling(value: dict[str, Any], kind: type[BaseModel]) -> None:
    """Refuse a field that is nearly one of ours; others that are unknown are ignored, as OpenAI's clients expect."""
    unknown = list(islice((name for name in value if name not in kind.model_fields), MAX_COMPARED))
    for word, field in OWN.items():
        for near in get_close_matches(word, unknown, n=1, cutoff=NEARLY) if field in kind.model_fields else ():
            told = f"Unknown parameter: {near!r}. Did you mean '{field}'?"
            raise ApiError(told, param=near, code="unknown_parameter")


async def _read(request: Request, config: ServeRecipe) -> bytes:
    most, body, size = config.max_body_bytes, bytearray(), 0
    too_large = ApiError(f"The body is larger than {most} bytes.", code="request_too_large", status=413)
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal() or int(claimed) > READ_ON * most:
        raise too_large
    try:
        async with asyncio.timeout(config.timeout_seconds):
            async for part in request.stream():
                size += len(part)
                if size <= most:
                    body += part
                elif size > READ_ON * most:
                    raise too_large
    except TimeoutError:
        told = f"The body did not come within {config.timeout_seconds:g} seconds."
        raise ApiError(told, code="request_timeout", status=408) from None
    except ClientDisconnect:
        raise ApiError("The client has gone.", status=499) from None
    if size > most:
        raise too_large
    return bytes(body)


def parse(body: bytes) -> Any:
    """Return the value in a JSON text, without anything that cannot be handed on.

    Raises: ApiError
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_float=_number, parse_constant=_no_number)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise ApiError(f"The body is not JSON: {error}.", code="invalid_json") from None
    _check(value)
    return value


def _check(value: object) -> None:
    level, members = [value], 0
    for _ in range(MAX_DEPTH):
        inner = list[object]()
        for one in level:
            if isinstance(one, dict):
                members += 1 + len(one)
                inner += [*one.keys(), *one.values()]
            elif isinstance(one, list):
                inner += one
            elif isinstance(one, str) and not one.isascii():
                _check_text(one)
        if members > MAX_MEMBERS:
            told = f"The body's objects have more than {MAX_MEMBERS} members."
            raise ApiError(told, code="request_too_large", status=413)
        if not inner:
            return
        level = inner
    raise _too_deep()


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        told = "A text holds half of a surrogate pair, which is no text: mend or remove it."
        raise ApiError(told, code="invalid_unicode") from None


def _too_deep() -> ApiError:
    return ApiError(f"The body is nested more than {MAX_DEPTH} deep.", code="invalid_json")


def _number(text: str) -> float:
    """Return what is written: to JSON Schema, and so to clients, 1.0 is an integer."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is larger than a number can be")
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
