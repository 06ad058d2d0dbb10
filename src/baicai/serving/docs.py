"""The API described: as OpenAPI, and as a page that needs nothing from elsewhere."""

from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

import baicai

_REFERENCE = "#/components/schemas/{model}"
_STYLE = "body{font:16px/1.5 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}td{padding-right:2rem}"


def takes(kind: type[BaseModel]) -> dict[str, Any]:
    """Return what is said of a route about its body."""
    schema = kind.model_json_schema(ref_template=_REFERENCE)
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def describe_api(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of a server."""
    found = get_openapi(title=app.title, version=baicai.__version__, routes=app.routes)
    schemas = found.setdefault("components", {}).setdefault("schemas", {})
    for about in (about for methods in found["paths"].values() for about in methods.values() if "requestBody" in about):
        content = about["requestBody"]["content"]["application/json"]
        schema = content["schema"]
        schemas |= {schema["title"]: schema, **schema.pop("$defs", {})}
        content["schema"] = {"$ref": _REFERENCE.format(model=schema["title"])}
    found["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    found["security"] = [{"key": []}, {}]
    return found


def page(document: dict[str, Any]) -> str:
    """Return the document as a page."""
    schemas, parts = document["components"]["schemas"], []
    for path, methods in document["paths"].items():
        for method, about in methods.items():
            parts.append(f"<h2><code>{method.upper()} {escape(path)}</code></h2><p>{escape(about['description'])}</p>")
            if "requestBody" in about:
                reference = about["requestBody"]["content"]["application/json"]["schema"]["$ref"]
                parts.append(_table(schemas[reference.rpartition("/")[2]]))
    title = f"{document['info']['title']} {document['info']['version']}"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'{head}<h1>{title}</h1><p>As <a href="openapi.json">OpenAPI</a>.</p>{"".join(parts)}</html>'


def _table(schema: dict[str, Any]) -> str:
    needed = schema.get("required", ())
    rows = (
        f"<tr><td><code>{escape(name)}</code><td>{_kind(about)}<td>{'needed' if name in needed else ''}</tr>"
        for name, about in schema["properties"].items()
    )
    return f"<table>{''.join(rows)}</table>"


def _kind(about: dict[str, Any]) -> str:
    if "$ref" in about:
        return escape(about["$ref"].rpartition("/")[2])
    if "anyOf" in about:
        return " or ".join(_kind(one) for one in about["anyOf"])
    if about.get("type") == "array":
        return f"list of {_kind(about.get('items', {}))}"
    return escape(str(about.get("type", "anything")))
