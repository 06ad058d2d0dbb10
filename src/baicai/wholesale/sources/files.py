"""Captures from files: pages and text, tables, MediaWiki dumps, and archives of any of these."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import repeat
from pathlib import Path, PurePosixPath

from baicai.data.compression import is_compressed
from baicai.data.document import MAX_DOCUMENT_BYTES
from baicai.data.readers import corpus_files, read_table
from baicai.errors import DataError
from baicai.wholesale.sources.archives import read_members
from baicai.wholesale.sources.captures import Capture, read_captures
from baicai.wholesale.sources.decompression_limits import is_bomb, read_limited
from baicai.wholesale.sources.media_types import PLAIN, file_type
from baicai.wholesale.sources.mediawiki_dump import is_dump, read_dump
from baicai.wholesale.sources.warc import SkipCounts

VERSION = 1
"""Increase when the same files give other captures."""


def read_files(path: Path, url: str, scratch: Path) -> Iterator[Capture | str]:
    """Yield the captures in a file or folder, and a reason (a string) for everything that is skipped.

    WARC files that are not inside an archive are left out.

    Args:
        path: the file or folder.
        url: prefix of the captures' URLs, to which the file name is appended; `file:` if empty. An archive counts as a
            folder with its members.
        scratch: an existing folder for temporary files.
    """
    for file, name in corpus_files(path):
        kind, modified = file_type(name), datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
        if kind.format == "archive":
            prefix = "" if file == path else f"{name}/"
            for member in read_members(file, scratch):
                if isinstance(member, str):
                    yield member
                    continue
                yield from _read(member.path, prefix + member.name, url, member.modified or modified)
        elif kind.format != "WARC":
            yield from _read(file, name, url, modified)


def _read(file: Path, name: str, url: str, modified: datetime) -> Iterator[Capture | str]:
    """Yield the captures in a file that is not an archive."""
    kind, base = file_type(name), f"{url.rstrip('/')}/" if url else "file:"
    if kind.format == "WARC":
        skips: SkipCounts = Counter()
        yield from read_captures(file, skips)
        for reason, count in skips.items():
            yield from repeat(reason, count)
    elif kind.format == "table":
        yield from _read_table(file, name, base + name, modified)
    elif kind.format == "unsupported":
        yield f"media type {kind.media_type}"
    elif is_dump(file):
        yield from read_dump(file, base)
    else:
        content = read_limited(file, MAX_DOCUMENT_BYTES)
        charset = "utf-8" if kind.media_type == PLAIN[0] else ""
        yield content if isinstance(content, str) else Capture(base + name, modified, kind.media_type, charset, content)


def _read_table(file: Path, name: str, url: str, modified: datetime) -> Iterator[Capture | str]:
    if is_compressed(file) and is_bomb(file):
        yield "unpacks to far too much"
        return
    try:
        for document in read_table(file, PurePosixPath(name).name, "", ""):
            if isinstance(document, DataError):
                yield "bad line" if file.suffix.lower() != ".parquet" else "bad row"
                continue
            text = "\n\n".join(document.contents)
            document_url = document.id if "://" in document.id else f"{url}#{document.id}"
            yield Capture(document_url, modified, PLAIN[0], "utf-8", text.encode(), document.licence)
    except DataError:
        yield "cannot be read"
