"""Read a release from a folder or from any address that fsspec supports.

HTTP servers receive the key in `$BAICAI_RELEASE_KEY` as a bearer token.
"""

import os
from typing import Any

import aiohttp
import fsspec

from baicai.errors import ArtefactError, MachineError


class RemoteRelease:
    """Reads files and byte ranges of a release, and counts the bytes fetched."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.fetched_bytes = 0
        key = os.environ.get("BAICAI_RELEASE_KEY", "")
        is_http = self.address.startswith(("http://", "https://"))
        options = {"client_kwargs": {"headers": {"Authorization": f"Bearer {key}"}}} if key and is_http else {}
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.address, **options)
        except (ValueError, ImportError) as error:
            raise MachineError(
                f"{address} cannot be read ({error}): install the package it needs, or copy the release"
            ) from None

    def address_of(self, name: str) -> str:
        """Return the full address of a file, for messages."""
        return f"{self.address}/{name}"

    def read(self, name: str, max_bytes: int) -> bytes:
        """Read a whole file.

        Raises: ArtefactError if it does not exist or exceeds `max_bytes`, MachineError if it cannot be fetched.
        """
        content = self._cat(name, 0, max_bytes + 1)
        if len(content) > max_bytes:
            raise ArtefactError(f"{self.address_of(name)} is larger than {max_bytes} bytes: ask its publisher")
        return content

    def read_range(self, name: str, start: int, stop: int) -> bytes:
        """Read the bytes of a file from `start` up to, not including, `stop`.

        Raises: ArtefactError if it does not exist or is shorter, MachineError if it cannot be fetched.
        """
        content = self._cat(name, start, stop)
        if len(content) != stop - start:
            raise ArtefactError(
                f"{self.address_of(name)} returned {len(content)} bytes instead of {stop - start}: it is truncated, or "
                "its server does not support range requests"
            )
        return content

    def _cat(self, name: str, start: int, stop: int) -> bytes:
        try:
            content: Any = self._files.cat_file(f"{self._root}/{name}", start=start, end=stop)
        except FileNotFoundError:
            raise ArtefactError(f"{self.address_of(name)} does not exist: pull again, or ask its publisher") from None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RuntimeError) as error:
            raise MachineError(f"{self.address_of(name)} cannot be read ({error}): pull again to resume") from None
        self.fetched_bytes += len(content)
        return bytes(content)
