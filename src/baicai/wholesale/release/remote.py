"""Where a release is read from: a folder, or an address of any kind that fsspec knows.

A server that wants a key gets that in `$BAICAI_RELEASE_KEY`.
"""

import os
from typing import Any

import aiohttp
import fsspec

from baicai.errors import ArtefactError, MachineError


class RemoteRelease:
    """Reads files and ranges of files, and counts the bytes."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.fetched_bytes = 0
        key = os.environ.get("BAICAI_RELEASE_KEY", "")
        told: dict[str, Any] = {}
        if key and self.address.startswith(("http://", "https://")):
            told = {"client_kwargs": {"headers": {"Authorization": f"Bearer {key}"}}}
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.address, **told)
        except (ValueError, ImportError) as error:
            raise MachineError(
                f"{address} cannot be read ({error}): install what it needs, or copy the release"
            ) from None

    def named(self, name: str) -> str:
        """Return a file's address, for messages."""
        return f"{self.address}/{name}"

    def read(self, name: str, most: int) -> bytes:
        """Return a file of at most so many bytes.

        Raises: ArtefactError if it is not there or larger, MachineError if the source does not answer.
        """
        content = self._cat(name, 0, most + 1)
        if len(content) > most:
            raise ArtefactError(f"{self.named(name)} is larger than {most} bytes: ask its publisher")
        return content

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Return the bytes of a file from `start` up to `stop`.

        Raises: ArtefactError if it is not there or shorter, MachineError if the source does not answer.
        """
        content = self._cat(name, start, stop)
        if len(content) != stop - start:
            raise ArtefactError(
                f"{self.named(name)} gave {len(content)} bytes instead of {stop - start}: it is cut short, or its "
                "server knows no ranges"
            )
        return content

    def _cat(self, name: str, start: int, stop: int) -> bytes:
        try:
            content: Any = self._files.cat_file(f"{self._root}/{name}", start=start, end=stop)
        except FileNotFoundError:
            raise ArtefactError(f"{self.named(name)} is not there: pull again, or ask its publisher") from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RuntimeError) as error:
            raise MachineError(
                f"{self.named(name)} cannot be read ({error}): pull again, it goes on where it was"
            ) from None
        self.fetched_bytes += len(content)
        return bytes(content)
