"""`baicai data pull`: download the documents of a slice, and keep them up to date incrementally.

subscription.json      source, slice, trusted key, and the release that was pulled
documents/HASH...      documents of one shard that are in the slice; `baicai grow data=DIR/documents` reads them
frames/HASH.json       their frames: root hash, position here, number of documents and of removed documents
seen/HASH              ids of these documents, in order; kept after removal, as receipts of runs name shards
purges.jsonl           proof of removal for each takedown
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import zstandard

from baicai.artefact import home_folder, locked, read_json, write_atomic, write_json
from baicai.config import recipe, to_table
from baicai.data.manifest import RECEIPT_FILE, PullReceipt
from baicai.errors import ArtefactError, ConfigError
from baicai.run import Progress, notify
from baicai.wholesale.release.manifest import (
    MANIFEST,
    MANIFESTS,
    MAX_MANIFEST_BYTES,
    SHARDS,
    Manifest,
    Shard,
    Takedown,
    Trust,
    check_follows,
    parse_time,
    verify_manifest,
)
from baicai.wholesale.release.remote import RemoteRelease
from baicai.wholesale.release.shards import LEVEL, MAX_FRAME_BYTES, SUFFIX, Frame, decompress, read_frame, read_index
from baicai.wholesale.release.slices import Slice, parse_slice

ID_BYTES = 16
DOCUMENT = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")
FETCH_BYTES = 2**22
"""Maximum size of one request for adjacent frames."""


@recipe
class PullRecipe:
    """The release and slice to pull."""

    RENAMED: ClassVar[dict[str, str]] = {"key": "public_key", "release": "manifest"}

    source: str
    """Folder of a release, or an address that fsspec supports (http, https, s3, ...)."""
    slice: str = ""
    """Conditions on documents, such as `domain=law language=de quality>0.6`; by default all are pulled."""
    public_key: str = ""
    """The publisher's public key, hex. By default, the key of the first release pulled is trusted from then on."""
    manifest: str = ""
    """Hash of the manifest of one release; by default the newest is pulled."""


@dataclass(frozen=True)
class Pulled:
    """Result of a pull."""

    version: int
    """Version of the release."""
    documents: int
    """Number of documents in the folder."""
    fetched_bytes: int
    purged: int
    """Number of documents removed by takedowns."""


class _LocalFrame(NamedTuple):
    """Position of a frame that was pulled before."""

    folder: Path
    shard: str
    start: int
    size_bytes: int
    first: int
    """Index of its first document in the shard."""
    documents: int
    removed: int
    """Number of documents removed from its root."""


class _FramePart(NamedTuple):
    """The documents of a frame that are in the slice: compressed lines, and ids."""

    block: bytes
    ids: bytes


def pull(config: PullRecipe, out: Path, now: datetime | None = None) -> Pulled:
    """Update the folder `out` to the newest release, or to the requested one.

    Raises: ArtefactError if the release cannot be trusted or is damaged, ConfigError if `out` contains another slice.
    Documents that were pulled before stay.
    """
    with locked(out / "pull"):
        record = out / "subscription.json"
        previous: dict[str, Any] = read_json(record) if record.exists() else {}
        if previous and previous["slice"] != config.slice:
            raise ConfigError(
                f"{out} contains the slice '{previous['slice']}': choose another --out for '{config.slice}'"
            )
        remote = RemoteRelease(config.source)
        key = previous.get("key") or config.public_key
        trust = Trust(key, previous.get("version", 0), previous.get("manifest", ""))
        manifest, signer = _read_manifest(remote, config, trust, now)
        if not trust.key:
            notify(f"Trusting key {signer} from now on, as no public_key was given.")
        takedowns = _unproven(out, manifest)
        removed = _present(out, {document for takedown in takedowns for document in takedown.documents})
        requested = parse_slice(config.slice)
        local = _local_frames(out)
        shards = [shard for shard in manifest.shards if requested.may_hold(shard)]
        with Progress("pull", len(shards)) as progress:
            for done, shard in enumerate(shards, 1):
                if not (out / "frames" / f"{shard.file}.json").exists():
                    _pull_shard(remote, shard, requested, local, out)
                progress.update(done, {"shards": done, "of": len(shards), "fetched_MB": remote.fetched_bytes / 1e6})
        listed = {shard.file for shard in shards}
        dropped = _drop_shards(out, listed)
        if removed:
            _drop_tokens(dropped)
        receipt = PullReceipt(release=manifest.hash, slice=config.slice, shards=sorted(listed))
        write_json(out / "documents" / RECEIPT_FILE, to_table(receipt))
        _write_proof(out, manifest, takedowns, removed, now or datetime.now(UTC))
        documents = sum(read_json(path)["documents"] for path in (out / "frames").glob("*.json"))
        state = {"source": config.source, "slice": config.slice, "key": signer}
        write_json(record, state | {"version": manifest.version, "manifest": manifest.hash, "documents": documents})
        return Pulled(manifest.version, documents, remote.fetched_bytes, len(removed))


def _read_manifest(
    remote: RemoteRelease, config: PullRecipe, trust: Trust, now: datetime | None
) -> tuple[Manifest, str]:
    """Read the requested or the newest manifest and verify it, with the chain back to the one pulled before."""
    if config.manifest:
        where = f"{MANIFESTS}/{config.manifest}"
        manifest, signer = verify_manifest(
            remote.read(where, MAX_MANIFEST_BYTES), remote.address_of(where), trust.key or None
        )
        if manifest.hash != config.manifest:
            raise ArtefactError(f"{remote.address_of(where)} has another hash: download it again")
        return manifest, signer
    content = remote.read(MANIFEST, MAX_MANIFEST_BYTES)
    manifest, signer = verify_manifest(content, remote.address_of(MANIFEST), trust.key or None)
    check_follows(manifest, trust, remote.address_of(MANIFEST), now)
    link = manifest
    while trust.version and link.version > trust.version + 1:
        where = f"{MANIFESTS}/{link.previous}"
        earlier, _ = verify_manifest(remote.read(where, MAX_MANIFEST_BYTES), remote.address_of(where), signer)
        if earlier.hash != link.previous or earlier.version != link.version - 1:
            raise ArtefactError(
                f"{remote.address_of(where)} is not the predecessor of version {link.version}: ask its publisher"
            )
        link = earlier
    if trust.version and link.version == trust.version + 1 and link.previous != trust.hash:
        raise ArtefactError(
            f"{remote.address_of(MANIFEST)} does not follow version {trust.version} pulled before: ask its publisher"
        )
    return manifest, signer


def _local_frames(out: Path) -> dict[str, _LocalFrame]:
    """Locate the frames that were pulled before, by the hash of their root."""
    frames = {}
    for note in (out / "frames").glob("*.json"):
        first = 0
        for root, start, size, documents, removed in read_json(note)["frames"]:
            frames[root] = _LocalFrame(out, note.stem, start, size, first, documents, removed)
            first += documents
    return frames


def _pull_shard(
    remote: RemoteRelease, shard: Shard, requested: Slice, local: dict[str, _LocalFrame], out: Path
) -> None:
    """Write the documents of a shard that are in the slice."""
    where = f"{SHARDS}/{shard.index_file}"
    frames = read_index(remote.read(where, shard.index_bytes), shard.index_file, remote.address_of(where))
    if any(frame.start + frame.size_bytes > shard.size_bytes for frame in frames):
        raise ArtefactError(f"{remote.address_of(where)} lists frames beyond the end of its shard: download it again")
    frames = [frame for frame in frames if requested.reaches(frame.min_quality, frame.max_quality)]
    blocks: list[bytes] = []
    ids: list[bytes] = []
    notes, start = [], 0
    for frame, part in zip(frames, _frame_parts(remote, shard, frames, requested, local), strict=True):
        notes.append([frame.root, start, len(part.block), len(part.ids) // ID_BYTES, len(frame.removed)])
        start += len(part.block)
        blocks.append(part.block)
        ids.append(part.ids)
    write_atomic(out / "seen" / shard.file, b"".join(ids))
    write_atomic(out / "documents" / f"{shard.file}{SUFFIX}", b"".join(blocks))
    documents = sum(map(len, ids)) // ID_BYTES
    write_json(out / "frames" / f"{shard.file}.json", {"documents": documents, "frames": notes})


def _frame_parts(
    remote: RemoteRelease, shard: Shard, frames: list[Frame], requested: Slice, local: dict[str, _LocalFrame]
) -> Iterator[_FramePart]:
    """Yield the part of each frame: from local frames where possible, else fetched, adjacent frames together."""
    name, number = f"{SHARDS}/{shard.file}{SUFFIX}", 0
    usable = {frame.root for frame in frames if frame.root in local and local[frame.root].removed <= len(frame.removed)}
    while number < len(frames):
        if frames[number].root in usable:
            yield _from_local(local[frames[number].root], frames[number], requested)
            number += 1
            continue
        first, stop = number, number + 1
        while (
            stop < len(frames)
            and frames[stop].root not in usable
            and frames[stop].start == frames[stop - 1].start + frames[stop - 1].size_bytes
            and frames[stop].start + frames[stop].size_bytes - frames[first].start <= FETCH_BYTES
        ):
            stop += 1
        begin, end = frames[first].start, frames[stop - 1].start + frames[stop - 1].size_bytes
        content = remote.read_range(name, begin, end)
        for frame in frames[first:stop]:
            block = content[frame.start - begin : frame.start - begin + frame.size_bytes]
            yield _filter(read_frame(block, frame, remote.address_of(name)), frame, requested)
        number = stop


def _from_local(local: _LocalFrame, frame: Frame, requested: Slice) -> _FramePart:
    """Derive the part from a local frame, which is decompressed only if documents were removed since."""
    path = local.folder / "documents" / f"{local.shard}{SUFFIX}"
    block = _read_range(path, local.start, local.size_bytes)
    if local.removed == len(frame.removed):
        ids = _read_range(local.folder / "seen" / local.shard, local.first * ID_BYTES, local.documents * ID_BYTES)
        return _FramePart(block, ids)
    lines = decompress(block, MAX_FRAME_BYTES, str(path)).splitlines(keepends=True) if block else []
    return _filter(lines, frame, requested)


def _filter(lines: list[bytes], frame: Frame, requested: Slice) -> _FramePart:
    """Compress the lines of a frame that are in the slice and were not removed."""
    removed = set(frame.removed)
    rows = [(line, json.loads(line)) for line in lines]
    rows = [(line, row) for line, row in rows if row["id"] not in removed and requested.holds(row)]
    block = zstandard.ZstdCompressor(level=LEVEL).compress(b"".join(line for line, _ in rows)) if rows else b""
    return _FramePart(block, b"".join(id_bytes(str(row["id"])) for _, row in rows))


def id_bytes(document: str) -> bytes:
    """Convert the id of a document to bytes.

    Raises: ArtefactError if it is not an id.
    """
    if not DOCUMENT.fullmatch(document):
        raise ArtefactError(f"'{document[:80]}' is not a document id, which has {2 * ID_BYTES} hex digits: check it")
    return bytes.fromhex(document)


def _read_range(path: Path, start: int, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size_bytes)


def _drop_shards(out: Path, listed: set[str]) -> set[str]:
    """Delete the shards that the release no longer lists, and return their names.

    Their frame files are deleted first, so that an interruption leaves no frame without its documents.
    """
    dropped = {file.name.removesuffix(SUFFIX) for file in (out / "documents").glob(f"*{SUFFIX}")} - listed
    for note in (out / "frames").glob("*.json"):
        if note.stem not in listed:
            note.unlink()
    for shard in dropped:
        (out / "documents" / f"{shard}{SUFFIX}").unlink()
    return dropped


def _drop_tokens(shards: set[str]) -> None:
    """Delete token shards that were made from these document shards."""
    for manifest in (home_folder() / "shards").glob("*/manifest.json"):
        receipt = read_json(manifest).get("receipt")
        if receipt and shards & set(receipt["shards"]):
            shutil.rmtree(manifest.parent)


def _unproven(out: Path, manifest: Manifest) -> list[Takedown]:
    """Return the takedowns of a release without proof of removal in `out`."""
    path = out / "purges.jsonl"
    proven = (
        [json.loads(line)["takedown"]["documents"] for line in path.read_text().splitlines()] if path.exists() else []
    )
    return [takedown for takedown in manifest.takedowns if takedown.documents not in proven]


def shards_with(out: Path, ids: Iterable[str]) -> dict[str, set[str]]:
    """Find the shards, deleted ones included, that contained any of the documents.

    Returns: ids of these documents, by shard.
    """
    targets = np.array(sorted({id_bytes(document) for document in ids}), f"S{ID_BYTES}")
    shards: dict[str, set[str]] = {}
    for file in (out / "seen").glob("*") if len(targets) else ():
        seen = np.fromfile(file, targets.dtype)
        matches = seen[targets[np.minimum(np.searchsorted(targets, seen), len(targets) - 1)] == seen]
        if len(matches):
            shards[file.name] = {bytes(raw).ljust(ID_BYTES, b"\0").hex() for raw in matches.tolist()}
    return shards


def _present(out: Path, ids: set[str]) -> set[str]:
    """Return the documents among `ids` that `out` contains."""
    present: set[str] = set()
    for shard, documents in shards_with(out, ids).items():
        if (out / "documents" / f"{shard}{SUFFIX}").exists():
            present |= documents
    return present


def _write_proof(out: Path, manifest: Manifest, takedowns: list[Takedown], removed: set[str], now: datetime) -> None:
    """Record for each takedown which documents were removed, after checking that none of them remains."""
    remaining = _present(out, {document for takedown in takedowns for document in takedown.documents})
    if remaining:
        raise ArtefactError(f"{out} still contains document {min(remaining)}, which was removed: ask the publisher")
    path = out / "purges.jsonl"
    lines = [path.read_bytes() if path.exists() else b""]
    for takedown in takedowns:
        request = {"documents": takedown.documents, "reason": takedown.reason, "deadline": takedown.deadline}
        purged = sorted(removed & set(takedown.documents))
        late = bool(purged) and parse_time(takedown.deadline, "takedown") < now
        proof = {
            "takedown": request,
            "manifest": manifest.hash,
            "time": now.isoformat(),
            "purged": purged,
            "late": late,
        }
        lines.append(json.dumps(proof, ensure_ascii=False).encode() + b"\n")
    if takedowns:
        write_atomic(path, b"".join(lines))
