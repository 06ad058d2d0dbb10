"""Cuts a WARC file into records. Libraries pass over damage in silence; here each loss is counted.

A file may be plain, or gzip or zstd, record by record or as a whole. After damage, reading goes on at the next record.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

MAX_RECORD_BYTES = 64 * 2**20
"""Of one record's content: what is larger is skipped, and counted."""
MAX_HEADER_BYTES = 2**16
BLOCK_BYTES = 2**18
BEGIN = b"WARC/1."
GZIP, ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
HEADER = re.compile(rb"\r?\n\r?\n")
LENGTH = re.compile(rb"(?i)\r?\ncontent-length:[ \t]*(\d{1,15})[ \t]*(?=\r?\n)")

SkipCounts = Counter[str]
"""How many captures were left out, by reason."""


class _DamageError(Exception):
    """What is being read is damaged; what comes after is not."""


def read_records(path: Path, skips: SkipCounts) -> Iterator[bytes]:
    """Yield each record, header and content, and count in `skips` what is not one."""
    with path.open("rb") as file:
        stream, lost = _Stream(file), False
        while True:
            try:
                record = _record(stream, skips)
            except _DamageError:
                skips["malformed record"] += not lost
                lost = True
                continue
            if record is None:
                return
            lost = False
            if record:
                yield record


def _record(stream: "_Stream", skips: SkipCounts) -> bytes | None:
    """Return the next record, nothing if it was skipped, None at the end.

    Raises: _DamageError if there is none here; the stream is then at a place further on.
    """
    stream.trim()
    while stream.has(1) and stream.kept[stream.at] in b"\r\n":
        stream.at += 1
    if not stream.has(1):
        stream.end()
        return None
    stream.has(MAX_HEADER_BYTES)
    head = HEADER.search(stream.kept, stream.at, stream.at + MAX_HEADER_BYTES)
    length = LENGTH.search(stream.kept, stream.at, head.end()) if head else None
    if head is None or length is None or not stream.kept.startswith(BEGIN, stream.at):
        stream.at += 1
        stream.seek(BEGIN)
        raise _DamageError
    size = int(length[1])
    if size > MAX_RECORD_BYTES:
        stream.at = head.end()
        skips["too large" if stream.drop(size) else "file cut short"] += 1
        return b""
    whole = head.end() - stream.at + size
    if not stream.has(whole):
        stream.end()
        stream.at += len(BEGIN)
        stream.seek(BEGIN)
        raise _DamageError
    record, after = bytes(stream.kept[stream.at : stream.at + whole]), stream.at + whole
    stream.has(whole + 1)
    if (
        stream.kept[after : after + 1] not in (b"", b"\r", b"\n", BEGIN[:1])
        or b"\0" in record[: head.end() - stream.at]
    ):
        stream.at += len(BEGIN)
        stream.seek(BEGIN)
        raise _DamageError
    stream.at = after
    return record


class _Stream:
    """The unpacked bytes of a file, as far as they are kept."""

    def __init__(self, file: BinaryIO) -> None:
        self.kept, self.at, self._damaged = bytearray(), 0, False
        first = file.read(BLOCK_BYTES)
        file.seek(0)
        packed, plain = first.find(GZIP), first.find(BEGIN)
        if first.startswith(ZSTD):
            self._blocks = _unpack_zstd(file)
        elif packed >= 0 and not 0 <= plain < packed:
            self._blocks = _unpack_gzip(file)
        else:
            self._blocks = iter(lambda: file.read(BLOCK_BYTES), b"")

    def trim(self) -> None:
        """Forget what was passed; places in `kept` change."""
        if self.at > BLOCK_BYTES:
            del self.kept[: self.at]
            self.at = 0

    def has(self, count: int) -> bool:
        """Return whether so many bytes come before the end, or before what cannot be unpacked."""
        while len(self.kept) - self.at < count:
            block = None if self._damaged else next(self._blocks, b"")
            self._damaged = block is None
            if not block:
                return False
            self.kept += block
        return True

    def end(self) -> None:
        """Do nothing if this is the end.

        Raises: _DamageError if it is not: what is kept is gone, and what can be unpacked again comes next.
        """
        if self._damaged:
            self.kept, self.at, self._damaged = bytearray(), 0, False
            raise _DamageError

    def seek(self, mark: bytes) -> None:
        """Go to the next place where `mark` is, or to the end."""
        while (found := self.kept.find(mark, self.at)) < 0:
            self.at = max(self.at, len(self.kept) - len(mark) + 1)
            if not self.has(len(self.kept) - self.at + 1):
                self.at = len(self.kept)
                return
        self.at = found

    def drop(self, count: int) -> bool:
        """Pass over so many bytes and return whether there were."""
        while count:
            self.trim()
            if not self.has(1):
                return False
            step = min(count, len(self.kept) - self.at)
            self.at, count = self.at + step, count - step
        return True


def _unpack_gzip(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield what each member holds, when its checksum is known to be right; None for what cannot be unpacked.

    What a member holds beyond the largest record is yielded unchecked: then the whole file is one member.
    """
    packed, start = b"", 0
    while True:
        packed = packed if len(packed) >= len(GZIP) else packed + file.read(BLOCK_BYTES)
        if not packed:
            return
        start = file.tell() - len(packed)
        member, kept, size = zlib.decompressobj(wbits=31), [], 0
        try:
            while not member.eof:
                block = member.decompress(packed, BLOCK_BYTES)
                packed = member.unconsumed_tail or (b"" if member.eof else file.read(BLOCK_BYTES))
                kept.append(block)
                size += len(block)
                if size > MAX_RECORD_BYTES + MAX_HEADER_BYTES:
                    yield from kept
                    kept = []
                if not block and not packed and not member.eof:
                    raise zlib.error("cut short")
            packed = member.unused_data
            yield b"".join(kept) or b"\r\n"
        except zlib.error:
            yield None
            packed = _next_member(file, start + 1)


def _next_member(file: BinaryIO, at: int) -> bytes:
    """Go to the next member and return the beginning of it; nothing if there is none."""
    file.seek(at)
    packed = b""
    while more := file.read(BLOCK_BYTES):
        packed += more
        found = packed.find(GZIP)
        if found >= 0:
            return packed[found:]
        packed = packed[1 - len(GZIP) :]
    return b""


def _unpack_zstd(file: BinaryIO) -> Iterator[bytes | None]:
    with zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True) as stream:
        while True:
            try:
                block = stream.read(BLOCK_BYTES)
            except zstandard.ZstdError:
                yield None
                return
            if not block:
                return
            yield block
