"""Measure how routing distributes tokens over leaves. Shape suffixes: B sequences, S positions, L layers, G leaves."""

from collections.abc import Iterator

import torch
from torch import Tensor

from baicai.model.router import LayerTrace
from baicai.model.transformer import Transformer


@torch.inference_mode()
def routing_share(model: Transformer, windows: Iterator[Tensor]) -> list[list[float]]:
    """Compute each leaf's mean routing weight per token of the text.

    Returns: weights by layer with leaves and by leaf, [L][G]; empty if the model has no leaves.
    """
    total_LG: Tensor | None = None
    tokens = 0
    for tokens_BS in windows:
        trace: list[LayerTrace] = []
        model.hidden(tokens_BS[:, :-1].to(model.embedding.weight.device), trace=trace)
        if not trace:
            return []
        sums_LG = torch.stack([layer.leaf_weights().sum(0) for layer in trace]).cpu()
        total_LG = sums_LG if total_LG is None else total_LG + sums_LG
        tokens += tokens_BS[:, 1:].numel()
    assert total_LG is not None
    shares: list[list[float]] = (total_LG / tokens).tolist()
    return shares
