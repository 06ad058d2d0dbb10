"""`baicai data publish`: from the warehouse to a release of static files.

MANIFEST         the newest signed manifest
manifests/HASH   every manifest, under its hash
shards/HASH...   shards and their indexes, under their hashes
card.html        what is in it, for people; croissant.json, for programs
"""

import contextlib
import hashlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from baicai.artefact import explain_disk_errors, home_folder, write_atomic
from baicai.config import Positive, recipe
from baicai.errors import ArtefactError, ConfigError
from baicai.wholesale.release.catalog import Catalog
from baicai.wholesale.release.dataset_card import write_card
from baicai.wholesale.release.manifest import (
    FORMAT,
    MANIFEST,
    MANIFESTS,
    SHARDS,
    Manifest,
    Shard,
    open_signing_key,
    public_key_hex,
    sign_manifest,
    verify_manifest,
)
from baicai.wholesale.release.selection import Group, Selection
from baicai.wholesale.release.shards import (
    SUFFIX,
    DocumentLine,
    Frame,
    PackedFrame,
    WrittenShard,
    decode_line,
    group_into_frames,
    pack_frame,
    read_frame,
    read_index,
    write_release_shards,
)
from baicai.wholesale.release.warehouse import Warehouse

HELD = pa.schema([("id", pa.string()), ("version", pa.string()), ("shard", pa.string()), ("frame", pa.int32())])


@recipe
class PublishRecipe:
    """What to publish."""

    warehouse: str
    name: str = "corpus"
    key: str = ""
    """File of the ed25519 key that signs; by default `release.key` in the project's home folder, made once."""
    description: str = ""
    """What the card says of it; so is the address of its home page."""
    url: str = ""
    expires_days: Positive = 90.0
    catalog: str = ""
    """URL of the database that lists releases; see `baicai data catalog`."""
    duplicates: bool = False
    """Publish all captures of what is the same or nearly so, instead of the best-licensed one."""


def publish(config: PublishRecipe, out: Path, now: datetime | None = None) -> Manifest:
    """Write the next version of a release into the folder `out` and return its manifest.

    Files that are there stay as they are; a shard of which documents are gone is written again without them, and the
    old one removed. Raises: DataError, ArtefactError, ConfigError.
    """
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    warehouse = Warehouse(Path(config.warehouse))
    key = open_signing_key(Path(config.key) if config.key else home_folder() / "release.key")
    with warehouse.locked(), explain_disk_errors(out), contextlib.closing(Catalog(config.catalog)) as catalog:
        warehouse.require_gathered()
        before = read_release(out, public_key_hex(key)) if (out / MANIFEST).exists() else None
        if before and before.name != config.name:
            raise ConfigError(f"{out} holds the release '{before.name}', not '{config.name}': choose another --out")
        ledger = warehouse.folder / "held.parquet.part"
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
        selection = Selection(warehouse, duplicates=config.duplicates)
        with contextlib.closing(selection), pq.ParquetWriter(ledger, HELD) as table:
            selection.compare(_ledger(warehouse, out, before) if before else None)
            counts = selection.counts()
            shards = [*_keep(out, before.shards if before else [], selection, table), *_add(out, selection, table)]
        manifest = Manifest(
            format=FORMAT,
            name=config.name,
            version=before.version + 1 if before else 1,
            created=now.isoformat(),
            expires=(now + timedelta(days=config.expires_days)).isoformat(),
            previous=before.hash if before else "",
            shards=shards,
            takedowns=warehouse.takedowns(),
        )
        warehouse.contents_file(manifest.hash).parent.mkdir(exist_ok=True)
        ledger.replace(warehouse.contents_file(manifest.hash))
        content = sign_manifest(manifest, key)
        write_card(out, manifest, counts, public_key_hex(key), config.description, config.url)
        write_atomic(out / MANIFESTS / manifest.hash, content)
        write_atomic(out / MANIFEST, content)
        _sweep(out / SHARDS, manifest)
        if before:
            warehouse.contents_file(before.hash).unlink(missing_ok=True)
        catalog.add_release(manifest, public_key_hex(key), str(out.resolve()))
        return manifest


def read_release(folder: Path, key: str | None = None) -> Manifest:
    """Return the newest manifest of a release on disk.

    Raises: ArtefactError
    """
    path = folder / MANIFEST
    if not path.exists():
        raise ArtefactError(f"{folder} is no release: it has no {MANIFEST}; check the path")
    return verify_manifest(path.read_bytes(), str(path), key)[0]


def read_shard(folder: Path, shard: Shard) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frames of a shard on disk, as they lie there.

    Raises: ArtefactError if it is damaged.
    """
    path = folder / SHARDS / f"{shard.file}{SUFFIX}"
    try:
        index = folder / SHARDS / shard.index_file
        frames, content = read_index(index.read_bytes(), shard.index_file, str(index)), path.read_bytes()
    except FileNotFoundError as error:
        raise ArtefactError(f"{error.filename} is missing: publish into another --out") from None
    if hashlib.sha256(content).hexdigest() != shard.file:
        raise ArtefactError(f"{path} does not match its hash: publish into another --out")
    for frame in frames:
        yield frame, content[frame.start : frame.start + frame.size_bytes]


def _ledger(warehouse: Warehouse, out: Path, manifest: Manifest) -> Path:
    """Return the file that says which documents a release holds; it is made again if it is lost."""
    path = warehouse.contents_file(manifest.hash)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        with pq.ParquetWriter(part, HELD) as table:
            for shard in manifest.shards:
                frames = enumerate(read_shard(out, shard))
                lines = [(number, line) for number, (frame, block) in frames for line in _lines(block, frame, out)]
                _note(table, shard.file, [(line.id, line.version, number) for number, line in lines])
        part.replace(path)
    return path


def _note(table: pq.ParquetWriter, shard: str, held: Any) -> None:
    ids, versions, frames = zip(*held, strict=True)
    table.write_table(pa.table([ids, versions, [shard] * len(ids), frames], schema=HELD))


def _keep(out: Path, shards: list[Shard], selection: Selection, table: pq.ParquetWriter) -> Iterator[Shard]:
    """Yield the shards of the release before, those of which something is gone written again without it."""
    gone = selection.gone()
    for held in selection.held_outside(gone):
        table.write_table(held.cast(HELD))
    for shard in shards:
        group = Group(shard.domain, shard.language, shard.licence, shard.licence_class, 0)
        if shard.file not in gone:
            yield shard
            continue
        left = _left(out, shard, selection.gone_in(shard.file), selection.held_in(shard.file))
        for written in write_release_shards(out / SHARDS, left):
            _note(table, written.file, written.held)
            yield _named(written, group)


def _left(out: Path, shard: Shard, gone: dict[int, set[str]], held: pa.Table) -> Iterator[PackedFrame]:
    """Yield what is left of a shard; frames of which nothing is gone are not unpacked."""
    documents: dict[int, list[tuple[str, str]]] = {}
    for one, version, _, number in zip(*held.to_pydict().values(), strict=True):
        documents.setdefault(number, []).append((one, version))
    for number, (frame, block) in enumerate(read_shard(out, shard)):
        if number not in gone:
            yield PackedFrame(frame, block, documents[number])
            continue
        lines = [line for line in _lines(block, frame, out) if line.id not in gone[number]]
        if lines:
            yield pack_frame(lines, frame.root, sorted({*frame.removed, *gone[number]}))


def _lines(block: bytes, frame: Frame, where: Path) -> list[DocumentLine]:
    return [decode_line(line, str(where)) for line in read_frame(block, frame, str(where))]


def _add(out: Path, selection: Selection, table: pq.ParquetWriter) -> Iterator[Shard]:
    """Yield shards of what the release before does not hold."""
    for group, lines in itertools.groupby(selection.fresh(), lambda found: found[0]):
        for written in write_release_shards(
            out / SHARDS, map(pack_frame, group_into_frames(line for _, line in lines))
        ):
            _note(table, written.file, written.held)
            yield _named(written, group)


def _named(written: WrittenShard, group: Group) -> Shard:
    told = {name: value for name, value in written._asdict().items() if name != "held"}
    return Shard(
        **told,
        domain=group.domain,
        language=group.language,
        licence=group.licence,
        licence_class=group.licence_class,
    )


def _sweep(folder: Path, manifest: Manifest) -> None:
    """Remove shards that the newest release does not name: they hold what was taken out of it."""
    named = {name for shard in manifest.shards for name in (f"{shard.file}{SUFFIX}", shard.index_file)}
    for path in folder.iterdir():
        if path.name not in named:
            path.unlink()
