"""The leaf as an artefact: written by its grower, checked by whoever joins it."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baicai.artefact import (
    atomic_folder,
    find_artefact,
    hash_prefix,
    read_json,
    read_tensors,
    register_artefact,
    tensors_hash,
    value_hash,
    write_atomic,
    write_json,
    write_tensors,
)
from baicai.config import from_table, to_table
from baicai.errors import ArtefactError, ConfigError
from baicai.leaves.card import check_card, leaf_readme
from baicai.leaves.signing import sign_leaf
from baicai.leaves.trunk import Trunk, load_weights
from baicai.model.config import LeafConfig
from baicai.model.experts import Leaf

FORMAT = 1
LEAF_CARD, LEAF_TENSORS = "leaf.json", "leaf.safetensors"
ROW_NORM_CAP = 64.0
"""A router row longer than this would claim every token; honestly grown rows stay below 5."""

BIAS_CAP = 0.1
"""A larger choice bias would win tokens that other leaves recognise better; grown leaves have none."""


@dataclass(frozen=True)
class GrownLeaf:
    """An opened leaf: its experts, and what its card says."""

    path: Path
    hash: str
    name: str
    experts: Leaf
    card: dict[str, Any]


def check_leaf_name(name: str) -> str:
    """Return a leaf's name if it may be one.

    Raises: ConfigError
    """
    taken = name in ("trunk", "joined", "oracle") or hasattr(torch.nn.ModuleDict(), name)
    if taken or not re.fullmatch(r"[\w][\w-]{0,63}", name):
        why = "the name is taken" if taken else "use letters, digits, '-' and '_'"
        raise ConfigError(f"'{name}' cannot name a leaf: {why}")
    return name


def save_leaf(
    out: Path,
    name: str,
    leaf: Leaf,
    trunk: Trunk,
    *,
    data: list[dict[str, Any]],
    card_fields: dict[str, Any],
    sign_key: str | None = None,
) -> str:
    """Write a leaf, experts in bfloat16 and its router in float32, signed if there is a key, and return its hash."""
    tensors = {
        key: tensor if key.endswith(("router_ED", "bias_E")) else tensor.to(torch.bfloat16)
        for key, tensor in leaf.state_dict().items()
    }
    with atomic_folder(out) as part:
        write_tensors(part / LEAF_TENSORS, tensors)
        digest = complete_leaf(
            part, name, tensors_hash(tensors), trunk.hash, leaf.config, data=data, card_fields=card_fields
        )
        if sign_key is not None:
            sign_leaf(part, sign_key)
    register_artefact(digest, out)
    return digest


def leaf_hash(tensors: str, trunk: str, sizes: LeafConfig, data: list[dict[str, Any]]) -> str:
    """Return the identity of a leaf with tensors of that hash."""
    return value_hash({"tensors": tensors, "trunk": trunk, "sizes": to_table(sizes), "data": data})


def complete_leaf(
    part: Path,
    name: str,
    tensors: str,
    trunk: str,
    sizes: LeafConfig,
    *,
    data: list[dict[str, Any]],
    card_fields: dict[str, Any],
) -> str:
    """Write what a leaf's folder has beside its tensors, whose hash is `tensors`, and return the leaf's hash."""
    digest = leaf_hash(tensors, trunk, sizes, data)
    card = {
        "format": FORMAT,
        "kind": "leaf",
        "name": name,
        "hash": digest,
        "tensors": tensors,
        "trunk": trunk,
        "sizes": to_table(sizes),
        "data": data,
        **card_fields,
    }
    write_json(part / LEAF_CARD, card)
    write_atomic(part / "README.md", leaf_readme(card).encode())
    return digest


def open_leaf(reference: str | Path, trunk: Trunk, expected_hash: str | None = None) -> GrownLeaf:
    """Return the leaf in a folder or with a hash, after checking everything that can be checked without running it.

    Raises: ArtefactError if it is damaged, of another trunk, of wrong shapes, not finite, or its router rows too long.
    """
    path = find_artefact(reference)
    card = read_json(path / LEAF_CARD)
    if card.get("kind") != "leaf" or card.get("format") != FORMAT:
        raise ArtefactError(f"{path} is not a leaf of format {FORMAT}: it says kind={card.get('kind')}")
    name = check_leaf_name(str(card.get("name")))
    if card.get("trunk") != trunk.hash:
        raise ArtefactError(
            f"leaf '{name}' was grown on trunk {str(card.get('trunk'))[:8]}, this trunk is {trunk.hash[:8]}: "
            "grow it again, or join it to its own trunk"
        )
    tensors = read_tensors(path / LEAF_TENSORS)
    parts = {key: card.get(key) for key in ("trunk", "sizes", "data")} | {"tensors": tensors_hash(tensors)}
    if value_hash(parts) != card.get("hash"):
        raise ArtefactError(f"leaf {path} is damaged: its content does not match its hash; copy it again")
    wanted = expected_hash or hash_prefix(reference)
    if not card["hash"].startswith(wanted):
        raise ArtefactError(f"leaf {path} is {card['hash'][:8]}, wanted is {wanted[:8]}: give the right leaf")
    sizes = from_table(LeafConfig, card["sizes"], str(path / LEAF_CARD))
    check_card(card, path / LEAF_CARD)
    if not 0 <= sizes.first_layer < trunk.network.config.num_layers:
        raise ArtefactError(f"leaf {path} begins at layer {sizes.first_layer}, which this trunk has not: do not use it")
    with torch.device("meta"):  # no memory before the shapes are checked
        leaf = Leaf(trunk.network.config, sizes)
    load_weights(leaf, tensors, path / LEAF_TENSORS)
    leaf.requires_grad_(False).eval()
    for number in leaf.layers:  # in the map that goes: what is only looked at takes no memory
        check_router(tensors[f"layers.{number}.router_ED"], tensors[f"layers.{number}.bias_E"], f"leaf {path}")
    register_artefact(card["hash"], path)
    return GrownLeaf(path, card["hash"], name, leaf, card)


def check_router(router_ED: Tensor, bias_E: Tensor, where: str) -> None:
    """Refuse a router that would take tokens from other leaves.

    Raises: ArtefactError
    """
    longest = float(router_ED.norm(dim=1).max())
    if longest > ROW_NORM_CAP:
        raise ArtefactError(
            f"{where}: a router row is {longest:.0f} long, the cap is {ROW_NORM_CAP:.0f}: do not use it"
        )
    if float(bias_E.abs().max()) > BIAS_CAP:
        raise ArtefactError(f"{where}: a choice bias is beyond {BIAS_CAP}, it would push others out: do not use it")
