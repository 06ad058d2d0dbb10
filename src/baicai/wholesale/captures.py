"""Captures: what was at an address at a time, kept as WARC 1.1, so that extraction can be repeated."""

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from fastwarc.stream_io import GzipWriter
from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

MAX_CAPTURE_BYTES = 64 * 2**20
"""Of one capture, unpacked: what is larger is skipped, and counted."""
LICENCE = "X-Licence"
"""The field of a record's header in which we keep what the source said of its licence."""
KEPT = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
MAGIC = (b"\x1f\x8b\x08", b"WARC/1.")
"""With what a record begins, compressed and plain."""
RECORD = re.compile(rb"\x1f\x8b\x08|WARC/1\.")
SHA1 = re.compile(r"sha1:[A-Z2-7]{32}")
SEARCH_BYTES = 2**20

Skips = Counter[str]
"""How many captures were left out, by reason."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What was at an address."""

    url: str
    fetched: datetime
    media_type: str
    """Without parameters, in small letters; empty if nothing says it."""
    charset: str
    """As the source says; empty if it does not."""
    content: bytes
    licence: str = ""
    """SPDX id, if the source says one."""


def read_captures(path: Path, skips: Skips) -> Iterator[Capture]:
    """Yield the captures of a WARC file, compressed or not, in its order.

    What cannot be read is counted in `skips`; reading goes on at the next record that can.
    """
    with path.open("rb") as file:
        start: int | None = 0
        while start is not None:
            file.seek(start)
            begun = start
            try:
                for record in ArchiveIterator(file, parse_http=False):
                    begun = start + record.stream_pos
                    if record.record_type & KEPT:
                        capture = _read(record)
                        if isinstance(capture, Capture):
                            yield capture
                        else:
                            skips[capture] += 1
                if not _is_whole(file, begun):
                    skips["file cut short"] += 1
                return
            except OSError:
                skips["malformed record"] += 1
            start = _next_record(file, begun + 1)


def _read(record: WarcRecord) -> Capture | str:
    """Return the capture in a record, or why there is none."""
    media_type, charset = record.headers.get("Content-Type") or "", ""
    if record.content_length > MAX_CAPTURE_BYTES:
        return "too large"
    if SHA1.fullmatch(record.headers.get("WARC-Block-Digest") or "") and not record.verify_block_digest():
        return "digest does not match"
    if record.is_http:
        record.parse_http(auto_decode="all")
        if record.http_headers.status_code != 200:
            return f"status {record.http_headers.status_code}"
        media_type, charset = record.http_content_type or "", record.http_charset or ""
    url, fetched = (record.headers.get("WARC-Target-URI") or "").strip("<>"), record.record_date
    if not url or fetched is None:
        return "no address or date"
    content = record.reader.read(MAX_CAPTURE_BYTES + 1)
    if len(content) > MAX_CAPTURE_BYTES:
        return "too large when unpacked"
    media_type, _, parameters = media_type.lower().partition(";")
    charset = charset or parameters.partition("charset=")[2].split(";")[0].strip("\"' ")
    return Capture(url, fetched, media_type.strip(), charset, content, record.headers.get(LICENCE) or "")


def _is_whole(file: BinaryIO, last: int) -> bool:
    """Return whether the file ends where the record that begins at `last` ends: readers pass over what is cut."""
    file.seek(last)
    block = file.read(SEARCH_BYTES)
    if block.startswith(MAGIC[0]):
        member = zlib.decompressobj(wbits=31)
        while block and not member.eof:
            member.decompress(block, SEARCH_BYTES)  # what it holds is not needed, and may be more than fits
            block = member.unconsumed_tail or file.read(SEARCH_BYTES)
        return member.eof and not (member.unused_data + file.read()).strip(b"\0\r\n")
    if not block.startswith(MAGIC[1]):
        return not block.strip()
    header, _, _ = block.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length:[ \t]*(\d{1,15})\r?$", header, re.MULTILINE)
    end = last + len(header) + 4 + (int(length[1]) if length else 0)
    size = file.seek(0, 2)
    file.seek(min(end, size))
    return size >= end and not file.read(SEARCH_BYTES).strip()


def _next_record(file: BinaryIO, at: int) -> int | None:
    """Return where the next record seems to begin, None if there is none."""
    file.seek(at)
    kept = b""
    while block := file.read(SEARCH_BYTES):
        found = RECORD.search(kept + block)
        if found:
            return at - len(kept) + found.start()
        kept = block[-8:]
        at += len(block)
    return None


class CaptureWriter:
    """Writes captures into a WARC 1.1 file, each compressed alone, as readers that jump to a record expect."""

    def __init__(self, path: Path) -> None:
        self._raw = path.open("wb")
        self._file = GzipWriter(self._raw)

    def write(self, capture: Capture) -> None:
        """Append a capture as a resource record."""
        record = WarcRecord()
        record.init_headers(record_type=WarcRecordType.resource)
        record.headers["WARC-Target-URI"] = capture.url
        record.headers["WARC-Date"] = capture.fetched.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        charset = f"; charset={capture.charset}" if capture.charset else ""
        record.headers["Content-Type"] = capture.media_type + charset
        if capture.licence:
            record.headers[LICENCE] = capture.licence
        record.set_bytes_content(capture.content)
        record.write(self._file, checksum_data=True)

    def close(self) -> None:
        """Finish the file."""
        self._file.close()
        self._raw.close()
