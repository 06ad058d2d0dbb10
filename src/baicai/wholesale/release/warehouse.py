"""The publisher's folder: captures, what was made of them, the index of duplicates, takedowns.

captures/NAME.warc.gz     what was fetched or found
documents/TASK/           documents.parquet, signatures.npy, report.json: one pass over a file of captures
duplicates/               the index of near-duplicates
batches.json              the tasks, in the order in which they came
takedowns.jsonl           requests to take documents back
releases/HASH.parquet     which documents the newest release in a folder holds, and in which frame
domains/HASH/             a model that tells domains, and under batches/TASK/ what it gave each batch's documents
domains.json              which of the models is in force
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
    """A file of captures and what was made of it."""

    task: str
    captures: str
    source: str


class Warehouse:
    """A publisher's folder; changing it needs `working`, which one process has at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.captures, self.duplicates = folder / "captures", folder / "duplicates"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait for whoever works on it, and keep others away."""
        with locked(self.folder / "work"):
            yield

    def gathered_files(self) -> list[GatheredFile]:
        """Return what was gathered, the oldest first."""
        path = self.folder / "batches.json"
        return [GatheredFile(**one) for one in read_json(path)["batches"]] if path.exists() else []

    def add(self, batch: GatheredFile) -> None:
        """Note a batch that is whole."""
        batches = [asdict(one) for one in self.gathered_files()]
        write_json(self.folder / "batches.json", {"batches": [*batches, asdict(batch)]})

    def documents_folder(self, task: str) -> Path:
        """Return the folder with what a task made."""
        return self.folder / "documents" / task

    def contents_file(self, manifest: str) -> Path:
        """Return the file that says which documents a release holds, and in which frame."""
        return self.folder / "releases" / f"{manifest}.parquet"

    def domain_model_folder(self, model: str) -> Path:
        """Return the folder of a model that tells domains."""
        return self.folder / "domains" / model

    def assigned_domains_folder(self, model: str, task: str) -> Path:
        """Return the folder with the domains that a model gave a task's documents."""
        return self.domain_model_folder(model) / "batches" / task

    def current_domain_model(self) -> str:
        """Return the hash of the model whose domains are published, if there is one."""
        path = self.folder / "domains.json"
        return str(read_json(path)["model"]) if path.exists() else ""

    def set_current_domain_model(self, model: str) -> None:
        """Let a model's domains be published."""
        if model != self.current_domain_model():
            write_json(self.folder / "domains.json", {"model": model})

    def takedowns(self) -> list[Takedown]:
        """Return the requests to take documents back, the oldest first."""
        path = self.folder / "takedowns.jsonl"
        if not path.exists():
            return []
        return [Takedown(**json.loads(line)) for line in path.read_text().splitlines()]

    def add_takedown(self, takedown: Takedown) -> None:
        """Note a request to take documents back."""
        path = self.folder / "takedowns.jsonl"
        before = path.read_bytes() if path.exists() else b""
        write_atomic(path, before + json.dumps(asdict(takedown), ensure_ascii=False).encode() + b"\n")

    def require_gathered(self) -> "Warehouse":
        """Return itself.

        Raises: DataError if nothing was gathered here.
        """
        if not self.gathered_files():
            raise DataError(f"{self.folder} is no warehouse: gather something first (baicai data gather)")
        return self
