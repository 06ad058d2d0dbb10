"""`baicai data serve`: serve a release over HTTP, with ranges and ETags, optional keys and usage accounting.

Any static web server can host a release; this one adds access keys and counts the bytes sent to each.
"""

import hmac
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from aiohttp import web
from pydantic import Field

from baicai.config import recipe
from baicai.errors import ConfigError
from baicai.ip_addresses import is_loopback
from baicai.wholesale.release.dataset_card import CARD, CROISSANT
from baicai.wholesale.release.manifest import MANIFEST
from baicai.wholesale.release.publish import read_release

FILES = re.compile(rf"{MANIFEST}|{CARD}|{CROISSANT}|manifests/[0-9a-f]{{64}}|shards/[0-9a-f]{{64}}(?:\.jsonl\.zst)?")
"""Paths that are served: the files of a release and nothing else."""
MIN_KEY_CHARACTERS = 16
TIMEOUT_SECONDS = 60
EXAMPLE = '{"name": "key"}'


@recipe
class ServeReleaseRecipe:
    """A release, and how to serve it."""

    RENAMED: ClassVar[dict[str, str]] = {"keys": "keys_file"}

    release: str
    """Folder of the release."""
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """0 chooses a free port."""
    keys_file: str = ""
    """JSON file of client names and keys, sent as `Authorization: Bearer KEY`; required off loopback."""
    ledger: str = ""
    """SQLite file that records the bytes sent to each client, by day."""


class UsageLedger:
    """Bytes sent to each client, by day, in a SQLite file."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS taken (name TEXT, day TEXT, bytes INT, PRIMARY KEY (name, day))"
        )

    def add(self, name: str, num_bytes: int) -> None:
        """Record bytes sent to a client now."""
        row = (name, datetime.now(UTC).date().isoformat(), num_bytes)
        upsert = "ON CONFLICT (name, day) DO UPDATE SET bytes = bytes + excluded.bytes"
        self._database.execute(f"INSERT INTO taken VALUES (?, ?, ?) {upsert}", row)

    def bytes_by_client(self) -> dict[str, int]:
        """Return the total bytes of each client."""
        return dict(self._database.execute("SELECT name, sum(bytes) FROM taken GROUP BY name").fetchall())

    def close(self) -> None:
        """Close the file."""
        self._database.close()


LEDGER, CLIENT = web.AppKey("ledger", UsageLedger), web.RequestKey("name", str)


def serve(config: ServeReleaseRecipe) -> None:
    """Serve until interrupted.

    Raises: ArtefactError if the folder is not a release, ConfigError if the keys are invalid or missing.
    """
    web.run_app(
        make_app(config), host=config.host, port=config.port, access_log=None, keepalive_timeout=TIMEOUT_SECONDS
    )


def make_app(config: ServeReleaseRecipe) -> web.Application:
    """Build the server application.

    Raises: ArtefactError if the folder is not a release, ConfigError if the keys are invalid or missing.
    """
    folder = Path(config.release)
    read_release(folder)
    keys = _read_keys(config)

    async def send_file(request: web.Request) -> web.StreamResponse:
        client = _authenticate(request, keys)
        path = request.match_info["path"]
        if not FILES.fullmatch(path) or not (folder / path).is_file():
            raise web.HTTPNotFound(text="file not found in this release\n")
        caching = "no-cache" if "/" not in path else "public, max-age=31536000, immutable"
        request[CLIENT] = client
        return web.FileResponse(folder / path, headers={"Cache-Control": caching})

    async def record_usage(request: web.Request, response: web.StreamResponse) -> None:
        if response.status in (200, 206):
            request.app[LEDGER].add(request[CLIENT], response.content_length or 0)

    async def open_ledger(app: web.Application) -> AsyncIterator[None]:
        app[LEDGER] = UsageLedger(config.ledger)  # opened in the thread that uses it
        yield
        app[LEDGER].close()

    app = web.Application()
    app.router.add_get("/{path:.*}", send_file)
    if config.ledger:
        app.cleanup_ctx.append(open_ledger)
        app.on_response_prepare.append(record_usage)
    return app


def _read_keys(config: ServeReleaseRecipe) -> dict[str, str]:
    if not config.keys_file:
        if not is_loopback(config.host):
            raise ConfigError(f"serve: {config.host} can be reached by others: set keys_file, or host=127.0.0.1")
        return {}
    try:
        keys = json.loads(Path(config.keys_file).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"serve: keys_file {config.keys_file} cannot be read ({error}): write {EXAMPLE}") from None
    if not isinstance(keys, dict) or not keys:
        raise ConfigError(f"serve: keys_file {config.keys_file} has no keys: write {EXAMPLE}")
    for name, key in keys.items():
        if not isinstance(key, str) or len(key) < MIN_KEY_CHARACTERS:
            raise ConfigError(
                f"serve: the key of '{name}' is shorter than {MIN_KEY_CHARACTERS} characters: make a longer one"
            )
    return keys


def _authenticate(request: web.Request, keys: dict[str, str]) -> str:
    """Return the name of the client; empty if the server has no keys."""
    if not keys:
        return ""
    token = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    clients = [name for name, key in keys.items() if hmac.compare_digest(key.encode(), token)]
    if not clients:
        raise web.HTTPUnauthorized(text="key required: send Authorization: Bearer KEY\n")
    return clients[0]
