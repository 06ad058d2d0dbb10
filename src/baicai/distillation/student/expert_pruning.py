"""A student that is its teacher with fewer experts in each leaf. Shape suffixes: G leaves, E experts of a leaf."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from baicai.distillation.sizing import with_experts
from baicai.distillation.student.importance import best, measure_expert_importance
from baicai.leaves.leaf import save_leaf
from baicai.leaves.model import SparseModel
from baicai.model.experts import Leaf


@torch.no_grad()
def prune_leaves(
    teacher: SparseModel, wanted: Iterable[str], windows: Iterable[Tensor], num_experts: int
) -> dict[str, Leaf]:
    """Return the wanted leaves with those experts that add most on windows [B, S + 1] of the abilities to keep.

    Weights keep their types and experts their order: where only experts go that never fire, what the others say keeps
    its bits. A token may still move where a machine rounds a router's product over fewer rows otherwise, or where the
    second best expert of a leaf counts in the leaf's score without being used. A calibration's scales are in the router
    rows from here on.

    Raises: ConfigError for a leaf there is not, DataError if a leaf never fires on the text or says what is not finite.
    """
    model = teacher.network
    use, first = measure_expert_importance(model, list(wanted), windows), model.first_leaf_layer
    pruned = {}
    for number, name in enumerate(use.names):
        leaf = teacher.leaves[name].experts
        kept = [best(added_GE[number], num_experts) for added_GE in use.importance_LGE]
        tensors = {}
        for key, tensor in leaf.state_dict().items():
            layer = int(key.split(".")[1]) - first
            tensors[key] = tensor.index_select(0, kept[layer].to(tensor.device))
        with torch.device("meta"):
            pruned[name] = Leaf(model.config, with_experts(leaf.config, num_experts))
        pruned[name].load_state_dict(tensors, assign=True)
        pruned[name].requires_grad_(False).eval()
    return pruned


def save_pruned_leaf(out: Path, name: str, leaf: Leaf, teacher: SparseModel, metrics: Mapping[str, Any]) -> str:
    """Write a pruned leaf as one that joins, serves and exports like any other, and return its hash.

    Its card says which leaf it was and what that was grown from; `metrics` are its own.
    """
    card = teacher.leaves[name].card
    about = {"recipe": card.get("recipe"), "pruned": card["hash"], "curve": card["curve"], "metrics": dict(metrics)}
    return save_leaf(out, name, leaf, teacher.trunk, data=card["data"], card_fields=about)
