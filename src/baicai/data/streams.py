"""Files as streams of bytes, unpacked on the way."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

import zstandard

from baicai.errors import DataError

_PACKED = (".gz", ".zst")
_CHUNK_BYTES = 2**12  # what a hostile file can blow up at once stays at about 100 MB


def is_packed(path: Path) -> bool:
    """Return whether a file is unpacked while it is read."""
    return path.suffix.lower() in _PACKED


@contextmanager
def open_stream(path: Path) -> Iterator[IO[bytes]]:
    """Yield the unpacked bytes of a file.

    Raises: DataError, also while the stream is used, if the file cannot be read or unpacked.
    """
    with read_errors(path), path.open("rb") as raw:
        suffix = path.suffix.lower()
        if suffix == ".gz":
            with gzip.open(raw) as stream:
                yield cast(IO[bytes], stream)
        elif suffix == ".zst":
            with io.BufferedReader(_Zstd(raw), 2**17) as stream:
                yield stream
        else:
            yield raw


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while `path` is read into one line.

    Raises: DataError
    """
    try:
        yield
    except (EOFError, zlib.error, zstandard.ZstdError, gzip.BadGzipFile) as error:
        raise DataError(f"{path} cannot be unpacked ({error}): copy or compress it again") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): mend it or take it out of the folder") from None


class _Zstd(io.RawIOBase):
    """Unpacks zstd frames and, unlike the library's own reader, notices that the last one is cut short."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame = zstandard.ZstdDecompressor().decompressobj()
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
                self._frame = zstandard.ZstdDecompressor().decompressobj()
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count
