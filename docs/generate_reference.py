"""MkDocs hook: generate the command-line, recipe and HTTP references from the code that they describe."""

import ast
import dataclasses
import importlib
import inspect
import json
import textwrap
from collections.abc import Iterator
from typing import Any, get_args

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import TypeAdapter
from pydantic_core import to_jsonable_python

from baicai.cli.arguments import RecipeArgument
from baicai.cli.main import cli

NOT_SHOWN = (None, dataclasses.MISSING)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to the site."""
    pages = {"cli.md": cli_page(), "recipes.md": recipes_page(), "http.md": http_page()}
    for name, content in pages.items():
        files.append(File.generated(config, f"reference/{name}", content=content))
    return files


def commands(group: click.Group, prefix: str) -> Iterator[tuple[str, click.Command]]:
    """Yield every command below a group with the words that call it."""
    for name, command in sorted(group.commands.items()):
        words = f"{prefix} {name}"
        yield words, command
        if isinstance(command, click.Group):
            yield from commands(command, words)


def cli_page() -> str:
    """Return the command-line reference: the help text of every verb."""
    lines = ["# Command line", "", "The keys of each verb are explained in [Recipes](recipes.md).", ""]
    for words, command in [("baicai", cli), *commands(cli, "baicai")]:
        context = click.Context(command, info_name=words, max_content_width=100, terminal_width=100)
        lines += [f"## {words}", "", "```text", command.get_help(context), "```", ""]
    return "\n".join(lines)


def recipe_classes() -> dict[str, tuple[str, type]]:
    """Return the recipe class of each verb that has one, with the verb's words."""
    classes: dict[str, tuple[str, type]] = {}
    for words, command in commands(cli, "baicai"):
        for argument in command.params:
            if isinstance(argument, RecipeArgument):
                kind = getattr(importlib.import_module(argument.module), argument.recipe)
                classes[words] = (command.get_short_help_str(limit=200), kind)
    return classes


def recipes_page() -> str:
    """Return the recipe reference: every key of every verb, with type, default and description."""
    lines = [
        "# Recipes",
        "",
        "A recipe is a TOML file, `key=value` words on the command line, or keyword arguments in Python; words and ",
        "keyword arguments win over the file. A dot reaches into a table: `train.tokens=200_000`.",
        "",
    ]
    nested: dict[str, type] = {}
    for words, (help_text, kind) in recipe_classes().items():
        lines += [f"## {words}", "", help_text, "", *key_table(kind, nested), ""]
    lines += ["## Tables inside recipes", ""]
    written: set[str] = set()
    while pending := [name for name in nested if name not in written]:
        for name in pending:
            written.add(name)
            lines += [f"### {name}", "", first_paragraph(nested[name]), "", *key_table(nested[name], nested), ""]
    return "\n".join(lines)


def key_table(kind: type, nested: dict[str, type]) -> list[str]:
    """Return a Markdown table of a recipe class's keys; classes of nested tables are added to `nested`."""
    schema, described = TypeAdapter(kind).json_schema(mode="validation"), descriptions(kind)
    rows = ["| key | type | default | description |", "| --- | --- | --- | --- |"]
    for field in dataclasses.fields(kind):
        for inner in recipe_types(field.type):
            nested[inner.__name__] = inner
        shape = schema.get("properties", {}).get(field.name, {})
        cells = [f"`{field.name}`", type_text(shape), default_text(field), described.get(field.name, "")]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def recipe_types(annotation: object) -> Iterator[type]:
    """Yield the recipe classes in a type annotation."""
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        yield annotation
    for part in get_args(annotation):
        yield from recipe_types(part)


def descriptions(kind: type) -> dict[str, str]:
    """Return the docstring below each field of a class, as one line."""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(node, ast.ClassDef)
    texts = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            texts[field.target.id] = " ".join(str(text.value.value).split())
    return texts


def type_text(shape: dict[str, Any]) -> str:
    """Return a JSON schema in words: "integer ≥ 1", "list of strings", or a link to a table."""
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in shape:
        return ", ".join(f"`{value}`" for value in shape["enum"])
    if "const" in shape:
        return f"`{shape['const']}`"
    if alternatives := shape.get("anyOf") or shape.get("oneOf"):
        return " or ".join(type_text(one) for one in alternatives if one.get("type") != "null")
    if shape.get("type") == "array":
        item = type_text(shape["items"]) if "items" in shape else "value"
        return f"list of {item}s" if item.isalpha() else f"list of {item}"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = ", ".join(f"{sign} {shape[key]}" for key, sign in limits.items() if key in shape)
    name = {"object": "table"}.get(shape.get("type", ""), shape.get("type", "any"))
    return f"{name} {bounds}".strip()


def default_text(field: "dataclasses.Field[Any]") -> str:
    """Return a field's default as it would be written in a recipe; "required" if it has none."""
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    elif field.default is dataclasses.MISSING:
        return "required"
    else:
        value = field.default
    if value is None or dataclasses.is_dataclass(value):
        return ""
    return f"`{json.dumps(to_jsonable_python(value), ensure_ascii=False)}`"


def first_paragraph(kind: type) -> str:
    """Return the first paragraph of a class's docstring."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def http_page() -> str:
    """Return the HTTP reference: every route of `baicai serve`, from its OpenAPI document."""
    from baicai.serving.app import make_app
    from baicai.serving.config import ServeRecipe

    document = make_app(ServeRecipe(model=""), []).openapi()
    lines = [
        "# HTTP API",
        "",
        "`baicai serve` answers OpenAI's clients. The interactive reference is at `/docs` of a running server, the ",
        "machine-readable one at `/openapi.json`.",
        "",
        "| method | path | description |",
        "| --- | --- | --- |",
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            text = route.get("description") or route.get("summary", "")
            lines.append(f"| {method.upper()} | `{path}` | {' '.join(text.split())} |")
    return "\n".join(lines)
