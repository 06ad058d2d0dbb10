"""Members of zip and tar archives, one at a time.

Nothing is unpacked to a place that an archive names: each member is written to a file of ours, read, and removed.
What cannot be read is yielded as the reason why; what was read before stays.
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
from baicai.wholesale.sources.decompression_limits import Allowance, DecompressionBombError, Unpacked, unpack
from baicai.wholesale.sources.media_types import file_type
from baicai.wholesale.sources.mediawiki_dump import ENDING

MAX_MEMBERS = 2**18
MAX_TABLE_BYTES = 2**34
"""Of a member with many documents, unpacked."""
MAX_DIRECTORY_BYTES = 2**24
"""Of a zip archive's directory, which is read into memory."""
MAX_HEADER_BYTES = 2**16
"""Of what a tar archive says of a member, which is read into memory."""
BLOCK_BYTES = 2**12
"""What is unpacked at once: bzip2 can make 80 MB of it."""
TAR_BLOCK_BYTES = 512
ZIP_ERRORS = (
    zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, OverflowError, EOFError, OSError, struct.error,
    zlib.error,
)  # fmt: skip
"""What `zipfile` raises when bytes are wrong."""
TAR_ERRORS = (tarfile.TarError, ValueError, OverflowError, IndexError, struct.error)
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)
ENCRYPTED = 0x1
LOCAL_HEADER_BYTES, UNIX = 30, 3
DAMAGED, CUT, BOMB, CROWDED = "damaged archive", "cut off", "unpacks to far too much", "too many members"
ENDINGS = re.compile(r"(\.[a-z0-9]{1,10}){1,2}$")


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    path: Path
    """Where its content lies until the next member is asked for."""
    changed: datetime | None


def read_members(archive: Path, scratch: Path) -> Iterator[Member | str]:
    """Yield the files in an archive that can be read, and why others cannot; `scratch` is a folder to write to."""
    read = _read_zip if archive.suffix.lower() == ".zip" else _read_tar
    try:
        yield from read(archive, scratch)
    except DecompressionBombError:
        yield BOMB
    except DataError:
        yield DAMAGED


def _plain_name(name: str) -> str:
    """Return the name of a member below the archive, or nothing if it is elsewhere."""
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\\", "/")
    if name.startswith("/") or ".." in name.split("/") or re.match(r"[A-Za-z]:/", name):
        return ""
    return str(PurePosixPath(name))


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _refusal(name: str, size: int) -> str:
    """Return why a member is not read, or nothing."""
    if not name:
        return "path outside the archive"
    kind = file_type(name)
    if kind.format == "archive":
        return "nested archive"
    if kind.format == "nothing":
        return f"media type {kind.media_type}"
    large = kind.format in ("table", "WARC") or ENDING.search(name)
    return "too large" if not 0 <= size <= (MAX_TABLE_BYTES if large else MAX_DOCUMENT_BYTES) else ""


def _write(read: Callable[[int], bytes], name: str, size: int, scratch: Path) -> Path | None:
    """Write what a member holds into a file with its ending, and return it; None if it ends too soon."""
    ending = ENDINGS.search(name.lower())
    path = scratch / f"member{ending[0] if ending else ''}"
    path.unlink(missing_ok=True)  # file systems bring to disk what is overwritten
    with path.open("wb") as file:
        while size and (block := read(min(size, BLOCK_BYTES))):
            file.write(block)
            size -= len(block)
    return None if size else path


class _ZipFile(io.BufferedReader):
    """A file of which no more is read at once than a directory may have."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise DecompressionBombError
        return super().read(size)


def _read_zip(archive: Path, scratch: Path) -> Iterator[Member | str]:
    allowance = Allowance(archive)
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
            if reason := _zip_refusal(member) or _refusal(name, member.file_size):
                yield reason
            elif member.header_offset in overlapping:
                yield "overlapping members"
            else:
                path = _unzip(opened, member, name, scratch, allowance)
                yield Member(name, path, _zip_date(member)) if path else "damaged member"


def _zip_refusal(member: zipfile.ZipInfo) -> str:
    mode = stat.S_IFMT(member.external_attr >> 16) if member.create_system == UNIX else 0
    if mode not in (0, stat.S_IFREG):
        return "link" if mode == stat.S_IFLNK else "not a file"
    if member.flag_bits & ENCRYPTED:
        return "encrypted"
    return "" if member.compress_type in COMPRESSIONS else "unknown compression"


def _overlapping(members: list[zipfile.ZipInfo], end: int) -> set[int]:
    """Return where members begin that do not end before the next one begins, as they do in bombs."""
    spans = sorted((one.header_offset, LOCAL_HEADER_BYTES + one.compress_size) for one in members)
    return {start for (start, size), (following, _) in pairwise([*spans, (end, 0)]) if start + size > following}


def _unzip(
    opened: zipfile.ZipFile, member: zipfile.ZipInfo, name: str, scratch: Path, allowance: Allowance
) -> Path | None:
    try:
        stream = opened.open(member)
    except ZIP_ERRORS:
        return None

    def read(count: int) -> bytes:
        try:
            block = stream.read(count)
        except ZIP_ERRORS:  # the checksum, too
            return b""
        allowance.take(len(block))
        return block

    with stream:
        path = _write(read, name, member.file_size, scratch)
    return path if member.file_size or not member.CRC else None  # of nothing, no checksum is looked at


def _zip_date(member: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*member.date_time, tzinfo=UTC)
    except ValueError:
        return None


class _TarStream:
    """What `tarfile` reads headers from: forwards only, and no more than it is allowed for one member."""

    def __init__(self, unpacked: Unpacked) -> None:
        self._unpacked, self._at = unpacked, 0
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
        """Return at least one byte and at most so many; none at the end."""
        block = self._unpacked.read(size)
        self._at += len(block)
        return block

    def tell(self) -> int:
        return self._at

    def seek(self, place: int) -> None:
        if place < self._at:
            raise tarfile.ReadError("a size is wrong")
        while self._at < place and self.content(min(place - self._at, 2**16)):
            pass


def _read_tar(archive: Path, scratch: Path) -> Iterator[Member | str]:
    with unpack(archive) as unpacked:
        stream = _TarStream(unpacked)
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
                while unpacked.read(2**16):  # to its checksum
                    pass
                return
            found = _tar_member(stream, member, scratch)
            if found is not None:
                yield found
            if found == CUT:
                return
            opened.members.clear()  # it would keep what was said of each
            opened.pax_headers.clear()
            stream.header_left = MAX_HEADER_BYTES
        yield CROWDED


def _tar_member(stream: _TarStream, member: tarfile.TarInfo, scratch: Path) -> Member | str | None:
    """Return a member, why it cannot be read, or None if it is none that is meant to be read."""
    name = _plain_name(member.name)
    if member.isdir() or _is_hidden(name):
        return None
    if member.issym() or member.islnk():
        return "link"
    if not member.isreg() or member.issparse():
        return "not a file"
    if reason := _refusal(name, member.size):
        return reason
    path = _write(stream.content, name, member.size, scratch)
    if path is None:
        return CUT
    try:
        changed = datetime.fromtimestamp(member.mtime, UTC)
    except (ValueError, OverflowError, OSError):
        changed = None
    return Member(name, path, changed)
