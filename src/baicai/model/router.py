"""The router: selects the experts of each token and their weights.

Shape suffixes: T tokens, D model width, G leaves, E experts of one leaf, K experts a token uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class ExpertChoice(NamedTuple):
    """The experts that tokens use in one layer."""

    expert_ids_TK: Tensor
    """Expert number, counted through all leaves, int64; G * E where a token uses fewer than K experts."""
    weights_TK: Tensor
    """Weights, float32; 0 where a token uses fewer than K experts."""


@dataclass(frozen=True)
class LayerTrace:
    """The router's logits and choices in one layer, for losses and plots."""

    leaf_names: tuple[str, ...]
    logits_TGE: Tensor
    choice: ExpertChoice

    def leaf_weights(self) -> Tensor:
        """Return the weight of each leaf for each token, [T, G]."""
        leaves, experts = self.logits_TGE.shape[1:]
        leaf_TK = (self.choice.expert_ids_TK // experts).clamp(max=leaves - 1)
        weights_TG = self.logits_TGE.new_zeros(len(leaf_TK), leaves)
        return weights_TG.scatter_add_(1, leaf_TK, self.choice.weights_TK)


def routing_logits(h_TD: Tensor, rows_ED: Sequence[Tensor]) -> Tensor:
    """Return each leaf's routing logits, float32, [T, G, E].

    Without gradients there is one product per leaf, so that the bits of a leaf's logits do not depend on other leaves.
    """
    with torch.autocast(h_TD.device.type, enabled=False):
        h_TD = h_TD.float()
        if any(row_ED.requires_grad for row_ED in rows_ED):
            return F.linear(h_TD, torch.cat(list(rows_ED)).float()).view(len(h_TD), len(rows_ED), -1)
        return torch.stack([F.linear(h_TD, row_ED.float()) for row_ED in rows_ED], dim=1)


def choose_experts(
    logits_TGE: Tensor,
    bias_GE: Tensor,
    *,
    topk_group: int,
    top_k: int,
    scaling: float = 1.0,
    on_TG: Tensor | None = None,
) -> ExpertChoice:
    """Return the experts of each token and their weights, which are not renormalised.

    The bias affects the choice only. A leaf's score is the sum of its two best choice scores. Leaves that are off for a
    token (`on_TG` false) are masked with -inf before leaves are chosen. `topk_group` and `top_k` are reduced to the
    number of leaves and experts.

    Source: DeepSeek-V3, section 2.1.2, equations 12 to 16, and its inference code's group-limited gate.
    """
    leaves, experts = logits_TGE.shape[1:]
    scores_TGE = logits_TGE.sigmoid()
    choice_TGE = (scores_TGE + bias_GE).detach()
    if on_TG is not None:
        choice_TGE = choice_TGE.masked_fill(~on_TG.unsqueeze(-1), -torch.inf)
    topk_group, top_k = min(topk_group, leaves), min(top_k, min(topk_group, leaves) * experts)
    if topk_group < leaves:
        leaf_score_TG = choice_TGE.topk(min(2, experts), dim=-1).values.sum(-1)
        chosen_TG = torch.zeros_like(leaf_score_TG, dtype=torch.bool)
        chosen_TG.scatter_(1, leaf_score_TG.topk(topk_group, dim=-1).indices, True)
        choice_TGE = choice_TGE.masked_fill(~chosen_TG.unsqueeze(-1), -torch.inf)
    best_TK, ids_TK = choice_TGE.flatten(1).topk(top_k, dim=-1)
    weights_TK = scores_TGE.flatten(1).gather(1, ids_TK) * scaling
    absent_TK = best_TK == -torch.inf
    return ExpertChoice(ids_TK.masked_fill(absent_TK, leaves * experts), weights_TK.masked_fill(absent_TK, 0.0))
