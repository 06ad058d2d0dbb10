"""Captures: the content of a URL at a point in time, stored as WARC 1.1 so that extraction can be repeated."""

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
"""Maximum decompressed size of a capture. Larger ones are skipped and counted."""
LICENCE, PERMISSION, TITLE = "X-Licence", "X-Permission", "X-Title"
"""Header fields of a record: the licence stated by the source, the robots decision, and the title."""
NON_CAPTURE_TYPES = (
    WarcRecordType.warcinfo
    | WarcRecordType.request
    | WarcRecordType.metadata
    | WarcRecordType.revisit
    | WarcRecordType.continuation
)
"""Record types that are not captures."""
LEVEL = 6
SHA1 = re.compile(r"sha1:[A-Z2-7]{32}")


@dataclass(frozen=True, slots=True)
class Capture:
    """The content of a URL at a point in time."""

    url: str
    fetched: datetime
    media_type: str
    """Media type without parameters, in lower case; empty if unknown."""
    charset: str
    """Charset declared by the source; empty if none is declared."""
    content: bytes
    licence: str = ""
    """SPDX id stated by the source; empty if none is stated."""
    permission: str = ""
    """Robots decision that allowed the capture, with its evidence, as JSON; empty if none was made."""
    title: str = ""
    """Title, if the source states it apart from the content."""


def read_captures(path: Path, skips: SkipCounts) -> Iterator[Capture]:
    """Yield the captures of a WARC file in order. Unreadable records are counted in `skips` by reason."""
    for content in read_records(path, skips):
        try:
            record = WarcRecord.from_bytes(content)
            result = None if record.record_type & NON_CAPTURE_TYPES else _read(record)
        except OSError:
            result = "malformed record"
        if isinstance(result, Capture):
            yield result
        elif result:
            skips[result] += 1


def _read(record: WarcRecord) -> Capture | str:
    """Return the capture in a record, or the reason why it is skipped."""
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
    """Writes captures to a WARC 1.1 file. Each record is compressed separately, which allows random access."""

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
        uncompressed = io.BytesIO()
        record.write(uncompressed, checksum_data=True)
        self._file.write(gzip.compress(uncompressed.getvalue(), LEVEL, mtime=0))

    def flush(self) -> int:
        """Flush the file to disk and return its size in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _encodable(text: str) -> str:
    """Replace lone surrogates, which file names and JSON may contain."""
    return text.encode("utf-8", "replace").decode()
