"""What an engine says of its model to the server, which has no weights."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from baicai.leaves.leaf import LEAF_TENSORS, GrownLeaf
from baicai.leaves.model import SparseModel
from baicai.leaves.signing import is_signed
from baicai.model.cost import count_cost, leaf_parameters


def describe(model: SparseModel) -> dict[str, Any]:
    """Return what the list of models shows, and beside that, under `serving`, what a server has to know."""
    sizes, network = model.network.leaf_config, model.network
    costs = [count_cost(network, active_leaves=count) for count in range(len(model.leaves) + 1)]
    whole, head = costs[-1], network.config.vocab_size * network.config.dim
    parameters = leaf_parameters(network.config, sizes)[0] if sizes else 0
    return {
        "kind": "model" if model.leaves else "trunk",
        "hash": model.hash,
        "trunk": model.trunk.hash,
        "data": _data(model.trunk.card),
        "leaves": [_about_leaf(model.leaves[name]) | {"parameters": parameters} for name in network.leaves],
        "topk_group": model.topk_group,
        "max_tokens": network.config.max_tokens,
        "total_parameters": whole.total_parameters,
        "active_parameters": whole.active_parameters,
        "flops_per_token": whole.flops_per_token,
        "serving": {
            "tokenizer": str(model.trunk.path.resolve()),
            "files": {name: str((leaf.path / LEAF_TENSORS).resolve()) for name, leaf in model.leaves.items()},
            "dim": network.config.dim,
            "vocab_size": network.config.vocab_size,
            "most_weight": sizes.top_k * sizes.routed_scaling_factor if sizes else 1.0,
            "costs": [dataclasses.asdict(cost) for cost in costs],
            "dense_flops": 2 * (whole.total_parameters - whole.embedding_parameters + head),
        },
    }


def _about_leaf(leaf: GrownLeaf) -> dict[str, Any]:
    """Return what its card says, of which its own hash is proof: opening it has computed that anew."""
    quality = {domain: row for domain, row in leaf.card["metrics"].items() if isinstance(row, dict)}
    signed = is_signed(leaf.path)
    return {"name": leaf.name, "hash": leaf.hash, "signed": signed, "data": _data(leaf.card), "bits_per_byte": quality}


def _data(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what text a trunk or a leaf saw: hashes, sizes and licences; of a release also which slice."""
    told = []
    for text in card["data"]:
        receipt = text.get("receipt")
        origin = {"release": receipt["release"], "slice": receipt["slice"]} if receipt else {}
        told.append({key: text[key] for key in ("domain", "manifest", "tokens", "bytes", "licences")} | origin)
    return told
