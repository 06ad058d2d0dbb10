"""Splits a WARC file into records. Libraries skip damaged records silently; here each loss is counted.

A file may be uncompressed, or compressed with gzip or zstd, per record or as a whole. After damage, reading resumes at
the next record.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

MAX_RECORD_BYTES = 64 * 2**20
"""Maximum content of a record. Larger ones are skipped and counted."""
MAX_HEADER_BYTES = 2**16
BLOCK_BYTES = 2**18
BEGIN = b"WARC/1."
GZIP, ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
HEADER = re.compile(rb"\r?\n\r?\n")
LENGTH = re.compile(rb"(?i)\r?\ncontent-length:[ \t]*(\d{1,15})[ \t]*(?=\r?\n)")

SkipCounts = Counter[str]
"""Number of skipped captures by reason."""


class _DamageError(Exception):
    """The data at the current position is damaged; reading can resume after it."""


def read_records(path: Path, skips: SkipCounts) -> Iterator[bytes]:
    """Yield each record, header and content, and count damaged and skipped ones in `skips`."""
    with path.open("rb") as file:
        stream, damaged = _Stream(file), False
        while True:
            try:
                record = _record(stream, skips)
            except _DamageError:
                skips["malformed record"] += not damaged
                damaged = True
                continue
            if record is None:
                return
            damaged = False
            if record:
                yield record


def _record(stream: "_Stream", skips: SkipCounts) -> bytes | None:
    """Return the next record, empty bytes if it was skipped, or None at the end.

    Raises: _DamageError if no record starts here; the stream is then at a later position.
    """
    stream.discard_passed()
    while stream.fill(1) and stream.buffer[stream.position] in b"\r\n":
        stream.position += 1
    if not stream.fill(1):
        stream.check_end()
        return None
    stream.fill(MAX_HEADER_BYTES)
    head = HEADER.search(stream.buffer, stream.position, stream.position + MAX_HEADER_BYTES)
    length = LENGTH.search(stream.buffer, stream.position, head.end()) if head else None
    if head is None or length is None or not stream.buffer.startswith(BEGIN, stream.position):
        stream.position += 1
        stream.seek(BEGIN)
        raise _DamageError
    size = int(length[1])
    if size > MAX_RECORD_BYTES:
        stream.position = head.end()
        skips["too large" if stream.skip(size) else "file cut short"] += 1
        return b""
    record_size = head.end() - stream.position + size
    if not stream.fill(record_size):
        stream.check_end()
        stream.position += len(BEGIN)
        stream.seek(BEGIN)
        raise _DamageError
    after = stream.position + record_size
    record = bytes(stream.buffer[stream.position : after])
    stream.fill(record_size + 1)
    if (
        stream.buffer[after : after + 1] not in (b"", b"\r", b"\n", BEGIN[:1])
        or b"\0" in record[: head.end() - stream.position]
    ):
        stream.position += len(BEGIN)
        stream.seek(BEGIN)
        raise _DamageError
    stream.position = after
    return record


class _Stream:
    """A buffered stream of the decompressed bytes of a file, read from `position` in `buffer`."""

    def __init__(self, file: BinaryIO) -> None:
        self.buffer, self.position, self._is_damaged = bytearray(), 0, False
        first_block = file.read(BLOCK_BYTES)
        file.seek(0)
        compressed, uncompressed = first_block.find(GZIP), first_block.find(BEGIN)
        if first_block.startswith(ZSTD):
            self._blocks = _decompress_zstd(file)
        elif compressed >= 0 and not 0 <= uncompressed < compressed:
            self._blocks = _decompress_gzip(file)
        else:
            self._blocks = iter(lambda: file.read(BLOCK_BYTES), b"")

    def discard_passed(self) -> None:
        """Drop the bytes before `position`; positions in `buffer` change."""
        if self.position > BLOCK_BYTES:
            del self.buffer[: self.position]
            self.position = 0

    def fill(self, count: int) -> bool:
        """Fill the buffer up to `count` bytes. Returns False if the end or damage comes first."""
        while len(self.buffer) - self.position < count:
            block = None if self._is_damaged else next(self._blocks, b"")
            self._is_damaged = block is None
            if not block:
                return False
            self.buffer += block
        return True

    def check_end(self) -> None:
        """Check that the stream stopped at the end of the file and not at damage.

        Raises: _DamageError if it stopped at damage. The buffer is then empty, and reading resumes after the damage.
        """
        if self._is_damaged:
            self.buffer, self.position, self._is_damaged = bytearray(), 0, False
            raise _DamageError

    def seek(self, mark: bytes) -> None:
        """Move to the next occurrence of `mark`, or to the end."""
        while (index := self.buffer.find(mark, self.position)) < 0:
            self.position = max(self.position, len(self.buffer) - len(mark) + 1)
            if not self.fill(len(self.buffer) - self.position + 1):
                self.position = len(self.buffer)
                return
        self.position = index

    def skip(self, count: int) -> bool:
        """Skip `count` bytes. Returns False if the end or damage comes first."""
        while count:
            self.discard_passed()
            if not self.fill(1):
                return False
            step = min(count, len(self.buffer) - self.position)
            self.position, count = self.position + step, count - step
        return True


def _decompress_gzip(file: BinaryIO) -> Iterator[bytes | None]:
    """Yield the content of each gzip member once its checksum is verified, and None for damaged data.

    A member larger than the largest record is the whole file; the rest of its content is yielded unverified.
    """
    compressed, start = b"", 0
    while True:
        compressed = compressed if len(compressed) >= len(GZIP) else compressed + file.read(BLOCK_BYTES)
        if not compressed:
            return
        start = file.tell() - len(compressed)
        member, blocks, size = zlib.decompressobj(wbits=31), [], 0
        try:
            while not member.eof:
                block = member.decompress(compressed, BLOCK_BYTES)
                compressed = member.unconsumed_tail or (b"" if member.eof else file.read(BLOCK_BYTES))
                blocks.append(block)
                size += len(block)
                if size > MAX_RECORD_BYTES + MAX_HEADER_BYTES:
                    yield from blocks
                    blocks = []
                if not block and not compressed and not member.eof:
                    raise zlib.error("cut short")
            compressed = member.unused_data
            yield b"".join(blocks) or b"\r\n"
        except zlib.error:
            yield None
            compressed = _next_member(file, start + 1)


def _next_member(file: BinaryIO, position: int) -> bytes:
    """Seek to the next gzip member and return its beginning, or empty bytes if none follows."""
    file.seek(position)
    compressed = b""
    while more := file.read(BLOCK_BYTES):
        compressed += more
        index = compressed.find(GZIP)
        if index >= 0:
            return compressed[index:]
        compressed = compressed[1 - len(GZIP) :]
    return b""


def _decompress_zstd(file: BinaryIO) -> Iterator[bytes | None]:
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
