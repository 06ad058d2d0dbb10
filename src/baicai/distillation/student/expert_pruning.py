"""Expert pruning: keep the most important experts of each leaf. Shape suffixes: G leaves, E experts of a leaf."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from baicai.distillation.sizing import with_experts
from baicai.distillation.student.importance import measure_expert_importance, top_indices
from baicai.leaves.leaf import save_leaf
from baicai.leaves.model import SparseModel
from baicai.model.experts import Leaf

CardMetrics = Mapping[str, float | Mapping[str, float]]
"""Metrics on a card: numbers, and bits per byte by domain."""


@torch.no_grad()
def prune_leaves(
    teacher: SparseModel, names: Iterable[str], windows: Iterable[Tensor], num_experts: int
) -> dict[str, Leaf]:
    """Return the named leaves with the experts that contribute most on `windows`, each [B, S + 1].

    Weights keep their types and experts their order, so removing only experts that never fire leaves the output of the
    others bit-identical. Routing of a token may still change if the machine rounds a router's product differently for
    fewer rows, or if a removed expert was a leaf's second best, which counts in the leaf's score without being used.
    Scales of a calibration are folded into the router rows.

    Raises: ConfigError if a leaf does not exist; DataError if a leaf never fires on the text or its output is not
    finite.
    """
    model = teacher.network
    importance, first = measure_expert_importance(model, list(names), windows), model.first_leaf_layer
    pruned = {}
    for number, name in enumerate(importance.names):
        leaf = teacher.leaves[name].experts
        expert_ids = [top_indices(scores_GE[number], num_experts) for scores_GE in importance.importance_LGE]
        tensors = {}
        for key, tensor in leaf.state_dict().items():
            layer = int(key.split(".")[1]) - first
            tensors[key] = tensor.index_select(0, expert_ids[layer].to(tensor.device))
        with torch.device("meta"):
            pruned[name] = Leaf(model.config, with_experts(leaf.config, num_experts))
        pruned[name].load_state_dict(tensors, assign=True)
        pruned[name].requires_grad_(False).eval()
    return pruned


def save_pruned_leaf(out: Path, name: str, leaf: Leaf, teacher: SparseModel, metrics: CardMetrics) -> str:
    """Write a pruned leaf, which joins, serves and exports like any other, and return its hash.

    Its card names the original leaf and that leaf's data and recipe; `metrics` are those of the pruned leaf.
    """
    card = teacher.leaves[name].card
    fields = {"recipe": card.get("recipe"), "pruned": card["hash"], "curve": card["curve"], "metrics": dict(metrics)}
    return save_leaf(out, name, leaf, teacher.trunk, data=card["data"], card_fields=fields)
