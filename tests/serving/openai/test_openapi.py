"""The page of the API shows all operations and fields, and shows hostile names as text."""

from typing import Any

from baicai.serving.openai.openapi import page
from tests.evaluation.test_report import EVIL, Page


def document(name: str, text: str) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Body"}
    inner = {"$ref": "#/components/schemas/Part"}
    operation = {"description": text, "requestBody": {"content": {"application/json": {"schema": reference}}}}
    fields = {name: {"anyOf": [{"type": "array", "items": inner}, {"type": text}, {"type": "null"}]}, "any": {}}
    return {
        "info": {"title": name, "version": "1"},
        "paths": {f"/{name}": {"post": operation, "get": {"description": "Read."}}},
        "components": {
            "schemas": {
                "Body": {"properties": fields, "required": ["any"]},
                "Part": {"description": text, "properties": {name: {"type": "string"}}},
            }
        },
    }


def test_page_shows_operations_fields_and_their_types() -> None:
    content = page(document("model", "integer")).decode()
    text = " ".join(Page(content.replace("<td>", "")).text.split())
    assert "model 1" in text
    assert "POST /model" in text
    assert "GET /modelRead." in text
    assert '<code>model</code><td>list of <a href="#Part">Part</a> or integer<td></tr>' in content
    assert "<code>any</code><td>anything<td>required</tr>" in content
    assert '<h2 id="Part"><code>Part</code></h2><p>integer</p>' in content


def test_hostile_names_are_shown_as_text() -> None:
    hostile, plain = (page(document(name, name)).decode().replace("<td>", "") for name in (EVIL, "plain"))
    assert [tag for tag, _ in Page(hostile).tags] == [tag for tag, _ in Page(plain).tags]
    assert "script" not in {tag for tag, _ in Page(hostile).tags}
    assert Page(hostile).text.count(EVIL) == 9
