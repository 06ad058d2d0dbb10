"""Probes that keep a trunk's stream telling: from every upper layer one can read which source a token is from.

Leaves are grown one by one and never see each other's text. Whether they keep out of each other's way is decided by
what their routers can read in the frozen stream, so the trunk is taught to hold it there.

Shape suffixes: B sequences, S tokens of a sequence, T tokens, D model width, K sources.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from baicai.model.layers import Block
from baicai.model.transformer import Transformer


class SourceProbes(nn.Module):
    """Linear classifiers of a token's source; each reads what a router in its layer would read."""

    def __init__(self, model: Transformer, num_sources: int, first_layer: int) -> None:
        super().__init__()
        blocks = [block for block in model.layers if isinstance(block, Block)][first_layer:]
        self.rows = nn.ParameterList(torch.zeros(num_sources, model.config.dim) for _ in blocks)
        self._seen: list[Tensor] = []
        for block in blocks:
            block.shared_norm.register_forward_hook(self._see)

    def _see(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._seen.append(output)

    def loss(self, source_BS: Tensor) -> Tensor:
        """Return the mean cross-entropy, in nats, over the layers of the model's latest forward pass; forgets it."""
        seen, self._seen = self._seen, []
        source_T = source_BS.flatten()
        with torch.autocast(source_T.device.type, enabled=False):
            logits = [F.linear(h.flatten(0, 1).float(), row_KD) for h, row_KD in zip(seen, self.rows, strict=True)]
            return torch.stack([F.cross_entropy(logits_TK, source_T) for logits_TK in logits]).mean()
