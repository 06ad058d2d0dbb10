"""English reference prose that ships with Python: help topics and docstrings of the standard library."""

import ast
import inspect
from collections.abc import Iterator
from pydoc_data.topics import topics

from baicai.synthesis import python_library

PARAMETERS: dict[str, str] = {}
MIN_CHARACTERS = 200


def files() -> list[str]:
    """Return the help topics as "topic:name", and the library's modules as their paths."""
    return [f"topic:{name}" for name in topics] + python_library.files()


def texts(file: str) -> Iterator[str]:
    """Yield the prose of a topic or a module, in pieces of at most 8,000 characters; short prose is skipped."""
    kind, _, name = file.partition(":")
    paragraphs = topics[name].split("\n\n") if kind == "topic" else list(_docstrings(file))
    if sum(map(len, paragraphs)) >= MIN_CHARACTERS:
        yield from python_library.pack(
            [paragraph.rstrip() + "\n\n" for paragraph in paragraphs], python_library.MAX_DOCUMENT_CHARACTERS
        )


def _docstrings(file: str) -> Iterator[str]:
    """Yield the docstrings of a module and its public classes and functions, without importing it."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    tree = ast.parse(python_library.source(file))
    if text := ast.get_docstring(tree):
        yield f"{module}\n\n{text}"
    yield from _definitions(tree.body, module)


def _definitions(nodes: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in nodes:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        name = f"{prefix}.{node.name}"
        if text := ast.get_docstring(node, clean=False):
            signature = "" if isinstance(node, ast.ClassDef) else f"({ast.unparse(node.args)})"
            body = inspect.cleandoc(text).replace("\n", "\n    ").replace("    \n", "\n")
            yield f"{name}{signature}\n    {body}"
        if isinstance(node, ast.ClassDef):
            yield from _definitions(node.body, name)
