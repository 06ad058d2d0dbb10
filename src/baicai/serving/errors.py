"""What a client is told when it does not get an answer: OpenAI's error form, for every error there is."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import JSONResponse

from baicai.errors import BaicaiError
from baicai.serving.engine.client import EngineStoppedError, QueueFullError

RETRY_SECONDS = 1
_KINDS = {
    "string": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
}
_GOT = {str: "a string", int: "an integer", float: "a number", bool: "a boolean", list: "an array", dict: "an object"}
_LIMITS = {
    "greater_than_equal": ("ge", "below_min_value", ">="),
    "greater_than": ("gt", "below_min_value", ">"),
    "less_than_equal": ("le", "above_max_value", "<="),
    "less_than": ("lt", "above_max_value", "<"),
}


class ApiError(BaicaiError):
    """A request that is refused."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def to_api_error(error: BaicaiError) -> ApiError:
    """Return an error as what a client is told."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return ApiError(str(error), code="rate_limit_exceeded", status=429)
        case EngineStoppedError():
            return ApiError(str(error), code="engine_stopped", status=503)
    return ApiError(str(error), code="invalid_value")


def error_body(error: ApiError) -> dict[str, Any]:
    """Return what is sent, as JSON values."""
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    if error.status == 429:
        kind = "rate_limit_error"
    return {"error": {"message": str(error), "type": kind, "param": error.param, "code": error.code}}


def error_response(error: ApiError) -> JSONResponse:
    """Return what is sent; whoever should come back is told when, and whose connection is of no use is sent away."""
    headers = {429: {"Retry-After": str(RETRY_SECONDS)}, 503: {"Retry-After": str(RETRY_SECONDS)}}
    away = {status: {"Connection": "close"} for status in (408, 413, 500)}
    told = {401: {"WWW-Authenticate": "Bearer"}}
    return JSONResponse(error_body(error), error.status, (headers | away | told).get(error.status))


def explain_validation_error(error: ValidationError | RequestValidationError) -> ApiError:
    """Return the first thing that is wrong with a request's values, in its body or its address."""
    first = error.errors()[0]
    param, kind, given = place(first["loc"]).removeprefix("query."), first["type"], first["input"]
    about = first.get("ctx", {})
    if kind == "missing":
        return ApiError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if kind == "literal_error":
        return ApiError(
            f"Invalid value for '{param}': {_shown(given)}. Supported values are: {about['expected']}.",
            param=param,
            code="invalid_value",
        )
    if kind in _LIMITS:
        key, code, sign = _LIMITS[kind]
        number = "decimal" if isinstance(about[key], float) else "integer"
        told = f"Invalid '{param}': expected a value {sign} {about[key]}, but got {_shown(given)}."
        return ApiError(told, param=param, code=f"{number}_{code}")
    expected = next((name for key, name in _KINDS.items() if kind in (f"{key}_type", f"{key}_from_float")), None)
    if expected is not None:
        got = _GOT.get(type(given), "null")
        told = f"Invalid type for '{param}': expected {expected}, but got {got} instead."
        return ApiError(told, param=param, code="invalid_type")
    told = first["msg"].removeprefix("Value error, ")
    return ApiError(f"Invalid '{param}': {told[:1].lower()}{told[1:]}.", param=param, code="invalid_value")


def place(parts: Sequence[str | int]) -> str:
    """Return a parameter's name as OpenAI writes it: `messages[0].content`."""
    name = ""
    for part in parts:
        if isinstance(part, int):
            name += f"[{part}]"
        elif not part.startswith(("<", "[")):  # one of several forms that a value may have, or a key
            name += f".{part}" if name else part
    return name


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
