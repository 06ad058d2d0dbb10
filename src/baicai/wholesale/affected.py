"""`baicai data affected`: find the leaves, trunks and models that were trained on removed documents."""

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

from baicai.artefact import home_folder, read_json
from baicai.config import recipe
from baicai.errors import DataError
from baicai.leaves import leaf, trunk
from baicai.leaves.model import read_lock
from baicai.wholesale.pull import shards_with


@recipe
class AffectedRecipe:
    """Documents to look for, and artefacts to search."""

    RENAMED: ClassVar[dict[str, str]] = {"documents": "document_ids"}

    subscription: str
    """Folder of `baicai data pull`."""
    document_ids: list[str] = dataclasses.field(default_factory=list)
    """Ids of the documents; by default all that were removed so far."""
    artefacts: list[str] = dataclasses.field(default_factory=list)
    """Folders of leaves, trunks and models; by default all that are registered on this machine."""


@dataclasses.dataclass(frozen=True)
class TrainedArtefact:
    """A leaf or trunk that was trained on one of the documents."""

    kind: str
    name: str
    hash: str
    path: str


@dataclasses.dataclass(frozen=True)
class AffectedModel:
    """A model with an affected leaf or trunk."""

    hash: str
    path: str
    peel: list[str]
    """Names of the affected leaves; empty if only the trunk is affected."""


@dataclasses.dataclass(frozen=True)
class Affected:
    """Result of `baicai data affected`."""

    documents: int
    """Number of documents searched for."""
    shards: int
    """Number of shards that contained them."""
    trained: list[TrainedArtefact]
    models: list[AffectedModel]


def affected(config: AffectedRecipe) -> Affected:
    """Find the artefacts that were trained on one of the documents.

    A leaf or trunk is affected if its receipt lists a shard that contained the document.

    Raises: DataError if the folder is not a subscription.
    """
    folder = Path(config.subscription)
    if not (folder / "subscription.json").exists():
        raise DataError(f"{folder} is not a subscription: pull a release into it first (baicai data pull)")
    ids = set(config.document_ids) or _removed_documents(folder)
    shards = set(shards_with(folder, ids))
    paths = [Path(path) for path in config.artefacts] or [
        Path(entry.read_text()) for entry in (home_folder() / "index").iterdir()
    ]
    cards = [_card(path) for path in paths]
    trained = [
        TrainedArtefact(card["kind"], card.get("name", ""), card["hash"], str(path))
        for path, card in zip(paths, cards, strict=True)
        if shards & {shard for data in card.get("data", []) for shard in data.get("receipt", {}).get("shards", [])}
    ]
    hashes = {artefact.hash for artefact in trained}
    models = []
    for file in sorted(path / "model.toml" for path in paths if (path / "model.toml").is_file()):
        lock = read_lock(file)
        peel = sorted(leaf.name for leaf in lock.leaf if leaf.hash in hashes)
        if peel or lock.trunk.hash in hashes:
            models.append(AffectedModel(lock.hash, str(file.parent), peel))
    return Affected(len(ids), len(shards), trained, models)


def _card(path: Path) -> dict[str, Any]:
    """Read the card of a leaf or trunk; empty if the path has neither."""
    file = next((path / name for name in (leaf.LEAF_CARD, trunk.TRUNK_CARD) if (path / name).is_file()), None)
    return read_json(file) if file else {}


def _removed_documents(folder: Path) -> set[str]:
    path = folder / "purges.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {document for line in lines for document in json.loads(line)["takedown"]["documents"]}
