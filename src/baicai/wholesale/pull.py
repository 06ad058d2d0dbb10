"""`baicai data pull`: the documents of a slice, kept up to date by what changed.

subscription.json      source, slice, trusted key, and the release that is here
documents/HASH...      the documents of one shard that are in the slice; what `baicai grow data=DIR/documents` reads
frames/HASH.json       which frames they came from, where each lies here, how many documents and how many removed
seen/HASH              ids of these documents, in their order; it stays, for receipts of runs name shards
purges.jsonl           proof that documents were taken back
"""

import json
import re
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

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
"""Frames side by side are fetched together, up to so much."""


@recipe
class PullRecipe:
    """What to pull."""

    source: str
    """A release: a folder, or an address of any kind that fsspec knows (http, https, s3, ...)."""
    slice: str = ""
    key: str = ""
    """The publisher's key, hex. Without, that of the first release that is pulled is trusted from then on."""
    release: str = ""
    """Hash of a manifest: that release and no newer one."""


class Pulled(NamedTuple):
    """What a pull did."""

    version: int
    documents: int
    fetched_bytes: int
    purged: int


class _Local(NamedTuple):
    """Where the lines of a frame that was pulled before are."""

    folder: Path
    shard: str
    start: int
    size_bytes: int
    first: int
    """Number of its first document in the shard."""
    documents: int
    removed: int
    """How many documents of its root had been removed."""


class _Part(NamedTuple):
    """What a frame has of the slice: its lines, compressed, and the ids of its documents."""

    block: bytes
    ids: bytes


def pull(config: PullRecipe, out: Path, now: datetime | None = None) -> Pulled:
    """Bring the folder `out` to the newest release, or the one asked for.

    Raises: ArtefactError if the release must not be trusted or a part of it is damaged, ConfigError if `out` holds
    another slice; what was there before stays.
    """
    with locked(out / "pull"):
        note = out / "subscription.json"
        before: dict[str, Any] = read_json(note) if note.exists() else {}
        for key, value in (("slice", config.slice),):
            if before and before[key] != value:
                raise ConfigError(f"{out} holds the slice '{before[key]}': choose another --out for '{value}'")
        source = RemoteRelease(config.source)
        trust = Trust(before.get("key") or config.key, before.get("version", 0), before.get("manifest", ""))
        manifest, signer = _newest(source, config, trust, now)
        if not trust.key:
            notify(f"Trusting key {signer} from now on, as nothing else was given.")
        fresh = _unproven(out, manifest)
        here = _held(out, {one for takedown in fresh for one in takedown.documents})
        wanted = parse_slice(config.slice)
        known = _known(out)
        shards = [shard for shard in manifest.shards if wanted.may_hold(shard)]
        with Progress("pull", len(shards)) as progress:
            for done, shard in enumerate(shards, 1):
                if not (out / "frames" / f"{shard.file}.json").exists():
                    _make(source, shard, wanted, known, out)
                progress.update(done, {"shards": done, "of": len(shards), "fetched_MB": source.fetched_bytes / 1e6})
        named = {shard.file for shard in shards}
        dropped = _drop(out, named)
        if here:
            _forget_tokens(dropped)
        receipt = PullReceipt(release=manifest.hash, slice=config.slice, shards=sorted(named))
        write_json(out / "documents" / RECEIPT_FILE, to_table(receipt))
        _prove(out, manifest, fresh, here, now or datetime.now(UTC))
        documents = sum(read_json(path)["documents"] for path in (out / "frames").glob("*.json"))
        told = {"source": config.source, "slice": config.slice, "key": signer}
        write_json(note, told | {"version": manifest.version, "manifest": manifest.hash, "documents": documents})
        return Pulled(manifest.version, documents, source.fetched_bytes, len(here))


def _newest(source: RemoteRelease, config: PullRecipe, trust: Trust, now: datetime | None) -> tuple[Manifest, str]:
    if config.release:
        where = f"{MANIFESTS}/{config.release}"
        manifest, signer = verify_manifest(
            source.read(where, MAX_MANIFEST_BYTES), source.named(where), trust.key or None
        )
        if manifest.hash != config.release:
            raise ArtefactError(f"{source.named(where)} is another release: get it from its publisher again")
        return manifest, signer
    content = source.read(MANIFEST, MAX_MANIFEST_BYTES)
    manifest, signer = verify_manifest(content, source.named(MANIFEST), trust.key or None)
    check_follows(manifest, trust, source.named(MANIFEST), now)
    at = manifest
    while trust.version and at.version > trust.version + 1:  # the chain back to what is here
        where = f"{MANIFESTS}/{at.previous}"
        earlier, _ = verify_manifest(source.read(where, MAX_MANIFEST_BYTES), source.named(where), signer)
        if earlier.hash != at.previous or earlier.version != at.version - 1:
            raise ArtefactError(f"{source.named(where)} is not what version {at.version} follows: ask its publisher")
        at = earlier
    if trust.version and at.version == trust.version + 1 and at.previous != trust.hash:
        raise ArtefactError(
            f"{source.named(MANIFEST)} does not follow version {trust.version} that is here: ask its publisher"
        )
    return manifest, signer


def _known(out: Path) -> dict[str, _Local]:
    """Return where the frames are that were pulled before, by their root."""
    found = {}
    for note in (out / "frames").glob("*.json"):
        first = 0
        for root, start, size, documents, removed in read_json(note)["frames"]:
            found[root] = _Local(out, note.stem, start, size, first, documents, removed)
            first += documents
    return found


def _make(source: RemoteRelease, shard: Shard, wanted: Slice, known: dict[str, _Local], out: Path) -> None:
    """Write what a shard has of the slice."""
    where = f"{SHARDS}/{shard.index_file}"
    frames = read_index(source.read(where, shard.index_bytes), shard.index_file, source.named(where))
    if any(frame.start + frame.size_bytes > shard.size_bytes for frame in frames):
        raise ArtefactError(f"{source.named(where)} reaches beyond its shard: get it from its publisher again")
    frames = [frame for frame in frames if wanted.reaches(frame.min_quality, frame.max_quality)]
    blocks: list[bytes] = []
    ids: list[bytes] = []
    notes, start = [], 0
    for frame, part in zip(frames, _parts(source, shard, frames, wanted, known), strict=True):
        notes.append([frame.root, start, len(part.block), len(part.ids) // ID_BYTES, len(frame.removed)])
        start += len(part.block)
        blocks.append(part.block)
        ids.append(part.ids)
    write_atomic(out / "seen" / shard.file, b"".join(ids))
    write_atomic(out / "documents" / f"{shard.file}{SUFFIX}", b"".join(blocks))
    documents = sum(map(len, ids)) // ID_BYTES
    write_json(out / "frames" / f"{shard.file}.json", {"documents": documents, "frames": notes})


def _parts(
    source: RemoteRelease, shard: Shard, frames: list[Frame], wanted: Slice, known: dict[str, _Local]
) -> Iterator[_Part]:
    """Yield what each frame has of the slice, from here where it is, else fetched, neighbours together."""
    name, at = f"{SHARDS}/{shard.file}{SUFFIX}", 0
    usable = {frame.root for frame in frames if frame.root in known and known[frame.root].removed <= len(frame.removed)}
    while at < len(frames):
        if frames[at].root in usable:
            yield _from_here(known[frames[at].root], frames[at], wanted)
            at += 1
            continue
        first, stop = at, at + 1
        while (
            stop < len(frames)
            and frames[stop].root not in usable
            and frames[stop].start == frames[stop - 1].start + frames[stop - 1].size_bytes
            and frames[stop].start + frames[stop].size_bytes - frames[first].start <= FETCH_BYTES
        ):
            stop += 1
        begin, end = frames[first].start, frames[stop - 1].start + frames[stop - 1].size_bytes
        content = source.read_range(name, begin, end)
        for frame in frames[first:stop]:
            place = frame.start - begin
            yield _part(read_frame(content[place : place + frame.size_bytes], frame, source.named(name)), frame, wanted)
        at = stop


def _from_here(local: _Local, frame: Frame, wanted: Slice) -> _Part:
    """Return what is left of a frame that is here; if nothing was removed since, it is not unpacked."""
    path = local.folder / "documents" / f"{local.shard}{SUFFIX}"
    block = _range(path, local.start, local.size_bytes)
    if local.removed == len(frame.removed):
        ids = _range(local.folder / "seen" / local.shard, local.first * ID_BYTES, local.documents * ID_BYTES)
        return _Part(block, ids)
    lines = decompress(block, MAX_FRAME_BYTES, str(path)).splitlines(keepends=True) if block else []
    return _part(lines, frame, wanted)


def _part(lines: list[bytes], frame: Frame, wanted: Slice) -> _Part:
    """Return what of a frame's lines is in the slice and was not removed."""
    gone = set(frame.removed)
    rows = [(line, json.loads(line)) for line in lines]
    rows = [(line, row) for line, row in rows if row["id"] not in gone and wanted.holds(row)]
    block = zstandard.ZstdCompressor(level=LEVEL).compress(b"".join(line for line, _ in rows)) if rows else b""
    return _Part(block, b"".join(id_bytes(str(row["id"])) for _, row in rows))


def id_bytes(document: str) -> bytes:
    """Return the id of a document as bytes.

    Raises: ArtefactError if it is none.
    """
    if not DOCUMENT.fullmatch(document):
        raise ArtefactError(f"'{document[:80]}' is no id of a document, which has {2 * ID_BYTES} hex digits: check it")
    return bytes.fromhex(document)


def _range(path: Path, start: int, size_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(size_bytes)


def _drop(out: Path, named: set[str]) -> set[str]:
    """Remove the shards that the release no longer names and return them.

    Their notes go first, so that a kill leaves nothing half known.
    """
    dropped = {file.name.removesuffix(SUFFIX) for file in (out / "documents").glob(f"*{SUFFIX}")} - named
    for note in (out / "frames").glob("*.json"):
        if note.stem not in named:
            note.unlink()
    for shard in dropped:
        (out / "documents" / f"{shard}{SUFFIX}").unlink()
    return dropped


def _forget_tokens(shards: set[str]) -> None:
    """Remove tokens that were made of documents that were taken back."""
    for manifest in (home_folder() / "shards").glob("*/manifest.json"):
        receipt = read_json(manifest).get("receipt")
        if receipt and shards & set(receipt["shards"]):
            shutil.rmtree(manifest.parent)


def _unproven(out: Path, manifest: Manifest) -> list[Takedown]:
    """Return the takedowns of a release that there is no proof of here."""
    path = out / "purges.jsonl"
    proven = (
        [json.loads(line)["takedown"]["documents"] for line in path.read_text().splitlines()] if path.exists() else []
    )
    return [takedown for takedown in manifest.takedowns if takedown.documents not in proven]


def shards_with(out: Path, ids: Iterable[str]) -> dict[str, set[str]]:
    """Return the shards, also those that are gone, that some of these documents came from, and which."""
    wanted = np.array(sorted({id_bytes(one) for one in ids}), f"S{ID_BYTES}")
    found: dict[str, set[str]] = {}
    for file in (out / "seen").glob("*") if len(wanted) else ():
        seen = np.fromfile(file, wanted.dtype)
        met = seen[wanted[np.minimum(np.searchsorted(wanted, seen), len(wanted) - 1)] == seen]
        if len(met):
            found[file.name] = {bytes(one).ljust(ID_BYTES, b"\0").hex() for one in met.tolist()}
    return found


def _held(out: Path, ids: set[str]) -> set[str]:
    """Return which of some documents are here."""
    found: set[str] = set()
    for shard, met in shards_with(out, ids).items():
        if (out / "documents" / f"{shard}{SUFFIX}").exists():
            found |= met
    return found


def _prove(out: Path, manifest: Manifest, fresh: list[Takedown], here: set[str], now: datetime) -> None:
    """Write proof of takedowns: which of their documents were here, and that none of them is left."""
    left = _held(out, {one for takedown in fresh for one in takedown.documents})
    if left:
        raise ArtefactError(f"{out} still holds document {min(left)}, which was taken back: ask the publisher")
    path = out / "purges.jsonl"
    lines = [path.read_bytes() if path.exists() else b""]
    for takedown in fresh:
        told = {"documents": takedown.documents, "reason": takedown.reason, "deadline": takedown.deadline}
        purged = sorted(here & set(takedown.documents))
        late = bool(purged) and parse_time(takedown.deadline, "takedown") < now
        proof = {"takedown": told, "manifest": manifest.hash, "time": now.isoformat(), "purged": purged, "late": late}
        lines.append(json.dumps(proof, ensure_ascii=False).encode() + b"\n")
    if fresh:
        write_atomic(path, b"".join(lines))
