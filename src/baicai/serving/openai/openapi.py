"""The OpenAPI document of the server, and a self-contained HTML page of it."""

import json
import re
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue

import baicai
from baicai.serving.openai.requests import NULL
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
_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
_STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}
td{padding-right:2rem}code{overflow-wrap:anywhere}"""


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


def page(document: JsonObject) -> str:
    """Return the document as a page."""
    schemas, parts, objects = document["components"]["schemas"], list[str](), dict[str, JsonSchemaValue]()
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(about['description'])}</p>")
            if "requestBody" in about:
                reference = about["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                body = schemas[reference.rpartition("/")[2]]
                parts.append(_table(body))
                _collect(body, schemas, objects)
    for name, schema in objects.items():
        if "properties" in schema:
            parts.append(f'<h2 id="{name}"><code>{name}</code></h2><p>{escape(schema.get("description", ""))}</p>')
            parts.append(_table(schema))
    title = f"{document['info']['title']} {document['info']['version']}"
    head = f"{_HEAD}<title>{title}</title><style>{_STYLE}</style>"
    return f'{head}<h1>{title}</h1><p>As <a href="openapi.json">OpenAPI</a>.</p>{"".join(parts)}</html>'


def _collect(part: JsonSchemaValue, schemas: dict[str, JsonSchemaValue], found: dict[str, JsonSchemaValue]) -> None:
    """Add the objects that a schema names, and those that they name."""
    for name in re.findall(_REFERENCE.format(model=r"(\w+)"), json.dumps(part)):
        if name not in found:
            found[name] = schemas[name]
            _collect(schemas[name], schemas, found)


def _table(schema: JsonSchemaValue) -> str:
    needed = schema.get("required", ())
    rows = (
        f"<tr><td><code>{escape(name)}</code><td>{_kind(about)}<td>{'needed' if name in needed else ''}</tr>"
        for name, about in schema["properties"].items()
    )
    return f"<table>{''.join(rows)}</table>"


def _kind(about: JsonSchemaValue) -> str:
    if "$ref" in about:
        name = escape(about["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in about:
        return " or ".join(_kind(one) for one in about["anyOf"] if one != NULL)
    if about.get("type") == "array":
        return f"list of {_kind(about.get('items', {}))}"
    return escape(str(about.get("type", "anything")))
