"""The signed manifest of a release: what it holds, and which release it follows.

A subscriber trusts one key. It refuses a manifest that another key signed, that is older than the one it has (rolled
back), past its date (frozen), or does not follow the one it has (swapped).
"""

import base64
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import TypeAdapter, ValidationError

from baicai.artefact import value_hash, write_atomic
from baicai.config import Count, canonical_json, recipe
from baicai.errors import ArtefactError, ConfigError

FORMAT = "baicai-release/1"
MANIFEST, MANIFESTS, SHARDS = "MANIFEST", "manifests", "shards"
"""What a release's folder has: the newest manifest; every manifest, and every shard and its index, by their hashes."""
MAX_MANIFEST_BYTES = 256 * 2**20
DIGEST = re.compile(r"[0-9a-f]{64}")


@recipe
class Shard:
    """A file of documents that are alike in what a slice asks for; it never changes."""

    file: str
    """sha256 of the file, which is its name."""
    size_bytes: int
    index_file: str
    """sha256 of its index, which is the index's name."""
    index_bytes: int
    documents: int
    domain: str
    language: str
    licence: str
    """SPDX id."""
    licence_class: str
    min_quality: float
    max_quality: float


@recipe
class Takedown:
    """A request to take documents back."""

    documents: list[str]
    """Their ids."""
    reason: str
    requested: str
    """Date and time, UTC, ISO 8601; so is the deadline by which a subscriber must have purged them."""
    deadline: str


@recipe
class Manifest:
    """A release."""

    format: str
    name: str
    version: Count
    created: str
    """Date and time, UTC, ISO 8601; so is the expiry, after which it must not be used."""
    expires: str
    previous: str
    """Hash of the manifest before this; empty for the first."""
    shards: list[Shard]
    takedowns: list[Takedown]

    @property
    def hash(self) -> str:
        """The sha256 of its canonical JSON: what names the release."""
        return value_hash(_table(self))


def _table(manifest: Manifest) -> dict[str, Any]:
    table: dict[str, Any] = TypeAdapter(Manifest).dump_python(manifest, mode="json")
    return table


@dataclass(frozen=True)
class Trust:
    """What a subscriber knows: the key it trusts (hex), and version and hash of the manifest it has."""

    key: str
    version: int = 0
    hash: str = ""


def sign_manifest(manifest: Manifest, key: Ed25519PrivateKey) -> bytes:
    """Return the signed manifest as a file's content."""
    table = _table(manifest)
    signature = base64.b64encode(key.sign(canonical_json(table))).decode()
    return canonical_json({"manifest": table, "key": public_key_hex(key), "signature": signature}) + b"\n"


def verify_manifest(content: bytes, where: str, key: str | None = None) -> tuple[Manifest, str]:
    """Return the manifest in a file's content and the key (hex) that signed it.

    Raises: ArtefactError if it is damaged, or not signed by `key`, or, without one, by the key that it names.
    """
    try:
        found = json.loads(content)
        table, signer, signature = found["manifest"], str(found["key"]), base64.b64decode(found["signature"])
        if key is not None and signer != key:
            raise ArtefactError(
                f"{where} is signed by key {signer[:16]}, trusted is {key[:16]}: get it from its publisher, or, "
                "if they changed their key, subscribe anew"
            )
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(signature, canonical_json(table))
        manifest = Manifest(**table)
    except InvalidSignature:
        raise ArtefactError(f"{where} was changed after it was signed: get it from its publisher again") from None
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError, ConfigError) as error:
        raise ArtefactError(f"{where} is no manifest ({_brief(error)}): get it from its publisher again") from None
    if manifest.format != FORMAT:
        raise ArtefactError(f"{where} has format '{manifest.format}', known is '{FORMAT}': update baicai")
    for shard in manifest.shards:
        if not (DIGEST.fullmatch(shard.file) and DIGEST.fullmatch(shard.index_file)):
            raise ArtefactError(f"{where} names a file '{shard.file[:80]}': get it from its publisher again")
    return manifest, signer


def check_follows(manifest: Manifest, trust: Trust, where: str, now: datetime | None = None) -> None:
    """Refuse a manifest that a subscriber must not go to from the one it has.

    Raises: ArtefactError
    """
    if manifest.version < trust.version:
        raise ArtefactError(
            f"{where} is version {manifest.version}, here is {trust.version} already: it was rolled back; ask its "
            "publisher"
        )
    if manifest.version == trust.version and manifest.hash != trust.hash:
        raise ArtefactError(f"{where} is another version {manifest.version} than the one here: ask its publisher")
    if manifest.version == trust.version + 1 and trust.version and manifest.previous != trust.hash:
        raise ArtefactError(f"{where} does not follow version {trust.version} that is here: ask its publisher")
    if parse_time(manifest.expires, where) < (now or datetime.now(UTC)):
        raise ArtefactError(f"{where} expired on {manifest.expires}: it may hide later takedowns; ask its publisher")


def parse_time(text: str, where: str) -> datetime:
    """Return the moment that an ISO 8601 text with a zone stands for.

    Raises: ArtefactError
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArtefactError(f"{where}: '{text}' is no date and time: get it from its publisher again") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def public_key_hex(key: Ed25519PrivateKey) -> str:
    """Return the public half of a key, hex."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def open_signing_key(path: Path) -> Ed25519PrivateKey:
    """Return the key in a PEM file, which is made, readable by its owner alone, if there is none.

    Raises: ConfigError if the file holds another kind of key.
    """
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        before = os.umask(0o077)
        try:
            write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        finally:
            os.umask(before)
    try:
        found = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"key {path} cannot be read ({_brief(error)}): give an ed25519 key in PEM") from None
    if not isinstance(found, Ed25519PrivateKey):
        raise ConfigError(f"key {path} is not ed25519: give an ed25519 key in PEM")
    return found


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
