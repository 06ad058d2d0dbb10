"""Documents for `wholesale.py`: HTML pages found on the machine, variations of them, and texts of random words."""

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
MARKUP = re.compile(rb"(?is)<script.*?</script>|<style.*?</style>|<[^>]*>|&[#\w]+;")
WORD = re.compile(rb"[A-Za-z]{3,}")
CHANGED_WORDS = 0.6
"""Share of a page's words of three or more letters that change, so that variations are not near-duplicates."""
VOCABULARY = [
    f"{first}{last}" for first in ("gar", "win", "ker", "dol", "mas", "fen") for last in ("den", "ter", "nel")
]


def documentation(count: int) -> list[Path]:
    """Return `count` pages of the machine's documentation, selected by the hash of their path."""
    pages = [page for folder in PAGES for page in Path(folder).rglob("*.html") if page.stat().st_size in PAGE_BYTES]
    return sorted(pages, key=lambda page: hashlib.sha256(str(page).encode()).digest())[:count]


def large_corpus(folder: Path, gigabytes: int) -> None:
    """Write WARC files of one gigabyte each with variations of documentation pages; existing files are kept."""
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
    """Return a page as an HTTP response in a WARC record, which datatrove reads, too."""
    record, out = WarcRecord(), io.BytesIO()
    record.init_headers(record_type=WarcRecordType.response)
    record.headers["WARC-Target-URI"], record.headers["WARC-Date"] = address, "2026-01-01T00:00:00Z"
    record.is_http = True
    record.set_bytes_content(b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\r\n" + page)
    record.write(out)
    return out.getvalue()


class Page:
    """A page that can be varied: the markup stays, words change."""

    def __init__(self, content: bytes) -> None:
        self._parts: list[bytes] = []
        self._word_indices: list[int] = []
        position = 0
        for tag in MARKUP.finditer(content):
            self._split(content[position : tag.start()])
            self._parts.append(tag[0])
            position = tag.end()
        self._split(content[position:])

    @property
    def words(self) -> list[bytes]:
        """Words that may change."""
        return [self._parts[index] for index in self._word_indices]

    def variation(self, words: Sequence[bytes], rng: np.random.Generator) -> bytes:
        """Return the page with most of its words replaced by random ones."""
        parts = list(self._parts)
        indices = np.array(self._word_indices, int)
        indices = indices[rng.random(len(indices)) < CHANGED_WORDS]
        for index, word in zip(indices.tolist(), rng.integers(len(words), size=len(indices)).tolist(), strict=True):
            parts[index] = words[word]
        return b"".join(parts)

    def _split(self, text: bytes) -> None:
        position = 0
        for word in WORD.finditer(text):
            self._parts += (text[position : word.start()], word[0])
            self._word_indices.append(len(self._parts) - 1)
            position = word.end()
        self._parts.append(text[position:])


def variations(contents: Sequence[bytes], seed: int) -> Iterator[bytes]:
    """Yield variations of the pages endlessly."""
    pages = [Page(content) for content in contents]
    words = sorted({word for page in pages for word in page.words})
    rng = np.random.default_rng(seed)
    while True:
        for page in pages:
            yield page.variation(words, rng)


def add(folder: Path, numbers: Sequence[int], edit: str = "") -> None:
    """Generate documents, one file for each of 20 domains, and gather them."""
    files, words = (
        folder / f"files-{edit}{numbers[0]}",
        [f"{word}{number}" for word in VOCABULARY for number in range(200)],
    )
    files.mkdir(parents=True)
    for domain in range(20):
        with (files / f"d{domain:02}.jsonl").open("w") as file:
            for number in numbers:
                if number % 20 == domain:
                    rng = random.Random(number)
                    lines = [" ".join(["The", *rng.choices(words, k=12)]) + "." for _ in range(rng.randint(10, 40))]
                    text = "\n".join([*lines, edit])
                    file.write(json.dumps({"id": address(number), "text": text}) + "\n")
    configs = [(file, CleanConfig(domain=file.stem, licence="CC0-1.0")) for file in sorted(files.iterdir())]
    sources = [GatherSourceConfig(path=str(file), clean=config) for file, config in configs if file.stat().st_size]
    gather(GatherRecipe(sources=sources), folder / "warehouse")


def address(number: int) -> str:
    """Return the address of a generated document."""
    return f"https://host{number % 997}.example/{number}"
