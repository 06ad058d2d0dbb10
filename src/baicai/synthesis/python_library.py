"""Source code of the Python standard library of this interpreter."""

import ast
import os
import sysconfig
import tokenize
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from baicai.synthesis.phrasing import options

PARAMETERS: dict[str, str] = {}
MAX_FILE_BYTES = 200_000
MAX_DOCUMENT_CHARACTERS = 8_000
_SKIPPED = options("test|tests|idlelib|lib2to3|site-packages|dist-packages|encodings|pydoc_data|_bundled|turtledemo")


def library_folder() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


def files() -> list[str]:
    """Return the library's modules as relative paths, without tests, encoding tables and huge files."""
    modules = []
    for folder, names, files in os.walk(library_folder()):
        names[:] = [name for name in names if name not in _SKIPPED]
        paths = [Path(folder, file) for file in files if file.endswith(".py") and not file.startswith("_sysconfigdata")]
        modules += [path for path in paths if path.stat().st_size <= MAX_FILE_BYTES]
    return [path.relative_to(library_folder()).as_posix() for path in modules]


def source(file: str) -> str:
    with tokenize.open(library_folder() / file) as stream:
        return stream.read()


def texts(file: str) -> Iterator[str]:
    """Yield the file in pieces of at most 8,000 characters, cut where definitions begin."""
    text = source(file)
    lines = text.splitlines(keepends=True)
    starts = sorted({0, *_starts(ast.parse(text).body, lines), len(lines)})
    pieces = ["".join(lines[begin:end]) for begin, end in pairwise(starts)]
    yield from pack(pieces, MAX_DOCUMENT_CHARACTERS)


def pack(pieces: Sequence[str], limit: int) -> Iterator[str]:
    """Merge neighbouring pieces up to the limit, split larger ones at line ends, and skip blank ones."""
    held = ""
    for piece in pieces:
        if held and len(held) + len(piece) > limit:
            if held.strip():
                yield held.strip("\n") + "\n"
            held = ""
        while len(piece) > limit:
            cut = piece.rfind("\n", 0, limit) + 1 or limit
            yield piece[:cut].strip("\n") + "\n"
            piece = piece[cut:]
        held += piece
    if held.strip():
        yield held.strip("\n") + "\n"


def _starts(nodes: Sequence[ast.stmt], lines: list[str]) -> Iterator[int]:
    """Yield the first lines of statements, from 0, with decorators and comments, also inside very large ones."""
    for node in nodes:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1
        while first and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        yield first
        if sum(map(len, lines[first : node.end_lineno])) > MAX_DOCUMENT_CHARACTERS:
            yield from _starts(getattr(node, "body", []), lines)
