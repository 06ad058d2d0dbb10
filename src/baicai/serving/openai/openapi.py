"""The OpenAPI document of the server, and a self-contained HTML page of it."""

import json
import re
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

import baicai
from baicai.evaluation.html_page import render_page
from baicai.serving.openai.response_models import ErrorResponse, JsonObject

_REFERENCE = "#/components/schemas/{model}"
_ERROR_CONTENT = {"application/json": {"schema": {"$ref": _REFERENCE.format(model="ErrorResponse")}}}
ERROR_RESPONSES: dict[int | str, JsonObject] = {
    "4XX": {"description": "The request was rejected.", "content": _ERROR_CONTENT},
    "5XX": {
        "description": "The server failed or its engine is restarting; `Retry-After` says when to try again.",
        "content": _ERROR_CONTENT,
    },
}
"""Error responses of every route."""
_PAGE = Path(__file__).parent / "templates" / "api_docs.html"


def response_docs(response: type[BaseModel], *, events: bool = False) -> dict[str, Any]:
    """Return the arguments of `add_api_route` that document a response, which may also come as server-sent events."""
    content: dict[str, JsonObject] = {"text/event-stream": {}} if events else {}
    return {"responses": {200: {"model": response, "description": response.__doc__, "content": content}}}


def route_docs(body: type[BaseModel], response: type[BaseModel]) -> dict[str, Any]:
    """Return the arguments of `add_api_route` that document a body, which the route parses itself, and a response."""
    schema = body.model_json_schema(ref_template=_REFERENCE)
    request_body = {"required": True, "content": {"application/json": {"schema": schema}}}
    extra = {"requestBody": request_body}
    return {"openapi_extra": extra, **response_docs(response, events="stream" in body.model_fields)}


def describe_api(app: FastAPI) -> JsonObject:
    """Build the OpenAPI document of a server, with the schemas of its bodies and errors as components."""
    document = get_openapi(title=app.title, version=baicai.__version__, routes=app.routes)
    component_schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas = [ErrorResponse.model_json_schema(ref_template=_REFERENCE)]
    operations = (operation for methods in document["paths"].values() for operation in methods.values())
    for operation in operations:
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            schemas.append(content["schema"])
            content["schema"] = {"$ref": _REFERENCE.format(model=schemas[-1]["title"])}
    for schema in schemas:
        component_schemas |= {schema["title"]: schema, **schema.pop("$defs", {})}
    document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}, {}]
    return document


def page(document: JsonObject) -> bytes:
    """Render the OpenAPI document as a page."""
    schemas: dict[str, JsonSchemaValue] = document["components"]["schemas"]
    bodies, objects = dict[str, dict[str, JsonSchemaValue]](), dict[str, JsonSchemaValue]()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                body = bodies.setdefault(path, {})[method] = schemas[reference.rpartition("/")[2]]
                _collect(body, schemas, objects)
    return render_page(_PAGE, document=document, bodies=bodies, objects=objects)


def _collect(part: JsonSchemaValue, schemas: dict[str, JsonSchemaValue], objects: dict[str, JsonSchemaValue]) -> None:
    """Add the schemas that a schema refers to, directly or through others, to `objects`."""
    for name in re.findall(_REFERENCE.format(model=r"(\w+)"), json.dumps(part)):
        if name not in objects:
            objects[name] = schemas[name]
            _collect(schemas[name], schemas, objects)
