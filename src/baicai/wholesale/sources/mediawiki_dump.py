"""Reads MediaWiki dumps (pages-articles): the wikitext of each article becomes a capture.

The XML is parsed as a stream. Dumps have no document type declaration, so a file with one is rejected: no entity is
ever expanded, and nothing is fetched. Only one page, one tag and the names of elements are in memory; each has a limit.
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
from baicai.wholesale.sources.decompression_limits import BLOCK_BYTES, DecompressionBombError, open_limited
from baicai.wholesale.sources.media_types import WIKITEXT
from baicai.wholesale.sources.wikitext import CATEGORIES, FILES

SUFFIX = re.compile(r"(?i)\.xml(\.bz2|\.gz|\.zst|\.xz)?$")
HEAD_BYTES = 2**16
COMMENT, ROOT = re.compile(rb"<!--.*?-->", re.DOTALL), re.compile(rb"<([A-Za-z_][^\s/>]*)")
MAX_DEPTH, MAX_NAMES, MAX_TAG_BYTES, MAX_FIELD_CHARACTERS = 20, 1000, 2**20, 4096
"""MediaWiki itself nests 5 deep and uses about 50 names of elements and attributes."""
ARTICLE_KEY, FILE_KEY, CATEGORY_KEY = "0", "6", "14"
"""Keys of namespaces."""
NOT_QUOTED = ";@$!*(),/~:"
"""Characters that MediaWiki does not percent-encode in the URL of a page."""
FIELDS: Final = frozenset({"title", "ns", "timestamp", "model", "text", "base", "namespace"})


class _InvalidDumpError(Exception):
    """The XML is not a MediaWiki dump; the message says why."""


def is_dump(path: Path) -> bool:
    """Return whether a file is a dump: it has an XML suffix, and its root element is `mediawiki`."""
    if not SUFFIX.search(path.name):
        return False
    try:
        with open_decompressed(path) as stream:
            root = ROOT.search(COMMENT.sub(b"", stream.read(HEAD_BYTES)))
    except DataError:
        return False
    return root is not None and root[1] == b"mediawiki"


def read_dump(path: Path, base_url: str) -> Iterator[Capture | str]:
    """Yield a capture of each article, and a reason (a string) for each page that is skipped.

    Reading stops at the first damage; pages before it are complete. `base_url` is the URL prefix of the pages if the
    dump does not state one.
    """
    parser, end = _DumpParser(base_url), ""
    try:
        with open_limited(path) as stream:
            while block := stream.read(BLOCK_BYTES):
                parser.feed(block)
                yield from parser.take_results()
            parser.finish()
    except DataError:
        end = "cut off"
    except DecompressionBombError:
        end = "unpacks to far too much"
    except expat.ExpatError:
        end = "cut off" if parser.ended else "malformed XML"
    except _InvalidDumpError as error:
        end = str(error)
    yield from parser.take_results()
    if end:
        yield end


class _DumpParser:
    """A streaming parser that collects captures and reasons for skipped pages."""

    def __init__(self, base_url: str) -> None:
        self.ended = False
        self._base_url = base_url
        self._namespaces: dict[str, str] = {}
        """Local names of the File and Category namespaces, by their canonical names."""
        self._results: list[Capture | str] = []
        self._page: dict[str, str] = {}
        self._path: list[str] = []
        self._key = ""
        self._fragments: list[str] | None = None
        self._length = 0
        self._fed = 0
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text, parser.buffer_size = True, BLOCK_BYTES
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters

    def feed(self, block: bytes) -> None:
        """Parse the next block.

        Raises: ExpatError, _HostileError.
        """
        self._parser.Parse(block, False)
        self._fed += len(block)
        if self._fed - self._parser.CurrentByteIndex > MAX_TAG_BYTES:
            raise _InvalidDumpError("a tag without end")
        if len(self._parser.intern) > MAX_NAMES:
            raise _InvalidDumpError("too many names of elements")

    def finish(self) -> None:
        """Signal the end of the file.

        Raises: ExpatError if the XML is incomplete.
        """
        self.ended = True
        self._parser.Parse(b"", True)

    def take_results(self) -> Iterator[Capture | str]:
        """Yield the results collected since the last call."""
        results, self._results = self._results, []
        yield from results

    def _refuse(self, *_: object) -> None:
        raise _InvalidDumpError("a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if len(self._path) > MAX_DEPTH:
            raise _InvalidDumpError("nested too deeply")
        if self._fragments is not None:
            raise _InvalidDumpError("malformed XML")
        above = self._path[-2] if len(self._path) > 1 else ""
        if name == "page":
            self._page = {}
        elif name == "redirect":
            self._page["redirect"] = ""
        if name in FIELDS and above in ("page", "revision", "siteinfo", "namespaces"):
            self._fragments, self._length = [], 0
            self._key = attributes.get("key", "")

    def _characters(self, text: str) -> None:
        if self._fragments is None:
            return
        self._length += len(text)
        limit = MAX_DOCUMENT_BYTES if self._path[-1] == "text" else MAX_FIELD_CHARACTERS
        if self._length <= limit:
            self._fragments.append(text)
        else:
            self._page["too large"] = ""

    def _end(self, name: str) -> None:
        self._path.pop()
        if self._fragments is not None:
            content, self._fragments = "".join(self._fragments), None
            if name == "base":
                self._base_url = _url_prefix(content) or self._base_url
            elif name == "namespace" and self._key in (FILE_KEY, CATEGORY_KEY) and content:
                self._namespaces[FILES if self._key == FILE_KEY else CATEGORIES] = content
            else:
                self._page[name] = content
        if name == "page":
            page, self._page = self._page, {}
            self._results.append(self._capture(page))

    def _capture(self, page: dict[str, str]) -> Capture | str:
        """Return the capture of a page, or the reason why it is skipped."""
        if page.get("ns", ARTICLE_KEY) != ARTICLE_KEY:
            return "other namespace"
        if "redirect" in page:
            return "redirect"
        if page.get("model", "wikitext") != "wikitext":
            return "other content model"
        title, text = page.get("title", "").strip(), page.get("text", "")
        for name, local_name in self._namespaces.items():
            text = re.sub(rf"(?i)\[\[[ _]*{re.escape(local_name)}[ _]*:", f"[[{name}:", text)
        content = text.encode()
        if "too large" in page or len(content) > MAX_DOCUMENT_BYTES:
            return "too large"
        try:
            timestamp = datetime.strptime(page.get("timestamp", ""), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except ValueError:
            return "malformed page"
        if not title:
            return "malformed page"
        url = self._base_url + quote(title.replace(" ", "_"), safe=NOT_QUOTED)
        return Capture(url, timestamp, WIKITEXT, "utf-8", content, title=title)


def _url_prefix(base: str) -> str:
    """Derive the URL prefix of all pages from the URL of the main page."""
    if "title=" in base:
        return base[: base.index("title=") + len("title=")]
    return base.rpartition("/")[0] + "/" if "://" in base else ""
