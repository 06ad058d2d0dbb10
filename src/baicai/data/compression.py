"""Open compressed files as streams of bytes."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import zstandard

from baicai.errors import DataError

COMPRESSED_SUFFIXES = (".gz", ".zst", ".bz2", ".xz")
_MAX_XZ_BYTES = 2**27  # memory limit; decompressing the output of `xz -9` needs half of it
_CHUNK_BYTES = 2**12  # limits what a hostile file expands to at once to about 100 MB


def is_compressed(path: Path) -> bool:
    """Return whether a file is decompressed on reading, judged by its name."""
    return path.suffix.lower() in COMPRESSED_SUFFIXES


@contextmanager
def open_decompressed(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file for reading, decompressing it according to its name.

    Raises: DataError if the file cannot be read or decompressed, also while the stream is in use.
    """
    with read_errors(path), path.open("rb") as raw:
        suffix = path.suffix.lower()
        if suffix in (".gz", ".tgz"):
            with gzip.open(raw) as stream:
                yield stream
        elif suffix in _DECOMPRESSORS:
            with io.BufferedReader(_DecompressedStream(raw, _DECOMPRESSORS[suffix]), 2**17) as buffered:
                yield buffered
        else:
            yield raw


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Convert errors from reading `path` to one clear line.

    Raises: DataError
    """
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be decompressed ({error}): copy or compress it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): repair it or move it out of the folder") from None


class _DecompressedStream(io.RawIOBase):
    """Decompresses consecutive frames and, unlike zstd's own reader, detects a truncated last frame."""

    def __init__(self, raw: IO[bytes], decompressor: Callable[[], Any]) -> None:
        self._raw, self._decompressor = raw, decompressor
        self._frame = decompressor()
        self._between_frames = True
        self._compressed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._compressed = self._compressed or self._raw.read(_CHUNK_BYTES)
            if not self._compressed:
                if self._between_frames:
                    return 0
                raise EOFError("the file is truncated")
            self._ready = memoryview(self._frame.decompress(self._compressed))
            self._compressed, self._between_frames = self._frame.unused_data, self._frame.eof
            if self._frame.eof:
                self._frame = self._decompressor()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


class _Bzip2:
    """bz2's decompressor with errors that differ from those of a disk."""

    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    def decompress(self, data: bytes) -> bytes:
        try:
            return self._inner.decompress(data)
        except OSError as error:
            raise EOFError(str(error)) from None

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
    ".bz2": _Bzip2,
    ".xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES),
}
