"""API keys: random, shown once, and stored as hashes in a file that only its owner can read."""

import hashlib
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from baicai.artefact import home_folder, locked, read_json, write_atomic
from baicai.config import canonical_json, from_table, recipe, to_table
from baicai.errors import ConfigError

Scope = Literal["infer", "admin"]
"""`infer` may generate; `admin` may also read the server's metrics, and load and unload models."""
PREFIX = "bk-"
SECRET_BYTES = 32
MAX_NAME_CHARACTERS = 64


@recipe
class KeyRecipe:
    """`baicai keys add`: create an API key."""

    name: str
    """Owner of the key; named clients take turns in the queue."""
    scope: Scope = "infer"
    """`infer` may generate; `admin` may also read metrics, and load and unload models."""


@recipe
class Key:
    """The stored part of a key."""

    sha256: str
    """Hash of the key. The key has 256 random bits, so that a slow password hash is unnecessary."""
    scope: Scope
    created: str
    """Time of creation, ISO 8601 in UTC."""


def keys_file() -> Path:
    """Return the path of the key file."""
    return home_folder() / "keys.json"


def add_key(config: KeyRecipe) -> str:
    """Create a key and return its secret, which is not stored.

    Raises: ConfigError if the name is invalid or already has a key.
    """
    if not config.name.isprintable() or not 1 <= len(config.name) <= MAX_NAME_CHARACTERS:
        raise ConfigError(f"a key's name must have 1 to {MAX_NAME_CHARACTERS} printable characters")
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    with locked(keys_file()):
        keys = read_keys()
        if config.name in keys:
            raise ConfigError(f"'{config.name}' already has a key: revoke it first, or choose another name")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        _write(keys | {config.name: Key(sha256=_hash(secret), scope=config.scope, created=created)})
    return secret


def revoke_key(name: str) -> None:
    """Revoke a key; running servers reject it from now on.

    Raises: ConfigError if the name has no key.
    """
    with locked(keys_file()):
        keys = read_keys()
        if name not in keys:
            raise ConfigError(f"'{name}' has no key: keys exist for {', '.join(sorted(keys)) or 'nobody'}")
        _write({other: key for other, key in keys.items() if other != name})


def read_keys() -> dict[str, Key]:
    """Read the stored keys by name.

    Raises: ArtefactError or ConfigError if the file is damaged.
    """
    file = keys_file()
    if not file.exists():
        return {}
    return {name: from_table(Key, table, f"{file}: {name}") for name, table in read_json(file).items()}


class KeyRing:
    """The current keys; the file is read again whenever it has changed."""

    def __init__(self) -> None:
        self._file_version: tuple[int, ...] | None = None
        self._owners: dict[str, tuple[str, Scope]] = {}
        self.required = False
        """Whether requests need a key. Once a key has existed, this stays true, even after the last one is revoked."""
        self._reload()

    def find_owner(self, secret: str) -> tuple[str, Scope] | None:
        """Return the name and the scope of a key, or None if it is unknown.

        Raises: ArtefactError or ConfigError if the file is damaged.
        """
        self._reload()
        return self._owners.get(_hash(secret))

    def _reload(self) -> None:
        try:
            stat = keys_file().stat()
        except FileNotFoundError:
            self._file_version, self._owners = None, {}
            return
        version = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if version != self._file_version:
            self._owners = {}  # A damaged file must not leave revoked keys valid.
            self._owners = {key.sha256: (name, key.scope) for name, key in read_keys().items()}
            self._file_version = version
        self.required = self.required or bool(self._owners)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _write(keys: dict[str, Key]) -> None:
    write_atomic(keys_file(), canonical_json({name: to_table(key) for name, key in keys.items()}), mode=0o600)
