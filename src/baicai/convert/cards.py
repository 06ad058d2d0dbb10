"""Cards of the trunk and leaves inside an export, so that importing the export restores them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from baicai.artefact import read_json, write_json
from baicai.config import Count, from_table, recipe, to_table
from baicai.errors import ArtefactError
from baicai.leaves.card import check_card, leaf_readme, trunk_readme

EXPORT_CARDS_FILE = "baicai.json"
COMPUTED_FIELDS = ("format", "kind", "name", "hash", "tensors", "model", "tokenizer", "replay", "trunk", "sizes")
"""Card fields that are computed from the artefact itself and are not trusted from a file."""


@recipe
class ExportCards:
    """Cards of an exported model's parts. Hashes decide whether a card belongs to the imported tensors."""

    model: str
    """Hash of the exported model."""
    topk_group: Count
    shift: float
    """Constant that was added to every choice bias."""
    trunk: dict[str, Any]
    leaves: list[dict[str, Any]]


def write_export_cards(folder: Path, cards: ExportCards) -> None:
    """Write the cards into the folder of the checkpoint.

    Raises: MachineError if the disk is full.
    """
    write_json(folder / EXPORT_CARDS_FILE, to_table(cards))


def read_export_cards(folder: Path) -> ExportCards | None:
    """Read the cards in a checkpoint. Returns None if it is not an export of baicai.

    Raises: ArtefactError or ConfigError if the file is damaged.
    """
    file = folder / EXPORT_CARDS_FILE
    if not file.exists():
        return None
    cards = from_table(ExportCards, read_json(file), str(file))
    try:
        for card in (cards.trunk, *cards.leaves):
            check_card(card, file)
        trunk_readme(cards.trunk)
        for card in cards.leaves:
            leaf_readme(card)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtefactError(
            f"{file} is damaged ({error!r}): remove it to import the model with new names and cards"
        ) from None
    return cards


def own_card_fields(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a card that are not computed from the artefact."""
    return {key: value for key, value in card.items() if key not in COMPUTED_FIELDS}
