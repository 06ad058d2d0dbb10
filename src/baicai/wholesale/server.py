"""`baicai data serve`: a release over HTTP, with ranges and ETags, and, where wanted, keys and a ledger of bytes.

Any web server can carry a release; this one adds who may have it, and counts what each took.
"""

import hmac
import json
import re
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from aiohttp import web
from pydantic import Field

from baicai.config import recipe
from baicai.errors import ConfigError
from baicai.ip_addresses import is_loopback
from baicai.wholesale.release.dataset_card import CARD, CROISSANT
from baicai.wholesale.release.manifest import MANIFEST
from baicai.wholesale.release.publish import read_release

NAMES = re.compile(rf"{MANIFEST}|{CARD}|{CROISSANT}|manifests/[0-9a-f]{{64}}|shards/[0-9a-f]{{64}}(?:\.jsonl\.zst)?")
"""What is served: the files of a release and nothing else."""
KEY_CHARACTERS = 16
SECONDS = 60
EXAMPLE = '{"name": "key"}'


@recipe
class ServeReleaseRecipe:
    """How to serve a release."""

    release: str
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8080
    keys: str = ""
    """A JSON file of names and their keys, which clients send as `Authorization: Bearer KEY`; needed off loopback."""
    ledger: str = ""
    """A SQLite file that counts the bytes which each name took, by day."""


class Ledger:
    """Counts bytes by name and day."""

    def __init__(self, path: str) -> None:
        self._base = sqlite3.connect(path, isolation_level=None)
        self._base.execute("CREATE TABLE IF NOT EXISTS taken (name TEXT, day TEXT, bytes INT, PRIMARY KEY (name, day))")

    def add(self, name: str, num_bytes: int) -> None:
        """Count bytes that a name took now."""
        row = (name, datetime.now(UTC).date().isoformat(), num_bytes)
        told = "ON CONFLICT (name, day) DO UPDATE SET bytes = bytes + excluded.bytes"
        self._base.execute(f"INSERT INTO taken VALUES (?, ?, ?) {told}", row)

    def taken(self) -> dict[str, int]:
        """Return the bytes of each name, all days together."""
        return dict(self._base.execute("SELECT name, sum(bytes) FROM taken GROUP BY name").fetchall())

    def close(self) -> None:
        """Let the file go."""
        self._base.close()


LEDGER, NAME = web.AppKey("ledger", Ledger), web.RequestKey("name", str)


def serve(config: ServeReleaseRecipe) -> None:
    """Serve until it is stopped.

    Raises: ArtefactError if there is no release, ConfigError if the keys are wrong or missing.
    """
    web.run_app(make_app(config), host=config.host, port=config.port, access_log=None, keepalive_timeout=SECONDS)


def make_app(config: ServeReleaseRecipe) -> web.Application:
    """Return the server.

    Raises: ArtefactError if there is no release, ConfigError if the keys are wrong or missing.
    """
    folder = Path(config.release)
    read_release(folder)
    keys = _read_keys(config)

    async def answer(request: web.Request) -> web.StreamResponse:
        name = _name_of(request, keys)
        path = request.match_info["path"]
        if not NAMES.fullmatch(path) or not (folder / path).is_file():
            raise web.HTTPNotFound(text="there is no such file in this release\n")
        caching = "no-cache" if "/" not in path else "public, max-age=31536000, immutable"
        request[NAME] = name
        return web.FileResponse(folder / path, headers={"Cache-Control": caching})

    async def count(request: web.Request, response: web.StreamResponse) -> None:
        if response.status in (200, 206):
            request.app[LEDGER].add(request[NAME], response.content_length or 0)

    async def counting(app: web.Application) -> AsyncIterator[None]:
        app[LEDGER] = Ledger(config.ledger)  # in the thread that uses it
        yield
        app[LEDGER].close()

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    if config.ledger:
        app.cleanup_ctx.append(counting)
        app.on_response_prepare.append(count)
    return app


def _read_keys(config: ServeReleaseRecipe) -> dict[str, str]:
    if not config.keys:
        if not is_loopback(config.host):
            raise ConfigError(f"serve: {config.host} can be reached by others: give keys=FILE, or host=127.0.0.1")
        return {}
    try:
        keys = json.loads(Path(config.keys).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"serve: keys {config.keys} cannot be read ({error}): write {EXAMPLE}") from None
    if not isinstance(keys, dict) or not keys:
        raise ConfigError(f"serve: keys {config.keys} names nobody: write {EXAMPLE}")
    for name, key in keys.items():
        if not isinstance(key, str) or len(key) < KEY_CHARACTERS:
            raise ConfigError(
                f"serve: the key of '{name}' is shorter than {KEY_CHARACTERS} characters: make a longer one"
            )
    return keys


def _name_of(request: web.Request, keys: dict[str, str]) -> str:
    """Return who asks; without keys that is nobody in particular."""
    if not keys:
        return ""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode()
    found = [name for name, key in keys.items() if hmac.compare_digest(key.encode(), given)]
    if not found:
        raise web.HTTPUnauthorized(text="a key is needed: Authorization: Bearer KEY\n")
    return found[0]
