"""The manifest of token shards: what they hold, what they were made from, and the hash that names them."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from baicai.artefact import read_json, value_hash, write_json
from baicai.config import from_table, recipe, to_table
from baicai.errors import ArtefactError, ConfigError

FORMAT = 1
MANIFEST_FILE = "manifest.json"


RECEIPT_FILE = ".receipt.json"
"""The file in a folder of pulled documents that says which they are."""


@recipe
class PullReceipt:
    """Which documents of a release a text was made of: those of these shards that were in the slice."""

    release: str
    slice: str
    shards: list[str]


@recipe
class _File:
    tokens: int
    sha256: str


@recipe
class _Manifest:
    format: int
    dtype: str
    vocab_size: int
    tokenizer: str
    shard_tokens: int
    documents: int
    tokens: int
    bytes: int
    files: list[_File]
    sources: dict[str, int]
    licences: dict[str, int]
    hash: str
    receipt: Annotated[PullReceipt | None, Field(exclude_if=lambda receipt: receipt is None)] = None


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Write a manifest, with the format and its hash added.

    Raises: MachineError if the disk is full.
    """
    manifest = {"format": FORMAT, **manifest}
    write_json(folder / MANIFEST_FILE, {**manifest, "hash": _hash(manifest)})


def read_receipt(source: str) -> dict[str, Any] | None:
    """Return the receipt that lies in a folder of pulled documents, None if there is none.

    Raises: ArtefactError if it is damaged.
    """
    file = Path(source) / RECEIPT_FILE
    if not file.is_file():
        return None
    try:
        return to_table(from_table(PullReceipt, read_json(file), str(file)))
    except ConfigError as error:
        raise ArtefactError(f"{error}: pull the documents again") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder, checked.

    Raises: ArtefactError if it is missing, damaged, or of another format.
    """
    file = folder / MANIFEST_FILE
    manifest = read_json(file)
    if manifest.get("format") != FORMAT:
        raise ArtefactError(f"{file}: format {manifest.get('format')!r} is not {FORMAT}: make the shards again")
    try:
        manifest = to_table(from_table(_Manifest, manifest, str(file)))
    except ConfigError as error:
        raise ArtefactError(f"{error}: make or copy the shards again") from None
    files, full = [entry["tokens"] for entry in manifest["files"]], manifest["shard_tokens"]
    fits = sum(files) == manifest["tokens"] > 0 and all(n == full for n in files[:-1]) and 0 < files[-1] <= full
    if not fits or manifest["dtype"] not in ("<u2", "<u4") or _hash(manifest) != manifest["hash"]:
        raise damaged(file, "its hash or counts do not fit its contents")
    return manifest


def _hash(manifest: dict[str, Any]) -> str:
    """Return what identifies the shards: everything but the sources, which may be named after folders."""
    return value_hash({key: value for key, value in manifest.items() if key not in ("hash", "sources")})


def shard_name(number: int) -> str:
    """Return the file name of a shard."""
    return f"tokens-{number:05d}.bin"


def damaged(file: Path, why: str) -> ArtefactError:
    """Return the error for a file of the shards that is not what it was."""
    return ArtefactError(f"{file} is damaged ({why}): remove {file.parent} and make or copy it again")
