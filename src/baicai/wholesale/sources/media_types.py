"""File types and media types by file name."""

import mimetypes
from pathlib import Path
from typing import Literal, NamedTuple

from baicai.data.compression import is_compressed
from baicai.data.readers import is_table

HTML = ("text/html", "application/xhtml+xml")
PLAIN = ("text/plain", "text/markdown")
WIKITEXT = "text/x-wiki"
WARC = (".warc", ".warc.gz", ".warc.zst")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
TEXT = (".toml", ".json", ".yaml", ".yml", ".md", ".rst", ".tex", ".xml", ".csv", ".tsv")
"""Suffixes of text files to which the system may assign another media type."""


class FileType(NamedTuple):
    """The format of a file, and the media type if it holds a single document."""

    format: Literal["WARC", "archive", "table", "document", "unsupported"]
    media_type: str = ""


def file_type(name: str) -> FileType:
    """Determine the type of a file from its name."""
    name, path = name.lower(), Path(name)
    if name.endswith(WARC):
        return FileType("WARC")
    if name.endswith(ARCHIVES):
        return FileType("archive")
    if is_table(path):
        return FileType("table")
    name = name.removesuffix(path.suffix.lower()) if is_compressed(path) else name
    media_type = mimetypes.guess_type(name)[0] or PLAIN[0]
    if media_type in HTML:
        return FileType("document", media_type)
    if media_type.startswith("text/") or name.endswith(TEXT):
        return FileType("document", PLAIN[0])
    return FileType("unsupported", media_type)
