"""Reads dumps of MediaWiki (pages-articles): each article's wikitext becomes a capture.

The XML is read as a stream. Dumps have no document type, so one that has is not read: no entity is ever expanded, and
nothing is fetched. What is kept at a time is a page, a tag, and the names of elements; each has a limit.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import quote
from xml.parsers import expat

from baicai.data.compression import open_decompressed
from baicai.data.document import MAX_DOCUMENT_BYTES
from baicai.errors import DataError
from baicai.wholesale.sources.captures import Capture
from baicai.wholesale.sources.decompression_limits import BLOCK_BYTES, DecompressionBombError, unpack
from baicai.wholesale.sources.media_types import WIKITEXT
from baicai.wholesale.sources.wikitext import CATEGORIES, FILES

ENDING = re.compile(r"(?i)\.xml(\.bz2|\.gz|\.zst|\.xz)?$")
HEAD_BYTES = 2**16
COMMENT, ROOT = re.compile(rb"<!--.*?-->", re.DOTALL), re.compile(rb"<([A-Za-z_][^\s/>]*)")
MAX_DEPTH, MAX_NAMES, MAX_TAG_BYTES, MAX_FIELD_CHARACTERS = 20, 1000, 2**20, 4096
"""MediaWiki's own depth is 5, and it has some 50 names of elements and attributes."""
ARTICLES, FILES_KEY, CATEGORIES_KEY = "0", "6", "14"
"""Keys of namespaces."""
NOT_QUOTED = ";@$!*(),/~:"
"""What MediaWiki leaves as it is in the address of a page."""
FIELDS: Final = frozenset({"title", "ns", "timestamp", "model", "text", "base", "namespace"})


class _HostileError(Exception):
    """The XML is none that MediaWiki writes: the message says why."""


def is_dump(path: Path) -> bool:
    """Return whether a file is a dump: its ending is that of XML, and its root element is `mediawiki`."""
    if not ENDING.search(path.name):
        return False
    try:
        with open_decompressed(path) as stream:
            root = ROOT.search(COMMENT.sub(b"", stream.read(HEAD_BYTES)))
    except DataError:
        return False
    return root is not None and root[1] == b"mediawiki"


def read_dump(path: Path, address: str) -> Iterator[Capture | str]:
    """Yield a capture of each article, and why something is none; `address` is where pages are if the dump is silent.

    After damage nothing more is read; what came before is whole.
    """
    dump, end = _Dump(address), ""
    try:
        with unpack(path) as stream:
            while block := stream.read(BLOCK_BYTES):
                dump.feed(block)
                yield from dump.take()
            dump.finish()
    except DataError:
        end = "cut off"
    except DecompressionBombError:
        end = "unpacks to far too much"
    except expat.ExpatError:
        end = "cut off" if dump.ended else "malformed XML"
    except _HostileError as error:
        end = str(error)
    yield from dump.take()
    if end:
        yield end


class _Dump:
    """What was read of a dump."""

    def __init__(self, address: str) -> None:
        self.ended = False
        self._directory = address
        self._names: dict[str, str] = {}
        """What this wiki calls files and categories, by what every wiki calls them."""
        self._found: list[Capture | str] = []
        self._page: dict[str, str] = {}
        self._path: list[str] = []
        self._key = ""
        self._pieces: list[str] | None = None
        self._length = 0
        self._fed = 0
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text, parser.buffer_size = True, BLOCK_BYTES
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters

    def feed(self, block: bytes) -> None:
        """Read on.

        Raises: ExpatError, _HostileError.
        """
        self._parser.Parse(block, False)
        self._fed += len(block)
        if self._fed - self._parser.CurrentByteIndex > MAX_TAG_BYTES:
            raise _HostileError("a tag without end")
        if len(self._parser.intern) > MAX_NAMES:
            raise _HostileError("too many names of elements")

    def finish(self) -> None:
        """Note that this was all.

        Raises: ExpatError if it was not.
        """
        self.ended = True
        self._parser.Parse(b"", True)

    def take(self) -> Iterator[Capture | str]:
        """Yield what was found since."""
        found, self._found = self._found, []
        yield from found

    def _refuse(self, *_: object) -> None:
        raise _HostileError("a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > MAX_DEPTH:
            raise _HostileError("nested too deeply")
        if self._pieces is not None:
            raise _HostileError("malformed XML")
        above = self._path[-2] if len(self._path) > 1 else ""
        if name == "page":
            self._page = {}
        elif name == "redirect":
            self._page["redirect"] = ""
        if name in FIELDS and above in ("page", "revision", "siteinfo", "namespaces"):
            self._pieces, self._length = [], 0
            self._key = attributes.get("key", "")

    def _characters(self, text: str) -> None:
        if self._pieces is None:
            return
        self._length += len(text)
        limit = MAX_DOCUMENT_BYTES if self._path[-1] == "text" else MAX_FIELD_CHARACTERS
        if self._length <= limit:
            self._pieces.append(text)
        else:
            self._page["too large"] = ""

    def _end(self, name: str) -> None:
        self._path.pop()
        if self._pieces is not None:
            content, self._pieces = "".join(self._pieces), None
            if name == "base":
                self._directory = _directory(content) or self._directory
            elif name == "namespace" and self._key in (FILES_KEY, CATEGORIES_KEY) and content:
                self._names[FILES if self._key == FILES_KEY else CATEGORIES] = content
            else:
                self._page[name] = content
        if name == "page":
            page, self._page = self._page, {}
            self._found.append(self._capture(page))

    def _capture(self, page: dict[str, str]) -> Capture | str:
        """Return the capture of a page, or why there is none."""
        if page.get("ns", ARTICLES) != ARTICLES:
            return "other namespace"
        if "redirect" in page:
            return "redirect"
        if page.get("model", "wikitext") != "wikitext":
            return "other content model"
        title, text = page.get("title", "").strip(), page.get("text", "")
        for name, own in self._names.items():
            text = re.sub(rf"(?i)\[\[[ _]*{re.escape(own)}[ _]*:", f"[[{name}:", text)
        content = text.encode()
        if "too large" in page or len(content) > MAX_DOCUMENT_BYTES:
            return "too large"
        try:
            written = datetime.strptime(page.get("timestamp", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            return "malformed page"
        if not title:
            return "malformed page"
        url = self._directory + quote(title.replace(" ", "_"), safe=NOT_QUOTED)
        return Capture(url, written, WIKITEXT, "utf-8", content, title=title)


def _directory(base: str) -> str:
    """Return what the addresses of all pages begin with, from that of the main page."""
    if "title=" in base:
        return base[: base.index("title=") + len("title=")]
    return base.rpartition("/")[0] + "/" if "://" in base else ""
