"""Files as streams of bytes, unpacked on the way."""

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

PACKED = (".gz", ".zst", ".bz2", ".xz")
_MAX_XZ_BYTES = 2**27  # of memory: what `xz -9` packs needs half of it
_CHUNK_BYTES = 2**12  # what a hostile file can blow up at once stays at about 100 MB


def is_compressed(path: Path) -> bool:
    """Return whether a file is unpacked while it is read."""
    return path.suffix.lower() in PACKED


@contextmanager
def open_decompressed(path: Path) -> Iterator[io.BufferedIOBase]:
    """Yield the unpacked bytes of a file.

    Raises: DataError, also while the stream is used, if the file cannot be read or unpacked.
    """
    with read_errors(path), path.open("rb") as raw:
        suffix = path.suffix.lower()
        if suffix in (".gz", ".tgz"):
            with gzip.open(raw) as stream:
                yield stream
        elif suffix in _DECOMPRESSORS:
            with io.BufferedReader(_Unpacked(raw, _DECOMPRESSORS[suffix]), 2**17) as buffered:
                yield buffered
        else:
            yield raw


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into one line.

    Raises: DataError
    """
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be unpacked ({error}): copy or compress it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): mend it or take it out of the folder") from None


class _Unpacked(io.RawIOBase):
    """Unpacks frames, one after another, and notices, unlike zstd's own reader, that the last one is cut short."""

    def __init__(self, raw: IO[bytes], decompressor: Callable[[], Any]) -> None:
        self._raw, self._decompressor = raw, decompressor
        self._frame = decompressor()
        self._between_frames = True
        self._packed = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            self._packed = self._packed or self._raw.read(_CHUNK_BYTES)
            if not self._packed:
                if self._between_frames:
                    return 0
                raise EOFError("it ends in the middle")
            self._ready = memoryview(self._frame.decompress(self._packed))
            self._packed, self._between_frames = self._frame.unused_data, self._frame.eof
            if self._frame.eof:
                self._frame = self._decompressor()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count


class _Bzip2:
    """The library's decompressor, whose errors are not told from those of a disk."""

    def __init__(self) -> None:
        self._inner = bz2.BZ2Decompressor()

    def decompress(self, packed: bytes) -> bytes:
        try:
            return self._inner.decompress(packed)
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
