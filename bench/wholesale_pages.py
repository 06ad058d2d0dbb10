"""Documents for `wholesale.py`: HTML that lies on the machine, variations of it, and texts of drawn words."""

import hashlib
import io
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from fastwarc.warc import WarcRecord, WarcRecordType

from baicai.wholesale.gather import GatherRecipe, GatherSourceConfig, gather
from baicai.wholesale.processing.clean import CleanConfig

PAGES = ("/usr/share/doc", "/usr/lib/python3", "/root/.rustup", "/root/.pyenv")
PAGE_BYTES = range(2_000, 300_000)
VARIED_PAGES = 2000
OUTSIDE = re.compile(rb"(?is)<script.*?</script>|<style.*?</style>|<[^>]*>|&[#\w]+;")
WORD = re.compile(rb"[A-Za-z]{3,}")
CHANGED_WORDS = 0.6
"""Of a page's words of three letters or more, so that no two variations of a page are near-duplicates."""
VOCABULARY = [
    f"{first}{last}" for first in ("gar", "win", "ker", "dol", "mas", "fen") for last in ("den", "ter", "nel")
]


def documentation(count: int) -> list[Path]:
    """Return so many pages of the machine's documentation, drawn by the hash of their name."""
    found = [page for folder in PAGES for page in Path(folder).rglob("*.html") if page.stat().st_size in PAGE_BYTES]
    return sorted(found, key=lambda page: hashlib.sha256(str(page).encode()).digest())[:count]


def large_corpus(folder: Path, gigabytes: int) -> None:
    """Write WARC files of a gigabyte each, of pages that are variations of documentation; those that are there stay."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = [page.read_bytes() for page in documentation(VARIED_PAGES)]
    for number in range(gigabytes):
        path = folder / f"{number:02}.warc"
        if path.exists():
            continue
        pages, written = variations(contents, seed=number), 0
        with path.with_suffix(".part").open("wb") as file:
            while written < 1e9:
                address = f"https://host{written % 997}.example/{number}/{written}"
                written += file.write(response(address, next(pages)))
        path.with_suffix(".part").rename(path)


def response(address: str, page: bytes) -> bytes:
    """Return a page as a server's answer in a WARC record, which datatrove reads, too."""
    record, out = WarcRecord(), io.BytesIO()
    record.init_headers(record_type=WarcRecordType.response)
    record.headers["WARC-Target-URI"], record.headers["WARC-Date"] = address, "2026-01-01T00:00:00Z"
    record.is_http = True
    record.set_bytes_content(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page)
    record.write(out)
    return out.getvalue()


class Page:
    """A page, of which variations are drawn: markup stays, words change."""

    def __init__(self, content: bytes) -> None:
        self._pieces: list[bytes] = []
        self._places: list[int] = []
        at = 0
        for tag in OUTSIDE.finditer(content):
            self._cut(content[at : tag.start()])
            self._pieces.append(tag[0])
            at = tag.end()
        self._cut(content[at:])

    @property
    def words(self) -> list[bytes]:
        """What may change."""
        return [self._pieces[place] for place in self._places]

    def variation(self, words: Sequence[bytes], draw: np.random.Generator) -> bytes:
        """Return the page with most of its words drawn anew."""
        pieces = list(self._pieces)
        places = np.array(self._places, int)
        places = places[draw.random(len(places)) < CHANGED_WORDS]
        for place, word in zip(places.tolist(), draw.integers(len(words), size=len(places)).tolist(), strict=True):
            pieces[place] = words[word]
        return b"".join(pieces)

    def _cut(self, text: bytes) -> None:
        at = 0
        for word in WORD.finditer(text):
            self._pieces += (text[at : word.start()], word[0])
            self._places.append(len(self._pieces) - 1)
            at = word.end()
        self._pieces.append(text[at:])


def variations(contents: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield variations of pages without end."""
    pages = [Page(content) for content in contents]
    words = sorted({word for page in pages for word in page.words})
    draw = np.random.default_rng(seed)
    while True:
        for page in pages:
            yield page.variation(words, draw)


def add(folder: Path, numbers: Sequence[int], edit: str = "") -> None:
    """Draw documents and gather them, a file for each of 20 domains."""
    files, words = (
        folder / f"files-{edit}{numbers[0]}",
        [f"{word}{place}" for word in VOCABULARY for place in range(200)],
    )
    files.mkdir(parents=True)
    for domain in range(20):
        with (files / f"d{domain:02}.jsonl").open("w") as file:
            for number in numbers:
                if number % 20 == domain:
                    draw = random.Random(number)
                    lines = [" ".join(["The", *draw.choices(words, k=12)]) + "." for _ in range(draw.randint(10, 40))]
                    text = "\n".join([*lines, edit])
                    file.write(json.dumps({"id": address(number), "text": text}) + "\n")
    kinds = [(file, CleanConfig(domain=file.stem, licence="CC0-1.0")) for file in sorted(files.iterdir())]
    sources = [GatherSourceConfig(path=str(file), clean=kind) for file, kind in kinds if file.stat().st_size]
    gather(GatherRecipe(sources=sources), folder / "warehouse")


def address(number: int) -> str:
    """Return where a drawn document is from."""
    return f"https://host{number % 997}.example/{number}"
