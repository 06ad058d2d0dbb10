"""Captures: what was at an address at a time, kept as WARC 1.1, so that extraction can be repeated."""

import gzip
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fastwarc.warc import WarcRecord, WarcRecordType

from baicai.wholesale.sources.warc import MAX_RECORD_BYTES, SkipCounts, read_records

MAX_CAPTURE_BYTES = MAX_RECORD_BYTES
"""Of one capture, unpacked: what is larger is skipped, and counted."""
LICENCE, PERMISSION, TITLE = "X-Licence", "X-Permission", "X-Title"
"""Fields of a record's header: what the source said of its licence, whether it may be gathered, and its title."""
OTHERS = (
    WarcRecordType.warcinfo
    | WarcRecordType.request
    | WarcRecordType.metadata
    | WarcRecordType.revisit
    | WarcRecordType.continuation
)
"""Kinds of records that are no captures."""
LEVEL = 6
SHA1 = re.compile(r"sha1:[A-Z2-7]{32}")


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
    permission: str = ""
    """The decision that it may be gathered, with its evidence, as JSON; empty if nobody was asked."""
    title: str = ""
    """If the source says it beside the content."""


def read_captures(path: Path, skips: SkipCounts) -> Iterator[Capture]:
    """Yield the captures of a WARC file, in its order; what cannot be read is counted in `skips`."""
    for content in read_records(path, skips):
        try:
            record = WarcRecord.from_bytes(content)
            found = None if record.record_type & OTHERS else _read(record)
        except OSError:
            found = "malformed record"
        if isinstance(found, Capture):
            yield found
        elif found:
            skips[found] += 1


def _read(record: WarcRecord) -> Capture | str:
    """Return the capture in a record, or why there is none."""
    if record.record_type == WarcRecordType.unknown:
        return "malformed record"
    media_type, charset = record.headers.get("Content-Type") or "", ""
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
    licence, permission, title = (record.headers.get(name) or "" for name in (LICENCE, PERMISSION, TITLE))
    return Capture(url, fetched, media_type.strip(), charset, content, licence, permission, title)


class CaptureWriter:
    """Writes captures into a WARC 1.1 file, each compressed alone, as readers that jump to a record expect."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, capture: Capture) -> None:
        """Append a capture as a resource record."""
        record = WarcRecord()
        record.init_headers(record_type=WarcRecordType.resource)
        record.headers["WARC-Target-URI"] = _encodable(capture.url)
        record.headers["WARC-Date"] = capture.fetched.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        charset = f"; charset={capture.charset}" if capture.charset else ""
        record.headers["Content-Type"] = capture.media_type + charset
        for name, value in ((LICENCE, capture.licence), (PERMISSION, capture.permission), (TITLE, capture.title)):
            if value:
                record.headers[name] = _encodable(value)
        record.set_bytes_content(capture.content)
        plain = io.BytesIO()
        record.write(plain, checksum_data=True)
        self._file.write(gzip.compress(plain.getvalue(), LEVEL, mtime=0))

    def flush(self) -> int:
        """Bring what was written to disk, and return how many bytes that is."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Finish the file."""
        self._file.close()


def _encodable(text: str) -> str:
    """Return a text without halves of surrogate pairs, which names of files and JSON can hold."""
    return text.encode("utf-8", "replace").decode()
