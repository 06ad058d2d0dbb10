"""Which leaf took which tokens. Shape suffixes: T tokens, G leaves."""

from collections.abc import Iterator

import torch
from torch import Tensor

from baicai.model.router import LayerTrace
from baicai.model.transformer import Transformer


@torch.inference_mode()
def routing_share(model: Transformer, windows: Iterator[Tensor]) -> list[list[float]]:
    """Return the mean weight that each leaf gets from a token of this text, for each layer with leaves."""
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
