"""`baicai data publish`: write a release of static files from the warehouse.

MANIFEST         the newest signed manifest
manifests/HASH   all manifests, by hash
shards/HASH...   shards and their indexes, by hash
card.html        description for people
croissant.json   description for programs
"""

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

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

CONTENTS = pa.schema([("id", pa.string()), ("version", pa.string()), ("shard", pa.string()), ("frame", pa.int32())])


@recipe
class PublishRecipe:
    """The warehouse to publish, and the properties of the release."""

    RENAMED: ClassVar[dict[str, str]] = {
        "key": "signing_key",
        "url": "homepage",
        "catalog": "catalog_url",
        "duplicates": "keep_duplicates",
    }

    warehouse: str
    name: str = "corpus"
    signing_key: str = ""
    """PEM file with the ed25519 key; by default `release.key` in the project's home folder, created if missing."""
    description: str = ""
    """Description for the card."""
    homepage: str = ""
    """Address of a web page for the card to link to."""
    expires_days: Positive = 90.0
    """Days until subscribers reject the release unless a new one is published."""
    catalog_url: str = ""
    """Database to add the release to; see `baicai data catalog`."""
    keep_duplicates: bool = False
    """Publish all near-duplicates instead of the one with the best licence."""


def publish(config: PublishRecipe, out: Path, now: datetime | None = None) -> Manifest:
    """Write the next version of a release to the folder `out` and return its manifest.

    Unchanged shards stay as they are. A shard with removed documents is replaced by one without them.

    Raises: DataError, ArtefactError, ConfigError.
    """
    now = (now or datetime.now(UTC)).replace(microsecond=0)
    warehouse = Warehouse(Path(config.warehouse))
    key = open_signing_key(Path(config.signing_key) if config.signing_key else home_folder() / "release.key")
    with warehouse.locked(), explain_disk_errors(out), contextlib.closing(Catalog(config.catalog_url)) as catalog:
        warehouse.require_gathered()
        before = read_release(out, public_key_hex(key)) if (out / MANIFEST).exists() else None
        if before and before.name != config.name:
            raise ConfigError(f"{out} contains the release '{before.name}', not '{config.name}': choose another --out")
        contents = warehouse.folder / "held.parquet.part"
        (out / SHARDS).mkdir(parents=True, exist_ok=True)
        selection = Selection(warehouse, duplicates=config.keep_duplicates)
        with contextlib.closing(selection), pq.ParquetWriter(contents, CONTENTS) as table:
            selection.compare(_contents_file(warehouse, out, before) if before else None)
            counts = selection.counts()
            kept = _keep_shards(out, before.shards if before else [], selection, table)
            shards = [*kept, *_add_shards(out, selection, table)]
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
        contents.replace(warehouse.contents_file(manifest.hash))
        content = sign_manifest(manifest, key)
        write_card(out, manifest, counts, public_key_hex(key), config.description, config.homepage)
        write_atomic(out / MANIFESTS / manifest.hash, content)
        write_atomic(out / MANIFEST, content)
        _remove_old_shards(out / SHARDS, manifest)
        if before:
            warehouse.contents_file(before.hash).unlink(missing_ok=True)
        catalog.add_release(manifest, public_key_hex(key), str(out.resolve()))
        return manifest


def read_release(folder: Path, key: str | None = None) -> Manifest:
    """Read the newest manifest of a release on disk, signed by `key` (hex) if given.

    Raises: ArtefactError
    """
    path = folder / MANIFEST
    if not path.exists():
        raise ArtefactError(f"{folder} is not a release: {MANIFEST} is missing; check the path")
    return verify_manifest(path.read_bytes(), str(path), key)[0]


def read_shard(folder: Path, shard: Shard) -> Iterator[tuple[Frame, bytes]]:
    """Yield the frames of a shard on disk, compressed.

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


def _contents_file(warehouse: Warehouse, out: Path, manifest: Manifest) -> Path:
    """Return the file that lists the documents of a release; a lost file is rebuilt from the shards."""
    path = warehouse.contents_file(manifest.hash)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        part = path.with_suffix(".part")
        with pq.ParquetWriter(part, CONTENTS) as table:
            for shard in manifest.shards:
                frames = enumerate(read_shard(out, shard))
                lines = [(number, line) for number, (frame, block) in frames for line in _lines(block, frame, out)]
                _write_contents(table, shard.file, [(line.id, line.version, number) for number, line in lines])
        part.replace(path)
    return path


def _write_contents(table: pq.ParquetWriter, shard: str, contents: Iterable[tuple[str, str, int]]) -> None:
    ids, versions, frames = zip(*contents, strict=True)
    table.write_table(pa.table([ids, versions, [shard] * len(ids), frames], schema=CONTENTS))


def _keep_shards(out: Path, shards: list[Shard], selection: Selection, table: pq.ParquetWriter) -> Iterator[Shard]:
    """Yield the shards of the previous release, rewriting those with removed documents."""
    changed = selection.changed_shards()
    for published in selection.published_outside(changed):
        table.write_table(published.cast(CONTENTS))
    for shard in shards:
        group = Group(shard.domain, shard.language, shard.licence, shard.licence_class, 0)
        if shard.file not in changed:
            yield shard
            continue
        frames = _remaining(out, shard, selection.removed_from(shard.file), selection.published_in(shard.file))
        for written in write_release_shards(out / SHARDS, frames):
            _write_contents(table, written.file, written.contents)
            yield _to_shard(written, group)


def _remaining(out: Path, shard: Shard, removed: dict[int, set[str]], published: pa.Table) -> Iterator[PackedFrame]:
    """Yield the frames of a shard without the removed documents; unchanged frames are not decompressed."""
    documents: dict[int, list[tuple[str, str]]] = {}
    for document, version, _, number in zip(*published.to_pydict().values(), strict=True):
        documents.setdefault(number, []).append((document, version))
    for number, (frame, block) in enumerate(read_shard(out, shard)):
        if number not in removed:
            yield PackedFrame(frame, block, documents[number])
            continue
        lines = [line for line in _lines(block, frame, out) if line.id not in removed[number]]
        if lines:
            yield pack_frame(lines, frame.root, sorted({*frame.removed, *removed[number]}))


def _lines(block: bytes, frame: Frame, where: Path) -> list[DocumentLine]:
    return [decode_line(line, str(where)) for line in read_frame(block, frame, str(where))]


def _add_shards(out: Path, selection: Selection, table: pq.ParquetWriter) -> Iterator[Shard]:
    """Yield new shards with the documents that the previous release does not have."""
    for group, lines in itertools.groupby(selection.new_documents(), lambda pair: pair[0]):
        frames = map(pack_frame, group_into_frames(line for _, line in lines))
        for written in write_release_shards(out / SHARDS, frames):
            _write_contents(table, written.file, written.contents)
            yield _to_shard(written, group)


def _to_shard(written: WrittenShard, group: Group) -> Shard:
    fields = written._asdict() | group._asdict()
    return Shard(**{name: value for name, value in fields.items() if name not in ("contents", "bucket")})


def _remove_old_shards(folder: Path, manifest: Manifest) -> None:
    """Delete shards that the newest release does not list, as they contain removed documents."""
    listed = {name for shard in manifest.shards for name in (f"{shard.file}{SUFFIX}", shard.index_file)}
    for path in folder.iterdir():
        if path.name not in listed:
            path.unlink()
