"""The signed manifest of a release: its shards, its takedowns and the release before it.

A subscriber trusts one key. It rejects a manifest that was signed by another key, is older than the one it has
(rollback), has expired (freeze), or does not follow the one it has (swap).
"""

import base64
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import ValidationError

from baicai.artefact import value_hash, write_atomic
from baicai.config import Count, canonical_json, recipe, to_table
from baicai.errors import ArtefactError, ConfigError

FORMAT = "baicai-release/1"
MANIFEST, MANIFESTS, SHARDS = "MANIFEST", "manifests", "shards"
"""Contents of a release folder: the newest manifest, all manifests by hash, and all shards and indexes by hash."""
MAX_MANIFEST_BYTES = 256 * 2**20
DIGEST = re.compile(r"[0-9a-f]{64}")


@recipe
class Shard:
    """An immutable file of documents with the same domain, language and licence and similar quality."""

    file: str
    """sha256 of the file, which is also its name."""
    size_bytes: int
    index_file: str
    """sha256 of its index, which is also the index's name."""
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
    """A request to remove documents."""

    documents: list[str]
    """Ids of the documents."""
    reason: str
    requested: str
    """Date and time, UTC, ISO 8601."""
    deadline: str
    """Date and time by which subscribers must have removed the documents."""


@recipe
class Manifest:
    """The contents of a release."""

    format: str
    name: str
    version: Count
    created: str
    """Date and time, UTC, ISO 8601."""
    expires: str
    """Date and time after which it must not be used."""
    previous: str
    """Hash of the manifest of the version before; empty for the first."""
    shards: list[Shard]
    takedowns: list[Takedown]

    @property
    def hash(self) -> str:
        """sha256 of its canonical JSON, which identifies the release."""
        return value_hash(to_table(self))


@dataclass(frozen=True)
class Trust:
    """The state of a subscriber: its trusted key, and the manifest it has."""

    key: str
    """Public key, hex."""
    version: int = 0
    hash: str = ""


def sign_manifest(manifest: Manifest, key: Ed25519PrivateKey) -> bytes:
    """Sign a manifest and return the content of its file."""
    table = to_table(manifest)
    signature = base64.b64encode(key.sign(canonical_json(table))).decode()
    return canonical_json({"manifest": table, "key": public_key_hex(key), "signature": signature}) + b"\n"


def verify_manifest(content: bytes, where: str, key: str | None = None) -> tuple[Manifest, str]:
    """Verify the content of a manifest file.

    Args:
        content: as `sign_manifest` returns it.
        where: path or address of the file, for error messages.
        key: trusted public key, hex. If None, the key that the file names is accepted.

    Returns: the manifest, and the public key (hex) that signed it.
    Raises: ArtefactError if the file is damaged or its signature is not valid for the key.
    """
    try:
        envelope = json.loads(content)
        table, signer = envelope["manifest"], str(envelope["key"])
        signature = base64.b64decode(envelope["signature"])
        if key is not None and signer != key:
            raise ArtefactError(
                f"{where} is signed by key {signer[:16]}, but the trusted key is {key[:16]}: download it from its "
                "publisher, or, if the publisher has a new key, pull into a new folder"
            )
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(signer)).verify(signature, canonical_json(table))
        manifest = Manifest(**table)
    except InvalidSignature:
        raise ArtefactError(f"{where} was changed after it was signed: download it again") from None
    except (ValueError, KeyError, TypeError, RecursionError, ValidationError, ConfigError) as error:
        raise ArtefactError(f"{where} is not a manifest ({_brief(error)}): download it again") from None
    if manifest.format != FORMAT:
        raise ArtefactError(f"{where} has format '{manifest.format}', expected '{FORMAT}': update baicai")
    for shard in manifest.shards:
        if not (DIGEST.fullmatch(shard.file) and DIGEST.fullmatch(shard.index_file)):
            raise ArtefactError(f"{where} has an invalid shard name '{shard.file[:80]}': download it again")
    return manifest, signer


def check_follows(manifest: Manifest, trust: Trust, where: str, now: datetime | None = None) -> None:
    """Check that a subscriber may update to a manifest from the one it has.

    Raises: ArtefactError if the manifest is older, another one of the same version, no successor, or expired.
    """
    if manifest.version < trust.version:
        raise ArtefactError(
            f"{where} is version {manifest.version}, but version {trust.version} was pulled before: it was rolled "
            "back; ask its publisher"
        )
    if manifest.version == trust.version and manifest.hash != trust.hash:
        raise ArtefactError(f"{where} is not the version {manifest.version} pulled before: ask its publisher")
    if manifest.version == trust.version + 1 and trust.version and manifest.previous != trust.hash:
        raise ArtefactError(f"{where} does not follow version {trust.version} pulled before: ask its publisher")
    if parse_time(manifest.expires, where) < (now or datetime.now(UTC)):
        raise ArtefactError(f"{where} expired on {manifest.expires}: it may hide later takedowns; ask its publisher")


def parse_time(text: str, where: str) -> datetime:
    """Parse an ISO 8601 date and time; without a time zone it is UTC.

    Raises: ArtefactError if it is invalid.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ArtefactError(f"{where}: '{text}' is not a date and time: download it again") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def public_key_hex(key: Ed25519PrivateKey) -> str:
    """Return the public key as hex."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def open_signing_key(path: Path) -> Ed25519PrivateKey:
    """Read the signing key from a PEM file. A missing file is created, readable only by its owner.

    Raises: ConfigError if the file does not contain an ed25519 key.
    """
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        old_umask = os.umask(0o077)
        try:
            write_atomic(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        finally:
            os.umask(old_umask)
    try:
        loaded = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"key {path} cannot be read ({_brief(error)}): give an ed25519 key in PEM") from None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise ConfigError(f"key {path} is not ed25519: give an ed25519 key in PEM")
    return loaded


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:120]
