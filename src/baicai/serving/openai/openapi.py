"""The API described: as OpenAPI, and as a page that needs nothing from elsewhere."""

import json
import re
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

import baicai
from baicai.serving.openai.requests import NULL
from baicai.serving.openai.response_models import Refusal

_REFERENCE = "#/components/schemas/{model}"
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"description": told, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Refusal"}}}}
    for status, told in (
        ("4XX", "What was asked is refused."),
        ("5XX", "The server failed, or its engine has stopped: `Retry-After` says when it is worth another try."),
    )
}
"""What every route may answer instead."""
_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
_STYLE = """:root{color-scheme:light dark}body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}
td{padding-right:2rem}code{overflow-wrap:anywhere}"""


def gives(answer: type[BaseModel], *, events: bool = False) -> dict[str, Any]:
    """Return what is said of a route about its answer, which may come as events."""
    content: dict[str, Any] = {"text/event-stream": {}} if events else {}
    return {"responses": {200: {"model": answer, "description": answer.__doc__, "content": content}}}


def takes(body: type[BaseModel], answer: type[BaseModel]) -> dict[str, Any]:
    """Return what is said of a route about its body and its answer."""
    schema = body.model_json_schema(ref_template=_REFERENCE)
    about = {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
    return {"openapi_extra": about, **gives(answer, events="stream" in body.model_fields)}


def describe_api(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of a server."""
    found = get_openapi(title=app.title, version=baicai.__version__, routes=app.routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    parts = [Refusal.model_json_schema(ref_template=_REFERENCE)]
    for about in (about for methods in found["paths"].values() for about in methods.values() if "requestBody" in about):
        content = about["requestBody"]["content"]["application/json"]
        parts.append(content["schema"])
        content["schema"] = {"$ref": _REFERENCE.format(model=parts[-1]["title"])}
    for schema in parts:
        schemas |= {schema["title"]: schema, **schema.pop("$defs", {})}
    found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"key": []}, {}]
    return found


def page(document: dict[str, Any]) -> str:
    """Return the document as a page."""
    schemas, parts, objects = document["components"]["schemas"], list[str](), dict[str, Any]()
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


def _collect(part: dict[str, Any], schemas: dict[str, Any], found: dict[str, Any]) -> None:
    """Add the objects that a schema names, and those that they name."""
    for name in re.findall(_REFERENCE.format(model=r"(\w+)"), json.dumps(part)):
        if name not in found:
            found[name] = schemas[name]
            _collect(schemas[name], schemas, found)


def _table(schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = (
        f"<tr><td><code>{escape(name)}</code><td>{_kind(about)}<td>{'needed' if name in needed else ''}</tr>"
        for name, about in schema["properties"].items()
    )
    return f"<table>{''.join(rows)}</table>"


def _kind(about: dict[str, Any]) -> str:
    if "$ref" in about:
        name = escape(about["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in about:
        return " or ".join(_kind(one) for one in about["anyOf"] if one != NULL)
    if about.get("type") == "array":
        return f"list of {_kind(about.get('items', {}))}"
    return escape(str(about.get("type", "anything")))
