"""Keys of those who may ask: made at random, shown once, kept as hashes in a file that only its owner reads."""

import hashlib
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from baicai.artefact import home_folder, locked, read_json, write_atomic
from baicai.config import canonical_json, from_table, recipe, to_table
from baicai.errors import ConfigError

Scope = Literal["infer", "admin"]
"""Who may `infer` asks for answers; an `admin` also sees the server's figures, and loads and unloads models."""
PREFIX = "bk-"
SECRET_BYTES = 32
MAX_NAME_CHARACTERS = 64


@recipe
class KeyRecipe:
    """`baicai keys add`: a key for someone."""

    name: str
    """Whose it is; who has a name takes turns with the others."""
    scope: Scope = "infer"


@recipe
class Key:
    """What is kept of a key."""

    sha256: str
    """Of the key: it has 256 random bits, so that nothing slower is needed."""
    scope: Scope
    created: str


def keys_file() -> Path:
    """Return where keys are kept."""
    return home_folder() / "keys.json"


def add_key(config: KeyRecipe) -> str:
    """Make a key, and return it; it is kept nowhere.

    Raises: ConfigError if the name has one, or cannot be a name.
    """
    if not config.name.isprintable() or not 1 <= len(config.name) <= MAX_NAME_CHARACTERS:
        raise ConfigError(f"a key's name has 1 to {MAX_NAME_CHARACTERS} printable characters: choose another")
    secret = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
    with locked(keys_file()):
        keys = read_keys()
        if config.name in keys:
            raise ConfigError(f"'{config.name}' has a key: revoke it first, or choose another name")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        _write(keys | {config.name: Key(sha256=_hash(secret), scope=config.scope, created=created)})
    return secret


def revoke_key(name: str) -> None:
    """Take a key back; servers that run refuse it from now on.

    Raises: ConfigError if there is none of that name.
    """
    with locked(keys_file()):
        keys = read_keys()
        if name not in keys:
            raise ConfigError(f"'{name}' has no key: there are those of {', '.join(sorted(keys)) or 'nobody'}")
        _write({other: key for other, key in keys.items() if other != name})


def read_keys() -> dict[str, Key]:
    """Return what is kept of each key.

    Raises: ArtefactError or ConfigError if the file is damaged.
    """
    file = keys_file()
    if not file.exists():
        return {}
    return {name: from_table(Key, table, f"{file}: {name}") for name, table in read_json(file).items()}


class KeyRing:
    """The keys as they are now: the file is looked at again whenever it has changed."""

    def __init__(self) -> None:
        self._seen: tuple[int, ...] | None = None
        self._owners: dict[str, tuple[str, Scope]] = {}
        self.needed = False
        """Whether one has to be shown: once there was one, that stays so."""
        self._look()

    def owner(self, secret: str) -> tuple[str, Scope] | None:
        """Return whose key it is and what it may do, None if it is nobody's.

        Raises: ArtefactError or ConfigError if the file is damaged.
        """
        self._look()
        return self._owners.get(_hash(secret))

    def _look(self) -> None:
        try:
            state = keys_file().stat()
        except FileNotFoundError:
            self._seen, self._owners = None, {}
            return
        seen = (state.st_mtime_ns, state.st_ino, state.st_size)
        if seen != self._seen:
            self._owners = {}
            self._owners = {key.sha256: (name, key.scope) for name, key in read_keys().items()}
            self._seen = seen
        self.needed = self.needed or bool(self._owners)


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _write(keys: dict[str, Key]) -> None:
    write_atomic(keys_file(), canonical_json({name: to_table(key) for name, key in keys.items()}), mode=0o600)
