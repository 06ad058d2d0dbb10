"""The leaf as an artefact: saved by its grower, checked when it is opened."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baicai.artefact import (
    atomic_folder,
    register_artefact,
    tensors_hash,
    value_hash,
    write_atomic,
    write_json,
    write_tensors,
)
from baicai.config import from_table, to_table
from baicai.errors import ArtefactError, ConfigError
from baicai.leaves.artefact_folder import ArtefactFolder, Layout
from baicai.leaves.card import Card, TextRecord, leaf_readme
from baicai.leaves.signing import sign_leaf
from baicai.leaves.trunk import Trunk
from baicai.model.config import LeafConfig
from baicai.model.experts import Leaf

FORMAT = 1
LEAF_CARD, LEAF_TENSORS = "leaf.json", "leaf.safetensors"
_LAYOUT = Layout("leaf", FORMAT, LEAF_CARD, LEAF_TENSORS)
ROW_NORM_CAP = 64.0
"""Maximum norm of a router row: a longer one would claim every token. Rows that were really grown stay below 5."""

BIAS_CAP = 0.1
"""Maximum choice bias: a larger one would win tokens that other leaves recognise better. Grown leaves have 0."""


@dataclass(frozen=True)
class GrownLeaf:
    """An opened leaf: its experts and its card."""

    path: Path
    hash: str
    name: str
    experts: Leaf
    card: Card


def check_leaf_name(name: str) -> str:
    """Return the name if a leaf may have it.

    Raises: ConfigError if it is reserved or has other characters than letters, digits, '-' and '_'.
    """
    reserved = name in ("trunk", "joined", "oracle") or hasattr(torch.nn.ModuleDict(), name)
    if reserved or not re.fullmatch(r"[\w][\w-]{0,63}", name):
        why = "the name is reserved" if reserved else "use letters, digits, '-' and '_'"
        raise ConfigError(f"'{name}' cannot name a leaf: {why}")
    return name


def save_leaf(
    out: Path,
    name: str,
    leaf: Leaf,
    trunk: Trunk,
    *,
    data: list[TextRecord],
    card_fields: Card,
    sign_key: str | None = None,
) -> str:
    """Save a leaf to a new folder, experts in bfloat16 and routers in float32, and return its hash.

    Args:
        out: folder to make.
        name: name of the leaf.
        leaf: the experts.
        trunk: the trunk that the leaf was grown on.
        data: the texts that it was trained on, as `lineage` returns them.
        card_fields: further fields of the card; `metrics` and `curve` are required.
        sign_key: private key (PEM) to sign the leaf with, if any.

    Raises: MachineError if the disk is full, ArtefactError if `out` already exists, ConfigError if the key cannot sign.
    """
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


def leaf_hash(tensors: str, trunk: str, sizes: LeafConfig, data: list[TextRecord]) -> str:
    """Return the hash of a leaf whose tensors have the hash `tensors`."""
    return value_hash({"tensors": tensors, "trunk": trunk, "sizes": to_table(sizes), "data": data})


def complete_leaf(
    part: Path,
    name: str,
    tensors: str,
    trunk: str,
    sizes: LeafConfig,
    *,
    data: list[TextRecord],
    card_fields: Card,
) -> str:
    """Write all files of a leaf except its tensors, whose hash is `tensors`, and return the leaf's hash."""
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
    """Open a leaf by path or hash, after every check that does not need to run it. It is not joined to the trunk.

    Example:
        leaf = open_leaf("out/law", trunk)

    Args:
        reference: path of the leaf, or its hash (8 digits or more).
        trunk: the trunk that the leaf was grown on.
        expected_hash: hash that the leaf must have.

    Raises: ArtefactError if the leaf is missing, damaged or not the expected one, was grown on another trunk, has wrong
    shapes or values that are not finite, or if its router could take tokens from other leaves.
    """
    folder = ArtefactFolder.open(reference, _LAYOUT, expected_hash)
    path, card, config = folder.path, folder.card, trunk.network.config
    name = check_leaf_name(str(card.get("name")))
    if card.get("trunk") != trunk.hash:
        raise ArtefactError(
            f"leaf '{name}' was grown on trunk {str(card.get('trunk'))[:8]}, this trunk is {trunk.hash[:8]}: "
            "grow it again, or join it to its own trunk"
        )
    tensors = folder.verify(**{key: card.get(key) for key in ("trunk", "sizes", "data")})
    sizes = from_table(LeafConfig, card["sizes"], str(path / LEAF_CARD))
    if not 0 <= sizes.first_layer < config.num_layers:
        raise ArtefactError(
            f"leaf {path} begins at layer {sizes.first_layer}, but this trunk has {config.num_layers}: do not use it"
        )
    experts = folder.load(lambda: Leaf(config, sizes), tensors)
    for number in experts.layers:  # checked in the first map of the file, whose pages are dropped
        router, bias = (tensors[f"layers.{number}.{name}"] for name in ("router_ED", "bias_E"))
        check_router(router, bias, f"leaf {path}")
    register_artefact(card["hash"], path)
    return GrownLeaf(path, card["hash"], name, experts, card)


def check_router(router_ED: Tensor, bias_E: Tensor, where: str) -> None:
    """Check that a router cannot take tokens from other leaves.

    Raises: ArtefactError if a row or a choice bias is too large.
    """
    max_norm = float(router_ED.norm(dim=1).max())
    if max_norm > ROW_NORM_CAP:
        raise ArtefactError(
            f"{where}: a router row has norm {max_norm:.0f}, the limit is {ROW_NORM_CAP:.0f}: do not use it"
        )
    if float(bias_E.abs().max()) > BIAS_CAP:
        raise ArtefactError(f"{where}: a choice bias exceeds {BIAS_CAP} and would displace other leaves: do not use it")
