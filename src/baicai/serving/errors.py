"""API errors in OpenAI's format."""

from collections.abc import Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.responses import JSONResponse

from baicai.errors import BaicaiError
from baicai.serving.engine.client import EngineStoppedError, QueueFullError

RETRY_SECONDS = 1
_TYPE_NAMES = {
    "string": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
}
"""JSON types by the prefix of pydantic's error type."""
_VALUE_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}
_LIMITS = {
    "greater_than_equal": ("ge", "below_min_value", ">="),
    "greater_than": ("gt", "below_min_value", ">"),
    "less_than_equal": ("le", "above_max_value", "<="),
    "less_than": ("lt", "above_max_value", "<"),
}
"""Key of the limit in pydantic's error context, OpenAI's error code, and the comparison."""
_RETRY_HEADER = {"Retry-After": str(RETRY_SECONDS)}
_CLOSE_HEADER = {"Connection": "close"}
_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    408: _CLOSE_HEADER,
    413: _CLOSE_HEADER,
    429: _RETRY_HEADER,
    500: _CLOSE_HEADER,
    503: _RETRY_HEADER,
}
"""Headers of an error response by its status."""


class ApiError(BaicaiError):
    """A rejected request: message, parameter and code of the response, and its HTTP status."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.code, self.status = param, code, status


def to_api_error(error: BaicaiError) -> ApiError:
    """Convert an error to the API error that the client receives."""
    match error:
        case ApiError():
            return error
        case QueueFullError():
            return ApiError(str(error), code="rate_limit_exceeded", status=429)
        case EngineStoppedError():
            return ApiError(str(error), code="engine_stopped", status=503)
    return ApiError(str(error), code="invalid_value")


def error_body(error: ApiError) -> dict[str, Any]:
    """Build the JSON body of an error response."""
    error_type = "server_error" if error.status >= 500 else "invalid_request_error"
    if error.status == 429:
        error_type = "rate_limit_error"
    return {"error": {"message": str(error), "type": error_type, "param": error.param, "code": error.code}}


def error_response(error: ApiError) -> JSONResponse:
    """Build the error response, with `Retry-After`, `WWW-Authenticate` or `Connection: close` where they apply."""
    return JSONResponse(error_body(error), error.status, _HEADERS.get(error.status))


def explain_validation_error(error: ValidationError | RequestValidationError) -> ApiError:
    """Convert the first validation error of a request's body or query to an API error."""
    first = error.errors()[0]
    param, kind, value = parameter_name(first["loc"]).removeprefix("query."), first["type"], first["input"]
    context = first.get("ctx", {})
    if kind == "missing":
        return ApiError(f"Missing required parameter: '{param}'.", param=param, code="missing_required_parameter")
    if kind == "literal_error":
        message = f"Invalid value for '{param}': {_shorten(value)}. Supported values are: {context['expected']}."
        return ApiError(message, param=param, code="invalid_value")
    if kind in _LIMITS:
        key, code, comparison = _LIMITS[kind]
        number = "decimal" if isinstance(context[key], float) else "integer"
        message = f"Invalid '{param}': expected a value {comparison} {context[key]}, but got {_shorten(value)}."
        return ApiError(message, param=param, code=f"{number}_{code}")
    expected = next((name for key, name in _TYPE_NAMES.items() if kind in (f"{key}_type", f"{key}_from_float")), None)
    if expected is not None:
        actual = _VALUE_NAMES.get(type(value), "null")
        message = f"Invalid type for '{param}': expected {expected}, but got {actual} instead."
        return ApiError(message, param=param, code="invalid_type")
    message = first["msg"].removeprefix("Value error, ")
    return ApiError(f"Invalid '{param}': {message[:1].lower()}{message[1:]}.", param=param, code="invalid_value")


def parameter_name(location: Sequence[str | int]) -> str:
    """Format the location of a value as OpenAI does: `messages[0].content`."""
    name = ""
    for part in location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif not part.startswith(("<", "[")):  # Pydantic's markers of a union's member or of a key
            name += f".{part}" if name else part
    return name


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
