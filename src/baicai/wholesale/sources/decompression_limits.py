"""Limits on decompressed size: some compressed files are built to fill memory or disks."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from baicai.data.compression import open_decompressed
from baicai.errors import DataError

FREE_BYTES, MAX_RATIO = 100 * 2**20, 200
"""A file may decompress to `FREE_BYTES` plus `MAX_RATIO` times its size. Text is compressed 3 to 20 times."""
BLOCK_BYTES = 2**16


class DecompressionBombError(Exception):
    """A file decompresses to far more than its size."""


class DecompressionBudget:
    """The number of bytes to which a file may still decompress."""

    def __init__(self, path: Path) -> None:
        self._bytes_left = FREE_BYTES + MAX_RATIO * path.stat().st_size

    def charge(self, count: int) -> None:
        """Charge `count` decompressed bytes against the budget.

        Raises: DecompressionBombError if the budget is exceeded.
        """
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise DecompressionBombError


class DecompressedStream:
    """The decompressed bytes of a file, limited by a budget."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        self._stream, self._budget = stream, DecompressionBudget(path)

    def read(self, count: int) -> bytes:
        """Read between 1 and `count` bytes; no bytes at the end.

        Raises: DecompressionBombError, and the errors that `open_decompressed` converts to DataError.
        """
        block = self._stream.read1(count)  # `read` would lose the bytes before damage
        self._budget.charge(len(block))
        return block


@contextmanager
def open_limited(path: Path) -> Iterator[DecompressedStream]:
    """Open a file for decompression.

    Raises: DataError if it is damaged, DecompressionBombError if it decompresses to far too much.
    """
    with open_decompressed(path) as stream:
        yield DecompressedStream(stream, path)


def read_limited(path: Path, limit: int) -> bytes | str:
    """Return the decompressed bytes of a file, or the reason (a string) if it is damaged or exceeds `limit`."""
    try:
        with open_decompressed(path) as stream:
            content = stream.read(limit + 1)
    except DataError:
        return "cannot be read"
    return content if len(content) <= limit else "too large"


def is_bomb(path: Path) -> bool:
    """Return whether a file decompresses to far too much, as far as it can be read."""
    try:
        with open_limited(path) as stream:
            while stream.read(BLOCK_BYTES):
                pass
    except DecompressionBombError:
        return True
    except DataError:
        pass
    return False
