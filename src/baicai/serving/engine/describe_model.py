"""Metadata of a loaded model, for the server and its list of models."""

from collections.abc import Mapping, Sequence
from typing import Any

from baicai.leaves.leaf import LEAF_TENSORS, GrownLeaf
from baicai.leaves.model import SparseModel
from baicai.leaves.signing import is_signed
from baicai.model.cost import count_cost, leaf_parameters
from baicai.serving.engine.model_info import LeafCard, ModelInfo, TrainingText


def describe_model(model: SparseModel) -> ModelInfo:
    """Collect the metadata of a model."""
    leaf_config, network = model.network.leaf_config, model.network
    costs = [count_cost(network, active_leaves=count) for count in range(len(model.leaves) + 1)]
    full_cost, head_parameters = costs[-1], network.config.vocab_size * network.config.dim
    parameters = leaf_parameters(network.config, leaf_config)[0] if leaf_config else 0
    return ModelInfo(
        card={
            "kind": "model" if model.leaves else "trunk",
            "hash": model.hash,
            "trunk": model.trunk.hash,
            "data": _training_texts(model.trunk.card["data"]),
            "leaves": [_leaf_card(model.leaves[name], parameters) for name in network.leaves],
            "topk_group": model.topk_group,
            "max_tokens": network.config.max_tokens,
            "total_parameters": full_cost.total_parameters,
            "active_parameters": full_cost.active_parameters,
            "flops_per_token": full_cost.flops_per_token,
        },
        tokenizer=str(model.trunk.path.resolve()),
        weight_files={name: str((leaf.path / LEAF_TENSORS).resolve()) for name, leaf in model.leaves.items()},
        embedding_dim=network.config.dim,
        vocab_size=network.config.vocab_size,
        max_leaf_weight=leaf_config.top_k * leaf_config.routed_scaling_factor if leaf_config else 1.0,
        costs=costs,
        dense_flops_per_token=2 * (full_cost.total_parameters - full_cost.embedding_parameters + head_parameters),
    )


def _leaf_card(leaf: GrownLeaf, parameters: int) -> LeafCard:
    """Summarize a leaf's card; opening the leaf has already verified it against the leaf's hash."""
    return {
        "name": leaf.name,
        "hash": leaf.hash,
        "signed": is_signed(leaf.path),
        "data": _training_texts(leaf.card["data"]),
        "bits_per_byte": {domain: row for domain, row in leaf.card["metrics"].items() if isinstance(row, dict)},
        "parameters": parameters,
    }


def _training_texts(texts: Sequence[Mapping[str, Any]]) -> list[TrainingText]:
    """Summarize the texts in a card: hashes, sizes and licences, and the slice of a text from a release."""
    summaries = []
    for text in texts:
        summary: TrainingText = {
            "domain": text["domain"],
            "manifest": text["manifest"],
            "tokens": text["tokens"],
            "bytes": text["bytes"],
            "licences": text["licences"],
        }
        if receipt := text.get("receipt"):
            summary |= {"release": receipt["release"], "slice": receipt["slice"]}
        summaries.append(summary)
    return summaries
