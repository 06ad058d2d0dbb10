"""What an engine says of its model to the server, which has no weights."""

import dataclasses
from typing import Any

from baicai.leaves.join import SparseModel
from baicai.leaves.leaf import TENSORS
from baicai.model.cost import count_cost, leaf_parameters


def describe(model: SparseModel) -> dict[str, Any]:
    """Return what the list of models shows, and beside that, under `serving`, what a server has to know."""
    sizes, network = model.model.leaf_config, model.model
    costs = [count_cost(network, on=count) for count in range(len(model.leaves) + 1)]
    whole, head = costs[-1], network.config.vocab_size * network.config.dim
    parameters = leaf_parameters(network.config, sizes)[0] if sizes else 0
    return {
        "kind": "model" if model.leaves else "trunk",
        "hash": model.hash,
        "trunk": model.trunk.hash,
        "leaves": [
            {"name": name, "hash": model.leaves[name].hash, "parameters": parameters} for name in network.leaves
        ],
        "topk_group": model.topk_group,
        "max_tokens": network.config.max_tokens,
        "total_parameters": whole.total_parameters,
        "active_parameters": whole.active_parameters,
        "flops_per_token": whole.flops_per_token,
        "serving": {
            "tokenizer": str(model.trunk.path.resolve()),
            "files": {name: str((leaf.path / TENSORS).resolve()) for name, leaf in model.leaves.items()},
            "dim": network.config.dim,
            "vocab_size": network.config.vocab_size,
            "most_weight": sizes.top_k * sizes.routed_scaling_factor if sizes else 1.0,
            "costs": [dataclasses.asdict(cost) for cost in costs],
            "dense_flops": 2 * (whole.total_parameters - whole.embedding_parameters + head),
        },
    }
