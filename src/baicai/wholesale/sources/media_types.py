"""How a file is read, by its name."""

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
"""Endings of text that the system may call something else."""


class FileType(NamedTuple):
    """How a file is read, if at all, and the media type of the one document in it."""

    format: Literal["WARC", "archive", "table", "document", "nothing"]
    media_type: str = ""


def file_type(name: str) -> FileType:
    """Return how a file of this name is read."""
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
    return FileType("nothing", media_type)
