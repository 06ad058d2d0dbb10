"""The publisher's folder: captures, cleaned documents, the duplicate index and takedown requests.

captures/NAME.warc.gz     fetched or imported captures
documents/TASK/           documents.parquet, signatures.npy, report.json: one cleaning pass over a file of captures
duplicates/               index of near-duplicates
batches.json              gathered files, oldest first
takedowns.jsonl           takedown requests
releases/HASH.parquet     documents of the newest release in a folder, each with its shard and frame
domains/HASH/             domain classifier, and under batches/TASK/ the domains it assigned
domains.json              hash of the classifier in use
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from baicai.artefact import locked, read_json, write_atomic, write_json
from baicai.errors import DataError
from baicai.wholesale.release.manifest import Takedown


@dataclass(frozen=True)
class GatheredFile:
    """A file of captures that was cleaned. The field names are stored in batches.json."""

    task: str
    """Name of the folder with the cleaned documents."""
    captures: str
    """Path of the WARC file."""
    source: str
    """Path or start addresses that the captures came from."""


class Warehouse:
    """A publisher's folder. Changes require `locked`, which one process holds at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.captures, self.duplicates = folder / "captures", folder / "duplicates"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the warehouse exclusively, waiting for the process that holds it now."""
        with locked(self.folder / "work"):
            yield

    def gathered_files(self) -> list[GatheredFile]:
        """List the gathered files, oldest first."""
        path = self.folder / "batches.json"
        return [GatheredFile(**row) for row in read_json(path)["batches"]] if path.exists() else []

    def add(self, gathered: GatheredFile) -> None:
        """Record a file whose cleaning is complete."""
        rows = [asdict(file) for file in (*self.gathered_files(), gathered)]
        write_json(self.folder / "batches.json", {"batches": rows})

    def documents_folder(self, task: str) -> Path:
        """Return the folder with the documents of a cleaning task."""
        return self.folder / "documents" / task

    def documents_file(self, task: str) -> Path:
        """Return the Parquet file with the documents of a cleaning task."""
        return self.documents_folder(task) / "documents.parquet"

    def contents_file(self, manifest: str) -> Path:
        """Return the Parquet file that lists the documents of a release with their shards and frames."""
        return self.folder / "releases" / f"{manifest}.parquet"

    def domain_model_folder(self, model: str) -> Path:
        """Return the folder of a domain classifier."""
        return self.folder / "domains" / model

    def assigned_domains_folder(self, model: str, task: str) -> Path:
        """Return the folder with the domains that a classifier assigned to the documents of a task."""
        return self.domain_model_folder(model) / "batches" / task

    def current_domain_model(self) -> str:
        """Return the hash of the classifier whose domains are published, or an empty string."""
        path = self.folder / "domains.json"
        return str(read_json(path)["model"]) if path.exists() else ""

    def set_current_domain_model(self, model: str) -> None:
        """Publish the domains of this classifier from now on."""
        if model != self.current_domain_model():
            write_json(self.folder / "domains.json", {"model": model})

    def takedowns(self) -> list[Takedown]:
        """List the takedown requests, oldest first."""
        path = self.folder / "takedowns.jsonl"
        if not path.exists():
            return []
        return [Takedown(**json.loads(line)) for line in path.read_text().splitlines()]

    def add_takedown(self, takedown: Takedown) -> None:
        """Record a takedown request."""
        path = self.folder / "takedowns.jsonl"
        lines = path.read_bytes() if path.exists() else b""
        write_atomic(path, lines + json.dumps(asdict(takedown), ensure_ascii=False).encode() + b"\n")

    def require_gathered(self) -> "Warehouse":
        """Return this warehouse if anything was gathered into it.

        Raises: DataError otherwise.
        """
        if not self.gathered_files():
            raise DataError(f"{self.folder} is not a warehouse: gather text into it first (baicai data gather)")
        return self
