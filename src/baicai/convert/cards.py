"""What an export says of the trunk and leaves that it was made of, so that importing it gives them back."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baicai.artefact import read_json, write_json
from baicai.config import Count, from_table, recipe, to_table
from baicai.errors import ArtefactError
from baicai.leaves.card import check_card, leaf_readme, trunk_readme

FILE = "baicai.json"
COMPUTED = ("format", "kind", "name", "hash", "tensors", "model", "tokenizer", "replay", "trunk", "sizes")
"""What a card says that follows from the artefact itself, and is not taken on trust."""


@recipe
class Origin:
    """The cards of an exported model's parts: they name and describe, hashes tell whether the tensors are theirs."""

    model: str
    """Hash."""
    topk_group: Count
    shift: float
    """What was added to every choice bias."""
    trunk: dict[str, Any]
    leaves: list[dict[str, Any]]


def write_origin(folder: Path, origin: Origin) -> None:
    """Write it beside the checkpoint's own files.

    Raises: MachineError if the disk is full.
    """
    write_json(folder / FILE, to_table(origin))


def read_origin(folder: Path) -> Origin | None:
    """Return what a checkpoint says of its origin, None if it is not one of our exports.

    Raises: ArtefactError or ConfigError if the file is damaged.
    """
    file = folder / FILE
    if not file.exists():
        return None
    origin = from_table(Origin, read_json(file), str(file))
    try:
        for card in (origin.trunk, *origin.leaves):
            check_card(card, file)
        trunk_readme(origin.trunk)
        for card in origin.leaves:
            leaf_readme(card)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(f"{file} is damaged ({error!r}): remove it, and names and cards are made anew") from None
    return origin


def told(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a card says beyond what follows from the artefact."""
    return {key: value for key, value in card.items() if key not in COMPUTED}
