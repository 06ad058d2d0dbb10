"""Reads the members of zip and tar archives, one at a time.

Paths in an archive are never used as file names: each member is extracted to a temporary file, read, and removed.
Anything unreadable is yielded as a reason (a string); members yielded before stay valid.
"""

import io
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, cast

from baicai.data.document import MAX_DOCUMENT_BYTES
from baicai.errors import DataError
from baicai.wholesale.sources.decompression_limits import (
    DecompressedStream,
    DecompressionBombError,
    DecompressionBudget,
    open_limited,
)
from baicai.wholesale.sources.media_types import file_type
from baicai.wholesale.sources.mediawiki_dump import SUFFIX as DUMP_SUFFIX

MAX_MEMBERS = 2**18
MAX_TABLE_BYTES = 2**34
"""Maximum decompressed size of a member that holds many documents."""
MAX_DIRECTORY_BYTES = 2**24
"""Maximum size of the directory of a zip archive, which is read into memory."""
MAX_HEADER_BYTES = 2**16
"""Maximum size of the headers of a member of a tar archive, which are read into memory."""
BLOCK_BYTES = 2**12
"""Bytes decompressed at once. With bzip2, one block can expand to 80 MB."""
TAR_BLOCK_BYTES = 512
ZIP_ERRORS = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError, EOFError, OSError, struct.error,
    zlib.error,
)  # fmt: skip
"""Errors that `zipfile` raises on damaged files."""
TAR_ERRORS = (tarfile.TarError, ValueError, OverflowError, IndexError, struct.error)
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
ENCRYPTED = 0x1
LOCAL_HEADER_BYTES, UNIX = 30, 3
DAMAGED, CUT, BOMB, CROWDED = "damaged archive", "cut off", "unpacks to far too much", "too many members"
SUFFIXES = re.compile(r"(\.[a-z0-9]{1,10}){1,2}$")


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    path: Path
    """Temporary file with the content; valid until the next member is read."""
    modified: datetime | None


def read_members(archive: Path, scratch: Path) -> Iterator[Member | str]:
    """Yield the readable files in an archive, and a reason (a string) for each that is skipped.

    `scratch` is an existing folder for temporary files.
    """
    read = _read_zip if archive.suffix.lower() == ".zip" else _read_tar
    try:
        yield from read(archive, scratch)
    except DecompressionBombError:
        yield BOMB
    except DataError:
        yield DAMAGED


def _plain_name(name: str) -> str:
    """Return the relative path of a member, or an empty string if it points outside the archive."""
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:/", name):
        return ""
    return str(PurePosixPath(name))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _skip_reason(name: str, size: int) -> str:
    """Return the reason why a member is skipped, or an empty string."""
    if not name:
        return "path outside the archive"
    kind = file_type(name)
    if kind.format == "archive":
        return "nested archive"
    if kind.format == "unsupported":
        return f"media type {kind.media_type}"
    large = kind.format in ("table", "WARC") or DUMP_SUFFIX.search(name)
    return "too large" if not 0 <= size <= (MAX_TABLE_BYTES if large else MAX_DOCUMENT_BYTES) else ""


def _write(read: Callable[[int], bytes], name: str, size: int, scratch: Path) -> Path | None:
    """Write a member to a temporary file with its suffix. Returns None if the content is shorter than `size`."""
    suffix = SUFFIXES.search(name.lower())
    path = scratch / f"member{suffix[0] if suffix else ''}"
    path.unlink(missing_ok=True)  # file systems flush a file that is overwritten
    with path.open("wb") as file:
        while size and (block := read(min(size, BLOCK_BYTES))):
            file.write(block)
            size -= len(block)
    return None if size else path


class _ZipFile(io.BufferedReader):
    """A file that refuses to read more at once than a directory may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise DecompressionBombError
        return super().read(size)


def _read_zip(archive: Path, scratch: Path) -> Iterator[Member | str]:
    budget = DecompressionBudget(archive)
    with _ZipFile(io.FileIO(archive)) as raw:
        try:
            opened = zipfile.ZipFile(raw)
        except DecompressionBombError:
            yield CROWDED
            return
        except ZIP_ERRORS:
            yield DAMAGED
            return
        members = opened.infolist()
        overlapping = _overlapping(members, opened.start_dir)
        for number, member in enumerate(members):
            name = _plain_name(member.filename)
            if number == MAX_MEMBERS:
                yield CROWDED
                return
            if member.filename.endswith("/") or _is_hidden(name):
                continue
            if reason := _zip_skip_reason(member) or _skip_reason(name, member.file_size):
                yield reason
            elif member.header_offset in overlapping:
                yield "overlapping members"
            else:
                path = _unzip(opened, member, name, scratch, budget)
                yield Member(name, path, _zip_date(member)) if path else "damaged member"


def _zip_skip_reason(member: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(member.external_attr >> 16) if member.create_system == UNIX else 0
    if mode not in (0, stat.S_IFREG):
        return "link" if mode == stat.S_IFLNK else "not a file"
    if member.flag_bits & ENCRYPTED:
        return "encrypted"
    return "" if member.compress_type in COMPRESSIONS else "unknown compression"


def _overlapping(members: list[zipfile.ZipInfo], end: int) -> set[int]:
    """Return the offsets of members that overlap the next one, as in zip bombs."""
    spans = sorted((member.header_offset, LOCAL_HEADER_BYTES + member.compress_size) for member in members)
    return {start for (start, size), (following, _) in pairwise([*spans, (end, 0)]) if start + size > following}


def _unzip(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, scratch: Path, budget: DecompressionBudget
) -> Path | None:
    try:
        stream = opened.open(member)
    except ZIP_ERRORS:
        return None

    def read(count: int) -> bytes:
        try:
            block = stream.read(count)
        except ZIP_ERRORS:  # including a wrong checksum
            return b""
        budget.charge(len(block))
        return block

    with stream:
        path = _write(read, name, member.file_size, scratch)
    return path if member.file_size or not member.CRC else None  # `zipfile` does not check the CRC of an empty read


def _zip_date(member: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*member.date_time, tzinfo=UTC)
    except ValueError:
        return None


class _TarStream:
    """The forward-only stream from which `tarfile` reads headers, limited to `MAX_HEADER_BYTES` per member."""

    def __init__(self, decompressed: DecompressedStream) -> None:
        self._stream, self._position = decompressed, 0
        self.header_left, self.last = 2 * MAX_HEADER_BYTES, b""

    def read(self, size: int) -> bytes:
        self.header_left -= size
        if size < 0 or self.header_left < 0:
            raise tarfile.ReadError("a header is too large")
        blocks = []
        while size and (block := self.content(size)):
            blocks.append(block)
            size -= len(block)
        self.last = b"".join(blocks)
        return self.last

    def content(self, size: int) -> bytes:
        """Read between 1 and `size` bytes; no bytes at the end."""
        block = self._stream.read(size)
        self._position += len(block)
        return block

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise tarfile.ReadError("a size is wrong")
        while self._position < position and self.content(min(position - self._position, 2**16)):
            pass


def _read_tar(archive: Path, scratch: Path) -> Iterator[Member | str]:
    with open_limited(archive) as decompressed:
        stream = _TarStream(decompressed)
        try:
            opened: Any = tarfile.TarFile(fileobj=cast(Any, stream), encoding="utf-8", errors="surrogateescape")
        except TAR_ERRORS:
            yield DAMAGED
            return
        for _ in range(MAX_MEMBERS):
            try:
                member = opened.next()
            except TAR_ERRORS:
                yield DAMAGED
                return
            if member is None:
                if stream.last.strip(b"\0") or len(stream.last) < TAR_BLOCK_BYTES:
                    yield CUT if len(stream.last) < TAR_BLOCK_BYTES else DAMAGED
                while decompressed.read(2**16):  # so that the checksum is verified
                    pass
                return
            result = _tar_member(stream, member, scratch)
            if result is not None:
                yield result
            if result == CUT:
                return
            opened.members.clear()  # `tarfile` would keep the headers of all members
            opened.pax_headers.clear()
            stream.header_left = MAX_HEADER_BYTES
        yield CROWDED


def _tar_member(stream: _TarStream, member: tarfile.TarInfo, scratch: Path) -> Member | str | None:
    """Return a member, the reason why it is skipped, or None for folders and hidden files, which are not counted."""
    name = _plain_name(member.name)
    if member.isdir() or _is_hidden(name):
        return None
    if member.issym() or member.islnk():
        return "link"
    if not member.isreg() or member.issparse():
        return "not a file"
    if reason := _skip_reason(name, member.size):
        return reason
    path = _write(stream.content, name, member.size, scratch)
    if path is None:
        return CUT
    try:
        modified = datetime.fromtimestamp(member.mtime, UTC)
    except (ValueError, OverflowError, OSError):
        modified = None
    return Member(name, path, modified)
