"""`baicai data gather`: captures of each source, and what one pass over them gives."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from baicai.artefact import atomic_folder, read_json, value_hash, write_json
from baicai.config import Count, recipe
from baicai.data.readers import corpus_files, fingerprint
from baicai.errors import ConfigError, DataError
from baicai.wholesale.jobs import Task, run_tasks
from baicai.wholesale.processing.clean import CleanConfig, clean, task_name
from baicai.wholesale.processing.minhash import DuplicateIndex
from baicai.wholesale.release.warehouse import GatheredFile, Warehouse
from baicai.wholesale.sources.captures import CaptureWriter
from baicai.wholesale.sources.crawler import CrawlConfig, crawl
from baicai.wholesale.sources.files import VERSION, read_files
from baicai.wholesale.sources.media_types import file_type
from baicai.wholesale.sources.warc import SkipCounts

SKIPPED = "skipped.json"
CAPTURES_BYTES = 2**28
"""Of a file of captures that we write, before it is compressed: one task reads it."""


@recipe
class GatherSourceConfig:
    """Where text comes from."""

    path: str = ""
    """A file of HTML, text, JSON lines, Parquet or WARC, a dump of MediaWiki (XML), a zip or tar archive of these, or a
    folder with any of them."""
    crawl: CrawlConfig | None = None
    """Or hosts to crawl."""
    url: str = ""
    """The address that files of a folder are published under; by default `file:` and their name."""
    clean: CleanConfig = CleanConfig()


@recipe
class GatherRecipe:
    """What to gather."""

    sources: Annotated[list[GatherSourceConfig], Field(min_length=1)]
    workers: Count = os.cpu_count() or 1
    """Processes on this machine."""
    ray: str = ""
    """Or the address of a Ray cluster, as in `HOST:6379`; its machines must see the same files under the same paths."""


def gather(config: GatherRecipe, folder: Path) -> dict[str, int]:
    """Add what the sources hold to the warehouse `folder`, and return how many documents and skips there were.

    What was gathered before is not read again. Raises: DataError if a source cannot be read.
    """
    warehouse = Warehouse(folder)
    with warehouse.locked():
        known, counts = {batch.task for batch in warehouse.gathered_files()}, Counter({"documents": 0})
        found: list[tuple[GatheredFile, Task]] = []
        for source in config.sources:
            for captures in _captures(source, warehouse, counts):
                name = task_name(captures, source.clean)
                batch = GatheredFile(
                    name, str(captures), source.path or ", ".join(source.crawl.starts if source.crawl else [])
                )
                found.append((batch, Task(clean, (captures, source.clean), warehouse.documents_folder(name))))
        run_tasks("clean", [task for _, task in found], config.workers, config.ray)
        index = DuplicateIndex(warehouse.duplicates)
        for batch, task in found:
            index.add(batch.task, np.load(task.out / "signatures.npy", mmap_mode="r", allow_pickle=False))
            if batch.task not in known:
                warehouse.add(batch)
                known.add(batch.task)
            report = read_json(task.out / "report.json")
            counts["documents"] += report["documents"]
            counts.update({f"skipped: {reason}": count for reason, count in report["skipped"].items()})
        return dict(counts)


def _captures(source: GatherSourceConfig, warehouse: Warehouse, counts: Counter[str]) -> Iterator[Path]:
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
    in_place = [file for file, name in files if file_type(name).format == "WARC"]
    yield from (file.resolve() for file in in_place)
    if len(in_place) == len(files):
        return
    out = warehouse.captures / value_hash([VERSION, fingerprint(path), source.url])[:32]
    if not out.exists():
        with atomic_folder(out) as part:
            _write(path, source.url, part)
    counts.update({f"skipped: {reason}": count for reason, count in read_json(out / SKIPPED).items()})
    yield from sorted(out.glob("*.warc.gz"))


def _write(path: Path, url: str, folder: Path) -> None:
    """Write the captures in files, and how many were left out, by reason, into skipped.json."""
    number, size, skips = 0, CAPTURES_BYTES, SkipCounts()
    writer: CaptureWriter | None = None
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for capture in read_files(path, url, Path(scratch)):
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
