"""`baicai data domains`: assign domains to documents whose source names none, with a versioned model.

The model is trained on documents whose sources name a domain, or on clusters. Documents gathered later get their
domains from the same model at the next run. The next release uses the domains of the current model.
"""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from baicai.artefact import atomic_folder, read_json
from baicai.config import Count, Share, recipe
from baicai.errors import DataError
from baicai.wholesale.domains.classifier import (
    CARD,
    MAX_CHARACTERS,
    DomainModel,
    Report,
    Settings,
    open_domain_model,
    train_on_clusters,
    train_on_labels,
)
from baicai.wholesale.jobs import Task, run_tasks
from baicai.wholesale.processing.clean import CleanConfig
from baicai.wholesale.release.selection import ASSIGNED_DOMAINS, Selection
from baicai.wholesale.release.warehouse import Warehouse

VERSION = 1
"""Increase when the same documents and settings give another model, or the same model other domains."""
UNLABELLED = CleanConfig().domain
MIN_DOCUMENTS = 5
"""Minimum number of documents of a domain for training. One document in `MIN_DOCUMENTS` is held out."""
BATCH_ROWS = 256
"""Documents read at once."""
Result = str | float | Mapping[str, float]
SCHEMA = pa.schema([("place", pa.int64()), ("id", pa.string()), ("domain", pa.string()), ("score", pa.float32())])


@recipe
class DomainsRecipe:
    """Options for assigning domains."""

    RENAMED: ClassVar[dict[str, str]] = {"anew": "retrain"}

    warehouse: str
    clusters: Annotated[int, Field(ge=2, le=256)] | None = None
    """Number of clusters of nearly equal size, named after their terms, to make instead of using labelled documents."""
    threshold: Share = 0.9
    """A document whose best domain has a lower score gets no domain. Clusters accept every document."""
    sample: Count = 20_000
    """Number of training documents of all domains together. They are held in memory."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the clustering."""
    retrain: bool = False
    """Train on the documents gathered by now, even if these settings already have a model."""
    workers: Count = os.cpu_count() or 1


class _Trained(NamedTuple):
    model: DomainModel
    report: Report


def assign_domains(config: DomainsRecipe) -> dict[str, Result]:
    """Make the model of these settings the current one, after training it if necessary, and assign domains.

    Batches that the model has classified before are skipped.

    Returns: hash and version of the model, its training report, and as "given" the number of documents by domain.

    Raises: DataError, MachineError, ArtefactError.
    """
    warehouse = Warehouse(Path(config.warehouse)).require_gathered()
    with warehouse.locked():
        cards = [read_json(path) for path in sorted((warehouse.folder / "domains").glob(f"*/{CARD}"))]
        matching = [card for card in cards if card["settings"] == _settings(config)]
        if config.retrain or not matching:
            card = read_json(_train(config, warehouse, 1 + max((card["version"] for card in cards), default=0)) / CARD)
        else:
            card = max(matching, key=lambda card: card["version"])
        model = card["hash"]
        tasks = [
            Task(
                classify,
                (warehouse.documents_folder(file.task), warehouse.domain_model_folder(model)),
                warehouse.assigned_domains_folder(model, file.task),
            )
            for file in warehouse.gathered_files()
        ]
        run_tasks("domains", tasks, config.workers)
        warehouse.set_current_domain_model(model)
        counts = Counter[str]()
        for task in tasks:
            counts.update(pq.read_table(task.out / ASSIGNED_DOMAINS, columns=["domain"])["domain"].to_pylist())
        return {"model": model, "version": card["version"], **card["report"], "given": dict(sorted(counts.items()))}


def classify(documents: Path, model: Path, out: Path) -> None:
    """Classify the unlabelled documents of a batch and write their domains to the folder `out`."""
    classifier = _open_model(model)
    threshold = classifier.settings.get("threshold", 0.0)
    with atomic_folder(out) as part, pq.ParquetWriter(part / ASSIGNED_DOMAINS, SCHEMA, compression="zstd") as table:
        for rows, ids, texts in _unlabelled(documents / "documents.parquet"):
            scores_ND = classifier.scores(texts)
            best_N, scores_N = scores_ND.argmax(1), scores_ND.max(1)
            labels = [
                classifier.domains[best] if is_confident else UNLABELLED
                for best, is_confident in zip(best_N, scores_N >= threshold, strict=True)
            ]
            table.write_table(pa.table([rows, ids, labels, scores_N], schema=SCHEMA))


@functools.lru_cache(1)
def _open_model(model: Path) -> DomainModel:
    return open_domain_model(model)


def _unlabelled(path: Path) -> Iterator[tuple[list[int], list[str], list[str]]]:
    """Yield the row numbers, ids and texts of the documents without a domain label."""
    first = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=["id", "text", "domain"]):
            rows = [(number, row) for number, row in enumerate(batch.to_pylist(), first) if row["domain"] == UNLABELLED]
            first += len(batch)
            if rows:
                yield [number for number, _ in rows], [row["id"] for _, row in rows], [row["text"] for _, row in rows]


def _settings(config: DomainsRecipe) -> Settings:
    """Return the settings that, together with the documents, determine the model."""
    if config.clusters:
        return {"version": VERSION, "sample": config.sample, "clusters": config.clusters, "seed": config.seed}
    return {"version": VERSION, "sample": config.sample, "threshold": config.threshold}


def _train(config: DomainsRecipe, warehouse: Warehouse, version: int) -> Path:
    """Train a model, write it unless it exists already, and return its folder."""
    with contextlib.closing(Selection(warehouse, duplicates=False)) as selection:
        model, report = (_train_clusters if config.clusters else _train_labels)(config, selection)
    folder = warehouse.domain_model_folder(model.hash)
    if not folder.exists():
        model.save(folder, version, datetime.now(UTC).replace(microsecond=0).isoformat(), report)
    return folder


def _train_clusters(config: DomainsRecipe, selection: Selection) -> _Trained:
    assert config.clusters
    texts = selection.sample(UNLABELLED, config.sample, MAX_CHARACTERS)
    if len(texts) < config.clusters:
        raise DataError(
            f"domains: {config.warehouse} has {len(texts)} documents of '{UNLABELLED}' for {config.clusters} clusters: "
            "give fewer clusters, or gather more documents"
        )
    model, sizes = train_on_clusters(texts, config.clusters, config.seed, _settings(config))
    return _Trained(model, {"learnt_from": len(texts), "sizes": dict(zip(model.domains, sizes, strict=True))})


def _train_labels(config: DomainsRecipe, selection: Selection) -> _Trained:
    """Train on four fifths of the labelled documents and evaluate on the rest."""
    source_counts = selection.source_domain_counts()
    counts = {name: count for name, count in source_counts.items() if name != UNLABELLED and count >= MIN_DOCUMENTS}
    if len(counts) < 2:
        present = f"only '{next(iter(counts))}'" if counts else "none"
        raise DataError(
            f"domains: {config.warehouse} needs two named domains with at least {MIN_DOCUMENTS} documents, and has "
            f"{present}: name the domains of sources in the recipe (clean.domain), or give clusters=K"
        )
    texts: list[str] = []
    labels: list[str] = []
    test_texts: list[str] = []
    test_labels: list[str] = []
    sample = max(MIN_DOCUMENTS, config.sample // len(counts))
    for name in counts:
        for number, text in enumerate(selection.sample(name, sample, MAX_CHARACTERS)):
            held_out = number % MIN_DOCUMENTS == MIN_DOCUMENTS - 1
            (test_texts if held_out else texts).append(text)
            (test_labels if held_out else labels).append(name)
    model = train_on_labels(texts, labels, _settings(config))
    return _Trained(model, {"learnt_from": len(texts), **_evaluate(model, test_texts, test_labels)})


def _evaluate(model: DomainModel, texts: Sequence[str], labels: Sequence[str]) -> Report:
    """Evaluate a model on labelled documents."""
    scores_ND = model.scores(texts)
    predicted = np.array(model.domains)[scores_ND.argmax(1)]
    confident = scores_ND.max(1) >= model.settings["threshold"]
    correct: NDArray[np.bool_] = predicted == np.array(labels)
    return {
        "held_out": len(texts),
        "accuracy": float(correct.mean()),
        "sure": float(confident.mean()),
        "accuracy_where_sure": _mean(correct[confident]),
        "precision": {name: _mean(correct[predicted == name]) for name in model.domains},
        "recall": {name: _mean(correct[np.array(labels) == name]) for name in model.domains},
    }


def _mean(correct: NDArray[np.bool_]) -> float:
    return float(correct.mean()) if len(correct) else 0.0
