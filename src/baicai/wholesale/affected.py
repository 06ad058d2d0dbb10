"""`baicai data affected`: which leaves, trunks and models saw documents that were taken back."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from baicai.artefact import home_folder, read_json
from baicai.config import recipe
from baicai.errors import DataError
from baicai.leaves import leaf, trunk
from baicai.leaves.model import read_lock
from baicai.wholesale.pull import shards_with


@recipe
class AffectedRecipe:
    """What to look for, and where."""

    subscription: str
    """A folder that `baicai data pull` keeps."""
    documents: list[str] = dataclasses.field(default_factory=list)
    """Ids; by default all that were taken back so far."""
    artefacts: list[str] = dataclasses.field(default_factory=list)
    """Folders of leaves, trunks and models; by default all that this machine knows."""


def affected(config: AffectedRecipe) -> dict[str, Any]:
    """Return the hashes and folders of what saw one of the documents.

    A leaf or trunk saw a document if its receipt names a shard that the document came from. Raises: DataError.
    """
    folder = Path(config.subscription)
    if not (folder / "subscription.json").exists():
        raise DataError(f"{folder} is no subscription: pull a release into it first (baicai data pull)")
    ids = set(config.documents) or _taken_back(folder)
    shards = set(shards_with(folder, ids))
    places = [Path(one) for one in config.artefacts] or [
        Path(entry.read_text()) for entry in (home_folder() / "index").iterdir()
    ]
    cards = [_card(path) for path in places]
    trained = [
        {"kind": card["kind"], "name": card.get("name", ""), "hash": card["hash"], "path": str(path)}
        for path, card in zip(places, cards, strict=True)
        if shards & {shard for one in card.get("data", []) for shard in one.get("receipt", {}).get("shards", [])}
    ]
    hashes = {one["hash"] for one in trained}
    models = []
    for file in sorted(path / "model.toml" for path in places if (path / "model.toml").is_file()):
        lock = read_lock(file)
        peel = sorted(leaf.name for leaf in lock.leaf if leaf.hash in hashes)
        if peel or lock.trunk.hash in hashes:
            models.append({"hash": lock.hash, "path": str(file.parent), "peel": peel})
    return {"documents": len(ids), "shards": len(shards), "trained": trained, "models": models}


def _card(path: Path) -> dict[str, Any]:
    """Return the card of a leaf or a trunk; nothing for what is neither, or is gone."""
    file = next((path / name for name in (leaf.LEAF_CARD, trunk.TRUNK_CARD) if (path / name).is_file()), None)
    return read_json(file) if file else {}


def _taken_back(folder: Path) -> set[str]:
    path = folder / "purges.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {one for line in lines for one in json.loads(line)["takedown"]["documents"]}
