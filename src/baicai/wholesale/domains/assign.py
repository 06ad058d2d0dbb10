"""`baicai data domains`: tell the domain of documents whose source named none, by a model with a version.

The model learns from documents whose sources named a domain, or makes clusters. Documents that are gathered later get
their domains from the same model at the next run; the next release has what the model in force says.
"""

import contextlib
import functools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple

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
    CHARACTERS,
    DomainModel,
    open_domain_model,
    train_on_clusters,
    train_on_labels,
)
from baicai.wholesale.jobs import Task, run_tasks
from baicai.wholesale.processing.clean import CleanConfig
from baicai.wholesale.release.selection import ASSIGNED_DOMAINS, Selection
from baicai.wholesale.release.warehouse import Warehouse

VERSION = 1
"""To be raised when the same documents and settings give other models, or the same model other domains."""
UNNAMED = CleanConfig().domain
FEWEST = 5
"""Documents of which a domain can be learnt: one of so many is held out."""
ROWS = 256
"""Documents that are read at once."""
SCHEMA = pa.schema([("place", pa.int64()), ("id", pa.string()), ("domain", pa.string()), ("score", pa.float32())])


@recipe
class DomainsRecipe:
    """How documents get domains."""

    warehouse: str
    clusters: Annotated[int, Field(ge=2, le=256)] | None = None
    """Make so many clusters of nearly equal size, named after their terms, instead of learning from named documents."""
    threshold: Share = 0.9
    """A document whose best named domain has a lower score gets none; clusters take all."""
    sample: Count = 20_000
    """Documents to learn from, of all domains together: they are in memory."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of the clusters."""
    anew: bool = False
    """Learn again although these settings have a model: from what is here by now."""
    workers: Count = os.cpu_count() or 1


class _Learnt(NamedTuple):
    model: DomainModel
    report: dict[str, Any]


def assign_domains(config: DomainsRecipe) -> dict[str, Any]:
    """Put the model of these settings in force, learn it first if there is none, and return what it did.

    What it has seen before it does not look at again. Raises: DataError, MachineError, ArtefactError.
    """
    warehouse = Warehouse(Path(config.warehouse)).require_gathered()
    with warehouse.locked():
        cards = [read_json(path) for path in sorted((warehouse.folder / "domains").glob(f"*/{CARD}"))]
        known = [card for card in cards if card["settings"] == _settings(config)]
        if config.anew or not known:
            card = _learn(config, warehouse, 1 + max((card["version"] for card in cards), default=0))
        else:
            card = max(known, key=lambda one: one["version"])
        model = card["hash"]
        tasks = [
            Task(
                classify,
                (warehouse.documents_folder(batch.task), warehouse.domain_model_folder(model)),
                warehouse.assigned_domains_folder(model, batch.task),
            )
            for batch in warehouse.gathered_files()
        ]
        run_tasks("domains", tasks, config.workers)
        warehouse.set_current_domain_model(model)
        counts = Counter[str]()
        for task in tasks:
            counts.update(pq.read_table(task.out / ASSIGNED_DOMAINS, columns=["domain"])["domain"].to_pylist())
        return {"model": model, "version": card["version"], **card["report"], "given": dict(sorted(counts.items()))}


def classify(documents: Path, model: Path, out: Path) -> None:
    """Write the folder `out`: the domains that a model gives the documents whose source named none."""
    told = _opened(model)
    threshold = told.settings.get("threshold", 0.0)
    with atomic_folder(out) as part, pq.ParquetWriter(part / ASSIGNED_DOMAINS, SCHEMA, compression="zstd") as table:
        for places, ids, texts in _unnamed(documents / "documents.parquet"):
            scores_ND = told.scores(texts)
            best_N, scores_N = scores_ND.argmax(1), scores_ND.max(1)
            names = [
                told.domains[best] if sure else UNNAMED
                for best, sure in zip(best_N, scores_N >= threshold, strict=True)
            ]
            table.write_table(pa.table([places, ids, names, scores_N], schema=SCHEMA))


@functools.lru_cache(1)
def _opened(model: Path) -> DomainModel:
    return open_domain_model(model)


def _unnamed(path: Path) -> Iterator[tuple[list[int], list[str], list[str]]]:
    """Yield places, ids and texts of a batch's documents that have no name of a domain."""
    first = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS, columns=["id", "text", "domain"]):
            rows = [(place, row) for place, row in enumerate(batch.to_pylist(), first) if row["domain"] == UNNAMED]
            first += len(batch)
            if rows:
                yield [place for place, _ in rows], [row["id"] for _, row in rows], [row["text"] for _, row in rows]


def _settings(config: DomainsRecipe) -> dict[str, Any]:
    """Return what the model depends on beside the documents."""
    told = {"clusters": config.clusters, "seed": config.seed} if config.clusters else {"threshold": config.threshold}
    return {"version": VERSION, "sample": config.sample, **told}


def _learn(config: DomainsRecipe, warehouse: Warehouse, version: int) -> dict[str, Any]:
    """Write a model, unless the same one is there, and return its card."""
    with contextlib.closing(Selection(warehouse, duplicates=False)) as selection:
        model, report = (_find_clusters if config.clusters else _learn_names)(config, selection)
    folder = warehouse.domain_model_folder(model.hash)
    if not folder.exists():
        made = datetime.now(UTC).replace(microsecond=0).isoformat()
        model.save(folder, {"hash": model.hash, "version": version, "made": made, "report": report})
    return read_json(folder / CARD)


def _find_clusters(config: DomainsRecipe, selection: Selection) -> _Learnt:
    assert config.clusters
    texts = selection.sample(UNNAMED, config.sample, CHARACTERS)
    if len(texts) < config.clusters:
        raise DataError(
            f"domains: {len(texts)} documents of '{UNNAMED}' for {config.clusters} clusters in {config.warehouse}: ask "
            "for fewer, or gather more"
        )
    model, sizes = train_on_clusters(texts, config.clusters, config.seed, _settings(config))
    return _Learnt(model, {"learnt_from": len(texts), "sizes": dict(zip(model.domains, sizes, strict=True))})


def _learn_names(config: DomainsRecipe, selection: Selection) -> _Learnt:
    """Learn from four of five of the named documents, and report on the fifth."""
    counts = {
        name: count for name, count in selection.source_domain_counts().items() if name != UNNAMED and count >= FEWEST
    }
    if len(counts) < 2:
        here = f"only '{next(iter(counts))}' has" if counts else "none has"
        raise DataError(
            f"domains: {config.warehouse} needs two named domains with {FEWEST} documents or more, {here}: name them "
            "in the sources' recipe (clean.domain), or give clusters=K"
        )
    texts: list[str] = []
    names: list[str] = []
    held_texts: list[str] = []
    held_names: list[str] = []
    for name in counts:
        for place, text in enumerate(selection.sample(name, max(FEWEST, config.sample // len(counts)), CHARACTERS)):
            held_out = place % FEWEST == FEWEST - 1
            (held_texts if held_out else texts).append(text)
            (held_names if held_out else names).append(name)
    model = train_on_labels(texts, names, _settings(config))
    return _Learnt(model, {"learnt_from": len(texts), **_report(model, held_texts, held_names)})


def _report(model: DomainModel, texts: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    """Return how well a model tells documents whose domains are known."""
    scores_ND = model.scores(texts)
    told = np.array(model.domains)[scores_ND.argmax(1)]
    sure = scores_ND.max(1) >= model.settings["threshold"]
    right: NDArray[np.bool_] = told == np.array(names)
    return {
        "held_out": len(texts),
        "accuracy": float(right.mean()),
        "sure": float(sure.mean()),
        "accuracy_where_sure": float(right[sure].mean()) if sure.any() else 0.0,
        "precision": {name: _share(right[told == name]) for name in model.domains},
        "recall": {name: _share(right[np.array(names) == name]) for name in model.domains},
    }


def _share(right: NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else 0.0
