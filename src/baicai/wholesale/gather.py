"""`baicai data gather`: captures of each source, and what one pass over them gives."""

import mimetypes
import os
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from baicai.artefact import atomic_folder, read_json, value_hash, write_json
from baicai.config import Count, recipe
from baicai.data.document import MAX_DOCUMENT_BYTES
from baicai.data.readers import corpus_files, fingerprint, read_documents
from baicai.errors import ConfigError, DataError
from baicai.wholesale.captures import Capture, CaptureWriter
from baicai.wholesale.cleaning import CleanConfig, clean, task_name
from baicai.wholesale.crawl import CrawlConfig, crawl
from baicai.wholesale.duplicates import DuplicateIndex
from baicai.wholesale.extraction import HTML, PLAIN
from baicai.wholesale.records import Skips
from baicai.wholesale.tasks import Task, carry_out_all
from baicai.wholesale.warehouse import Batch, Warehouse

WARC = (".warc", ".warc.gz", ".warc.zst")
TABLES = (".jsonl", ".ndjson", ".parquet", ".jsonl.gz", ".jsonl.zst", ".ndjson.gz", ".ndjson.zst")
TEXT = (".toml", ".json", ".yaml", ".yml", ".md", ".rst", ".tex", ".xml", ".csv", ".tsv")
"""Endings of text that the system may call something else."""
SKIPPED = "skipped.json"
CAPTURES_BYTES = 2**28
"""Of a file of captures that we write, before it is compressed: one task reads it."""


@recipe
class SourceConfig:
    """Where text comes from."""

    path: str = ""
    """A WARC file, a file or folder of HTML, text, JSON lines or Parquet, or a folder with any of these."""
    crawl: CrawlConfig | None = None
    """Or hosts to crawl."""
    url: str = ""
    """The address that files of a folder are published under; by default `file:` and their name."""
    clean: CleanConfig = CleanConfig()


@recipe
class GatherRecipe:
    """What to gather."""

    sources: Annotated[list[SourceConfig], Field(min_length=1)]
    workers: Count = os.cpu_count() or 1
    """Processes on this machine."""
    ray: str = ""
    """Or the address of a Ray cluster, as in `HOST:6379`; its machines must see the same files under the same paths."""


def gather(config: GatherRecipe, folder: Path) -> dict[str, int]:
    """Add what the sources hold to the warehouse `folder`, and return how many documents and skips there were.

    What was gathered before is not read again. Raises: DataError if a source cannot be read.
    """
    warehouse = Warehouse(folder)
    with warehouse.working():
        known, counts = {batch.task for batch in warehouse.batches()}, Counter[str]()
        found: list[tuple[Batch, Task]] = []
        for source in config.sources:
            for captures in _captures(source, warehouse, counts):
                name = task_name(captures, source.clean)
                batch = Batch(
                    name, str(captures), source.path or ", ".join(source.crawl.starts if source.crawl else [])
                )
                found.append((batch, Task(clean, (captures, source.clean), warehouse.documents(name))))
        carry_out_all("clean", [task for _, task in found], config.workers, config.ray)
        index = DuplicateIndex(warehouse.duplicates)
        for batch, task in found:
            index.add(batch.task, np.load(task.out / "signatures.npy", mmap_mode="r", allow_pickle=False))
            if batch.task not in known:
                warehouse.add(batch)
                known.add(batch.task)
            report = read_json(task.out / "report.json")
            counts["documents"] += report["documents"]
            counts.update({f"skipped: {reason}": count for reason, count in report["skipped"].items()})
        for note in sorted({Path(batch.captures).parent / SKIPPED for batch, _ in found}):
            if note.exists():
                counts.update({f"skipped: {reason}": count for reason, count in read_json(note).items()})
        return dict(counts)


def _captures(source: SourceConfig, warehouse: Warehouse, counts: Counter[str]) -> Iterator[Path]:
    """Yield the files with the captures of a source; what is not WARC is written into the warehouse as such."""
    if bool(source.path) == (source.crawl is not None):
        raise ConfigError("source: give a path or a crawl, one of them")
    if source.crawl is not None:
        crawled, left = crawl(source.crawl, warehouse.captures / f"crawl-{value_hash(source.crawl.starts)[:16]}")
        counts.update({f"left out: {reason}": count for reason, count in left.items()})
        yield from crawled
        return
    path = Path(source.path)
    if not path.exists():
        raise DataError(f"source {path} does not exist: check the path")
    files = list(corpus_files(path))
    yield from (file.resolve() for file, name in files if name.lower().endswith(WARC))
    others = [(file, name) for file, name in files if not name.lower().endswith(WARC)]
    if not others:
        return
    out = warehouse.captures / value_hash([fingerprint(path), source.url])[:32]
    if not out.exists():
        with atomic_folder(out) as part:
            _write(source, others, part)
    yield from sorted(out.glob("*.warc.gz"))


def _write(source: SourceConfig, files: list[tuple[Path, str]], folder: Path) -> None:
    """Write captures of files, and how many were left out, by reason, into skipped.json."""
    number, size, skips = 0, CAPTURES_BYTES, Skips()
    writer: CaptureWriter | None = None
    for file, name in files:
        for capture in _read(file, name, source):
            if isinstance(capture, str):
                skips[capture] += 1
                continue
            if writer is None or size >= CAPTURES_BYTES:
                if writer is not None:
                    writer.close()
                writer, size, number = CaptureWriter(folder / f"{number:05}.warc.gz"), 0, number + 1
            writer.write(capture)
            size += len(capture.content)
    if writer is not None:
        writer.close()
    write_json(folder / SKIPPED, dict(sorted(skips.items())))


def _read(file: Path, name: str, source: SourceConfig) -> Iterator[Capture | str]:
    """Yield the captures in a file, or why there is none."""
    changed = datetime.fromtimestamp(int(file.stat().st_mtime), UTC)
    address = (source.url.rstrip("/") + "/" + name) if source.url else f"file:{name}"
    if name.lower().endswith(TABLES):
        for document in read_documents(file, licence=""):
            text = "\n\n".join(document.contents)
            url = document.id if "://" in document.id else f"{address}#{document.id}"
            yield Capture(url, changed, PLAIN[0], "utf-8", text.encode(), document.licence)
        return
    media_type = mimetypes.guess_type(name)[0] or PLAIN[0]
    if media_type in HTML:
        kind, charset = media_type, ""
    elif media_type.startswith("text/") or name.lower().endswith(TEXT):
        kind, charset = PLAIN[0], "utf-8"
    else:
        yield f"media type {media_type}"
        return
    if file.stat().st_size > MAX_DOCUMENT_BYTES:
        yield "too large"
        return
    yield Capture(address, changed, kind, charset, file.read_bytes())
