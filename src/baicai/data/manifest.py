"""Manifest of token shards: their content, their sources, and the hash that identifies them."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from baicai.artefact import read_json, value_hash, write_json
from baicai.config import from_table, recipe, to_table
from baicai.errors import ArtefactError, ConfigError

FORMAT = 1
MANIFEST_FILE = "manifest.json"
RECEIPT_FILE = ".receipt.json"
"""File in a folder of pulled documents that identifies them."""


@recipe
class PullReceipt:
    """Documents of a release that were pulled: those in a slice of the named shards."""

    release: str
    """Hash of the release."""
    slice: str
    shards: list[str]


@recipe
class ShardFile:
    """One token file in a manifest."""

    tokens: int
    sha256: str


@recipe
class ShardManifest:
    """Content of a manifest.json."""

    format: int
    dtype: str
    vocab_size: int
    tokenizer: str
    """Hash of the tokenizer."""
    shard_tokens: int
    """Tokens in every file but the last."""
    documents: int
    tokens: int
    bytes: int
    files: list[ShardFile]
    sources: dict[str, int]
    """Number of documents by source."""
    licences: dict[str, int]
    """Number of documents by licence."""
    hash: str
    receipt: Annotated[PullReceipt | None, Field(exclude_if=lambda receipt: receipt is None)] = None


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, adding its format and hash.

    Raises: MachineError if the disk is full.
    """
    manifest = {"format": FORMAT, **manifest}
    write_json(folder / MANIFEST_FILE, {**manifest, "hash": _hash(manifest)})


def read_receipt(source: str) -> PullReceipt | None:
    """Read the receipt in a folder of pulled documents. Returns None if it has none.

    Raises: ArtefactError if it is damaged.
    """
    file = Path(source) / RECEIPT_FILE
    if not file.is_file():
        return None
    try:
        return from_table(PullReceipt, read_json(file), str(file))
    except ConfigError as error:
        raise ArtefactError(f"{error}: pull the documents again") from None


def read_manifest(folder: Path) -> ShardManifest:
    """Read and validate the manifest of a folder.

    Raises: ArtefactError if it is missing, damaged, or of another format.
    """
    file = folder / MANIFEST_FILE
    fields = read_json(file)
    if fields.get("format") != FORMAT:
        raise ArtefactError(f"{file}: format {fields.get('format')!r} is not {FORMAT}: create the shards again")
    try:
        manifest = from_table(ShardManifest, fields, str(file))
    except ConfigError as error:
        raise ArtefactError(f"{error}: create or copy the shards again") from None
    files, full = [entry.tokens for entry in manifest.files], manifest.shard_tokens
    fits = sum(files) == manifest.tokens > 0 and all(n == full for n in files[:-1]) and 0 < files[-1] <= full
    if not fits or manifest.dtype not in ("<u2", "<u4") or _hash(to_table(manifest)) != manifest.hash:
        raise damaged(file, "its hash or counts do not match its content")
    return manifest


def _hash(manifest: dict[str, Any]) -> str:
    """Hash everything but the sources, which may be named after folders."""
    return value_hash({key: value for key, value in manifest.items() if key not in ("hash", "sources")})


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"tokens-{number:05d}.bin"


def damaged(file: Path, reason: str) -> ArtefactError:
    """Build the error for a damaged file of token shards."""
    return ArtefactError(f"{file} is damaged ({reason}): remove {file.parent} and create or copy it again")
