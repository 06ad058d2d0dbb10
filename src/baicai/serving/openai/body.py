"""Read untrusted JSON bodies, with limits on size, depth, number of members and time."""

import asyncio
import json
import math
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from baicai.serving.config import ServeRecipe
from baicai.serving.errors import ApiError, explain_validation_error
from baicai.serving.openai.requests import EXTENSION_FIELDS

MAX_DEPTH = 32
MAX_MEMBERS = 2**15
"""Limit on the members of all objects together: validating one takes a hundred times as long as parsing it."""
DRAIN_FACTOR = 8
"""A body that is too large is read on, up to this multiple of the limit: a client that is still sending does not read
the response."""
MAX_COMPARED_FIELDS = 100
"""Unknown fields of a body that are checked for typos: the check takes longer than parsing them."""
SIMILARITY_CUTOFF = 0.7
"""Minimum ratio of difflib for a typo: at its default of 0.6, OpenAI's `reasoning` would match our `routing`."""
B = TypeVar("B", bound=BaseModel)


async def read_body(request: Request, model: type[B], config: ServeRecipe) -> B:
    """Read, parse and validate a request's body.

    Raises: ApiError
    """
    value = parse_json(await _read(request, config))
    if not isinstance(value, dict):
        raise ApiError("The body must be a JSON object.", code="invalid_type")
    _check_unknown_fields(value, model)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise explain_validation_error(error) from None


def _check_unknown_fields(names: Iterable[str], model: type[BaseModel]) -> None:
    """Reject a near miss of an extension field; other unknown fields are ignored, as OpenAI's clients expect."""
    unknown = list(islice((name for name in names if name not in model.model_fields), MAX_COMPARED_FIELDS))
    for spelling, field in EXTENSION_FIELDS.items():
        if field not in model.model_fields:
            continue
        for typo in get_close_matches(spelling, unknown, n=1, cutoff=SIMILARITY_CUTOFF):
            message = f"Unknown parameter: {typo!r}. Did you mean '{field}'?"
            raise ApiError(message, param=typo, code="unknown_parameter")


async def _read(request: Request, config: ServeRecipe) -> bytes:
    max_bytes, body, num_bytes = config.max_body_bytes, bytearray(), 0
    too_large = ApiError(f"The body is larger than {max_bytes} bytes.", code="request_too_large", status=413)
    content_length = request.headers.get("content-length", "0")
    if not content_length.isdecimal() or int(content_length) > DRAIN_FACTOR * max_bytes:
        raise too_large
    try:
        async with asyncio.timeout(config.timeout_seconds):
            async for chunk in request.stream():
                num_bytes += len(chunk)
                if num_bytes <= max_bytes:
                    body += chunk
                elif num_bytes > DRAIN_FACTOR * max_bytes:
                    raise too_large
    except TimeoutError:
        message = f"The body did not arrive within {config.timeout_seconds:g} seconds."
        raise ApiError(message, code="request_timeout", status=408) from None
    except ClientDisconnect:
        raise ApiError("The client has disconnected.", status=499) from None
    if num_bytes > max_bytes:
        raise too_large
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """Parse strict JSON: UTF-8, no NaN or infinity, no lone surrogates, and within the limits on depth and members.

    Raises: ApiError
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_float=_parse_number, parse_constant=_reject_constant)
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise ApiError(f"The body is not JSON: {error}.", code="invalid_json") from None
    _check_limits(value)
    return value


def _check_limits(value: object) -> None:
    level, num_members = [value], 0
    for _ in range(MAX_DEPTH):
        next_level = list[object]()
        for item in level:
            if isinstance(item, dict):
                num_members += 1 + len(item)
                next_level += [*item.keys(), *item.values()]
            elif isinstance(item, list):
                next_level += item
            elif isinstance(item, str) and not item.isascii():
                _check_surrogates(item)
        if num_members > MAX_MEMBERS:
            message = f"The body's objects have more than {MAX_MEMBERS} members."
            raise ApiError(message, code="request_too_large", status=413)
        if not next_level:
            return
        level = next_level
    raise _too_deep()


def _check_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        message = "A string contains half of a surrogate pair, which is not valid text; fix or remove it."
        raise ApiError(message, code="invalid_unicode") from None


def _too_deep() -> ApiError:
    return ApiError(f"The body is nested more than {MAX_DEPTH} levels deep.", code="invalid_json")


def _parse_number(text: str) -> float:
    """Parse a number with a point or an exponent; 1.0 is an integer in JSON Schema, and so it is to clients."""
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:20]} is out of range")
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not valid JSON")
