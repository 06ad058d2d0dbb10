"""Captures in files: pages and text, tables, dumps of MediaWiki, and archives of any of these."""

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
from baicai.wholesale.sources.decompression_limits import is_bomb, read_whole
from baicai.wholesale.sources.media_types import PLAIN, file_type
from baicai.wholesale.sources.mediawiki_dump import is_dump, read_dump
from baicai.wholesale.sources.warc import SkipCounts

VERSION = 1
"""To be raised when the same files give other captures."""


def read_files(path: Path, url: str, scratch: Path) -> Iterator[Capture | str]:
    """Yield the captures in a file or folder, and why something is none; WARC files lying there are left out.

    Addresses are `url`, or `file:`, and the name of the file; members of an archive are named as if it were a folder.
    `scratch` is a folder to write to.
    """
    for file, name in corpus_files(path):
        kind, changed = file_type(name), datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
        if kind.format == "archive":
            within = "" if file == path else f"{name}/"
            for member in read_members(file, scratch):
                if isinstance(member, str):
                    yield member
                    continue
                yield from _read(member.path, within + member.name, url, member.changed or changed)
        elif kind.format != "WARC":
            yield from _read(file, name, url, changed)


def _read(file: Path, name: str, url: str, changed: datetime) -> Iterator[Capture | str]:
    """Yield the captures in one file, which is no archive."""
    kind, base = file_type(name), f"{url.rstrip('/')}/" if url else "file:"
    if kind.format == "WARC":
        skips: SkipCounts = Counter()
        yield from read_captures(file, skips)
        for reason, count in skips.items():
            yield from repeat(reason, count)
    elif kind.format == "table":
        yield from _read_table(file, name, base + name, changed)
    elif kind.format == "nothing":
        yield f"media type {kind.media_type}"
    elif is_dump(file):
        yield from read_dump(file, base)
    else:
        content = read_whole(file, MAX_DOCUMENT_BYTES)
        charset = "utf-8" if kind.media_type == PLAIN[0] else ""
        yield content if isinstance(content, str) else Capture(base + name, changed, kind.media_type, charset, content)


def _read_table(file: Path, name: str, address: str, changed: datetime) -> Iterator[Capture | str]:
    if is_compressed(file) and is_bomb(file):
        yield "unpacks to far too much"
        return
    try:
        for document in read_table(file, PurePosixPath(name).name, "", ""):
            if isinstance(document, DataError):
                yield "bad line" if file.suffix.lower() != ".parquet" else "bad row"
                continue
            text = "\n\n".join(document.contents)
            place = document.id if "://" in document.id else f"{address}#{document.id}"
            yield Capture(place, changed, PLAIN[0], "utf-8", text.encode(), document.licence)
    except DataError:
        yield "cannot be read"
