"""Read documents from files and folders, one at a time and in a fixed order.

The suffix decides how a file is read; `.gz`, `.zst`, `.bz2` and `.xz` are decompressed first:

    .jsonl .ndjson   one document per line, with the fields `text` or `messages`, and `id`, `source`, `license`
    .parquet         the same fields as columns
    .html .htm       one document: the text of the page
    other            one document: the file itself, as UTF-8

Hidden files and symbolic links inside a folder are skipped, so nothing outside the folder is read.
"""

import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl

from baicai.artefact import file_hash
from baicai.data.compression import is_compressed, open_decompressed, read_errors
from baicai.data.document import MAX_DOCUMENT_BYTES, Document, Message, Role, check_size, parse_record, raise_on_error
from baicai.data.html_text import html_to_text
from baicai.data.tabular import hub_version, is_saved_dataset, read_hub, read_parquet, read_saved_dataset
from baicai.errors import DataError

if TYPE_CHECKING:
    from baicai.synthesis import SyntheticText

VERSION = 1
"""Version of the readers; raise it when the same files give different documents, so that no stale tokens are used."""

JSONL_SUFFIXES = (".jsonl", ".ndjson")
GENERATOR_PREFIX, HUB_PREFIX = "generator:", "hf:"


def read_documents(source: str | Path, *, licence: str = "unknown") -> Iterator[Document]:
    """Read the documents of a source, skipping those without text.

    Args:
        source: file, folder, `hf:owner/name[:config][:split]` or `generator:NAME?key=value&...`.
        licence: licence of documents that do not name their own.

    Raises: DataError naming the file and the line or byte that cannot be read.

    Example:
        for document in read_documents("corpus/", licence="CC0-1.0"):
            print(document.id, len(document.text))
    """
    text = str(source)
    if text.startswith(GENERATOR_PREFIX):
        return _generate(text)
    if text.startswith(HUB_PREFIX):
        return read_hub(text, licence)
    path = _existing_path(text)
    if path.is_dir() and is_saved_dataset(path):
        return read_saved_dataset(path, licence)
    return _read_files(path, licence)


def fingerprint(source: str | Path) -> list[Any]:
    """Return plain values that change whenever the documents of a source may have changed.

    They cover names and contents of files, the commit of a hub data set, or arguments, code and Python version of a
    generator.

    Raises: DataError
    """
    text = str(source)
    if text.startswith(HUB_PREFIX):
        return [VERSION, text, hub_version(text)]
    if text.startswith(GENERATOR_PREFIX):  # the Python version counts because some generators read its standard library
        code = (entry for entry in _hashes(Path(__file__).parents[1] / "synthesis") if not entry[0].endswith(".pyc"))
        return [VERSION, text, sys.version, list(code)]
    path = _existing_path(text)
    return [VERSION, path.resolve().name, _hashes(path)]


def _hashes(path: Path) -> list[list[str]]:
    with read_errors(path):
        return [[relative, file_hash(file)] for file, relative in corpus_files(path)]


def _generate(source: str) -> Iterator[Document]:
    from baicai.synthesis import generate

    name, _, query = source.removeprefix(GENERATOR_PREFIX).partition("?")
    try:
        parameters = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise DataError(f"{source}: '{query}' must have the form key=value&key=value") from None
    return map(_to_document, generate(name, dict(parameters)))


def _to_document(text: "SyntheticText") -> Document:
    messages = tuple(Message(cast(Role, role), content) for role, content in text.messages)
    return Document(text.id, text.text, text.source, text.licence, messages)


def _existing_path(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise DataError(f"corpus {path} does not exist: check the path")
    return path


def corpus_files(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield each file to read with its path relative to `path`, sorted within each folder."""
    if path.is_dir():
        yield from _files_below(path, path)
    else:
        yield path, _printable(path.name)


def _files_below(folder: Path, root: Path) -> Iterator[tuple[Path, str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"folder {folder} cannot be read ({error.strerror}): fix its permissions or leave it out"
        ) from None
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(Path(entry.path), root)
        elif entry.is_file(follow_symlinks=False):
            path = Path(entry.path)
            yield path, _printable(path.relative_to(root).as_posix())


def _printable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")


def _read_files(path: Path, licence: str) -> Iterator[Document]:
    source = _printable(path.resolve().name)
    files = 0
    for file, relative in corpus_files(path):
        files += 1
        yield from _read_file(file, relative, source, licence)
    if not files:
        raise DataError(f"folder {path} has no files to read: hidden files and symbolic links are skipped")


def is_table(path: Path) -> bool:
    """Return whether a file has one document per line or row, judged by its name."""
    return _suffix(path) in JSONL_SUFFIXES or path.suffix.lower() == ".parquet"


def read_table(path: Path, relative: str, source: str, licence: str) -> Iterator[Document | DataError]:
    """Yield the documents of a table; an invalid line or row yields its error.

    Raises: DataError if the rest of the file cannot be read.
    """
    read = _read_lines if _suffix(path) in JSONL_SUFFIXES else read_parquet
    return read(path, relative, source, licence)


def _read_file(path: Path, relative: str, source: str, licence: str) -> Iterator[Document]:
    if is_table(path):
        yield from raise_on_error(read_table(path, relative, source, licence))
        return
    text = _decode(_read_all(path), path)
    text = html_to_text(text) if _suffix(path) in (".html", ".htm") else text
    if text.strip():
        yield Document(id=relative, text=text, source=source, licence=licence)


def _suffix(path: Path) -> str:
    return Path(path.stem if is_compressed(path) else path.name).suffix.lower()


def _read_lines(path: Path, relative: str, source: str, licence: str) -> Iterator[Document | DataError]:
    with open_decompressed(path) as file:
        for number in itertools.count(1):
            line = file.readline(MAX_DOCUMENT_BYTES + 1)
            if not line:
                break
            try:
                check_size(len(line), f"{path}:{number}")
                document = _parse_line(line, f"{path}:{number}", f"{relative}:{number}", source, licence)
            except DataError as error:
                yield error
                while line and not line.endswith(b"\n"):
                    line = file.readline(MAX_DOCUMENT_BYTES)
                continue
            if document is not None:
                yield document


def _parse_line(line: bytes, where: str, name: str, source: str, licence: str) -> Document | None:
    if not line.strip():
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid JSON ({error}): repair or remove the line") from None
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object with text or messages, got {type(record).__name__}")
    return parse_record(record, where, name=name, source=source, licence=licence)


def _read_all(path: Path) -> bytes:
    with open_decompressed(path) as file:
        content = file.read(MAX_DOCUMENT_BYTES + 1)
    check_size(len(content), str(path))
    return content


def _decode(content: bytes, path: Path) -> str:
    try:
        text = content.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 at byte {error.start}: convert it (iconv -f LATIN1 -t UTF-8) or leave it out"
        ) from None
    if "\0" in text:
        raise DataError(f"{path} is not text (byte {content.index(0)} is NUL): convert it to UTF-8 or leave it out")
    return text
