"""`baicai data gather`: capture each source and clean its documents."""

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

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
"""Uncompressed size of the capture files that we write; one task cleans one file."""


@recipe
class GatherSourceConfig:
    """A source of text: a path or a crawl."""

    RENAMED: ClassVar[dict[str, str]] = {"url": "base_url"}

    path: str = ""
    """A file of HTML, text, JSON lines, Parquet or WARC, a MediaWiki dump (XML), a zip or tar archive of these, or a
    folder with any of them."""
    crawl: CrawlConfig | None = None
    """Hosts to crawl, instead of a path."""
    base_url: str = ""
    """Address that the files are published under; by default `file:` and the file's name."""
    clean: CleanConfig = CleanConfig()


@recipe
class GatherRecipe:
    """Sources to gather, and where to run."""

    sources: Annotated[list[GatherSourceConfig], Field(min_length=1)]
    workers: Count = os.cpu_count() or 1
    """Number of processes on this machine."""
    ray: str = ""
    """Address of a Ray cluster to run on instead, such as `HOST:6379`; its machines must see the same file paths."""


def gather(config: GatherRecipe, folder: Path) -> dict[str, int]:
    """Add the documents of the sources to the warehouse `folder`.

    Sources that were gathered before are not read again.

    Returns: number of documents, and of skipped records by reason.
    Raises: DataError if a source cannot be read.
    """
    warehouse = Warehouse(folder)
    with warehouse.locked():
        tasks_done, counts = {file.task for file in warehouse.gathered_files()}, Counter({"documents": 0})
        pending: list[tuple[GatheredFile, Task]] = []
        for source in config.sources:
            for captures in _captures(source, warehouse, counts):
                name = task_name(captures, source.clean)
                origin = source.path or ", ".join(source.crawl.starts if source.crawl else [])
                gathered = GatheredFile(name, str(captures), origin)
                pending.append((gathered, Task(clean, (captures, source.clean), warehouse.documents_folder(name))))
        run_tasks("clean", [task for _, task in pending], config.workers, config.ray)
        index = DuplicateIndex(warehouse.duplicates)
        for gathered, task in pending:
            index.add(gathered.task, np.load(task.out / "signatures.npy", mmap_mode="r", allow_pickle=False))
            if gathered.task not in tasks_done:
                warehouse.add(gathered)
                tasks_done.add(gathered.task)
            report = read_json(task.out / "report.json")
            counts["documents"] += report["documents"]
            counts.update({f"skipped: {reason}": count for reason, count in report["skipped"].items()})
        return dict(counts)


def _captures(source: GatherSourceConfig, warehouse: Warehouse, counts: Counter[str]) -> Iterator[Path]:
    """Yield the WARC files of a source; other files are converted to WARC in the warehouse."""
    if bool(source.path) == (source.crawl is not None):
        raise ConfigError("source: give either a path or a crawl")
    if source.crawl is not None:
        crawled, excluded = crawl(source.crawl, warehouse.captures / f"crawl-{value_hash(source.crawl.starts)[:16]}")
        counts.update({f"left out: {reason}": count for reason, count in excluded.items()})
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
    out = warehouse.captures / value_hash([VERSION, fingerprint(path), source.base_url])[:32]
    if not out.exists():
        with atomic_folder(out) as part:
            _write_captures(path, source.base_url, part)
    counts.update({f"skipped: {reason}": count for reason, count in read_json(out / SKIPPED).items()})
    yield from sorted(out.glob("*.warc.gz"))


def _write_captures(path: Path, base_url: str, folder: Path) -> None:
    """Write the captures to WARC files, and the number of skipped records by reason to skipped.json."""
    number, size, skips = 0, CAPTURES_BYTES, SkipCounts()
    writer: CaptureWriter | None = None
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        for capture in read_files(path, base_url, Path(scratch)):
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
