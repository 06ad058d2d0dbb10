"""Slow, readable twins of the fast paths."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from baicai.model.experts import LeafLayer


def route_one(
    logits_GE: Tensor, bias_GE: Tensor, topk_group: int, top_k: int, on: list[bool]
) -> list[tuple[int, int, float]]:
    """Return (leaf, expert, weight) of one token, best first, by the formula of DeepSeek-V3 written out."""
    leaves, experts = logits_GE.shape
    score = logits_GE.sigmoid()
    present = [leaf for leaf in range(leaves) if on[leaf]]

    def leaf_score(leaf: int) -> float:
        choice = sorted((float(score[leaf, e] + bias_GE[leaf, e]) for e in range(experts)), reverse=True)
        return sum(choice[:2])

    kept = sorted(present, key=leaf_score, reverse=True)[:topk_group]
    pairs = [(leaf, e) for leaf in kept for e in range(experts)]
    pairs.sort(key=lambda pair: float(score[pair] + bias_GE[pair]), reverse=True)
    return [(leaf, e, float(score[leaf, e])) for leaf, e in pairs[:top_k]]


def mix_one(h_D: Tensor, chosen: list[tuple[int, int, float]], layers: list[LeafLayer]) -> Tensor:
    """Return the sum over one token's experts, one after another."""
    out_D = torch.zeros_like(h_D)
    for leaf, e, weight in chosen:
        layer = layers[leaf]
        hidden_F = F.silu(layer.gate_EFD[e] @ h_D) * (layer.up_EFD[e] @ h_D)
        out_D = out_D + weight * (layer.down_EDF[e] @ hidden_F)
    return out_D
