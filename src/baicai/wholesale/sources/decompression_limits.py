"""How much may come out of a packed file: some are made to fill memory or disks."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from baicai.data.compression import open_decompressed
from baicai.errors import DataError

FREE_BYTES, MAX_RATIO = 100 * 2**20, 200
"""What a packed file may always give, and then so many times its own size; text is packed some 3 to 20 times."""
BLOCK_BYTES = 2**16


class DecompressionBombError(Exception):
    """A file unpacks to far more than its size."""


class Allowance:
    """How many bytes may still come out of a file."""

    def __init__(self, path: Path) -> None:
        self._left = FREE_BYTES + MAX_RATIO * path.stat().st_size

    def take(self, count: int) -> None:
        """Note that so many came out.

        Raises: BombError if they are too many.
        """
        self._left -= count
        if self._left < 0:
            raise DecompressionBombError


class Unpacked:
    """The unpacked bytes of a file, in blocks, as long as they are not too many and can be unpacked."""

    def __init__(self, stream: io.BufferedIOBase, path: Path) -> None:
        self._stream, self._allowance = stream, Allowance(path)

    def read(self, count: int) -> bytes:
        """Return at least one byte and at most so many; none at the end.

        Raises: BombError, and what `open_decompressed` turns into DataError.
        """
        block = self._stream.read1(count)  # `read` would lose what came before damage
        self._allowance.take(len(block))
        return block


@contextmanager
def unpack(path: Path) -> Iterator[Unpacked]:
    """Yield the unpacked bytes of a file.

    Raises: DataError if it is damaged, BombError if it unpacks to far too much.
    """
    with open_decompressed(path) as stream:
        yield Unpacked(stream, path)


def read_whole(path: Path, limit: int) -> bytes | str:
    """Return the unpacked bytes of a file, or why there are none: there may be more than `limit`."""
    try:
        with open_decompressed(path) as stream:
            content = stream.read(limit + 1)
    except DataError:
        return "cannot be read"
    return content if len(content) <= limit else "too large"


def is_bomb(path: Path) -> bool:
    """Return whether a file unpacks to far too much, up to where it is damaged."""
    try:
        with unpack(path) as stream:
            while stream.read(BLOCK_BYTES):
                pass
    except DecompressionBombError:
        return True
    except DataError:
        pass
    return False
