"""Probes that keep the source of every token readable in the upper layers of a trunk.

Leaves are grown one by one and never see each other's text. Whether they leave each other's tokens alone depends on
what their routers can read from the frozen stream, so the trunk is trained to keep the source readable there.

Shape suffixes: B sequences, S tokens of a sequence, T tokens, D model width, K sources.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from baicai.model.layers import Block
from baicai.model.transformer import Transformer


class SourceProbes(nn.Module):
    """Linear classifiers of a token's source, one per layer; each reads the same input as a router there."""

    def __init__(self, model: Transformer, num_sources: int, first_layer: int) -> None:
        super().__init__()
        blocks = [block for block in model.layers if isinstance(block, Block)][first_layer:]
        self.rows = nn.ParameterList(torch.zeros(num_sources, model.config.dim) for _ in blocks)
        self._inputs: list[Tensor] = []
        for block in blocks:
            block.shared_norm.register_forward_hook(self._record)

    def _record(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if torch.is_grad_enabled():
            self._inputs.append(output)

    def loss(self, source_BS: Tensor) -> Tensor:
        """Return the mean cross-entropy over layers and tokens of the model's latest forward pass, in nats.

        The recorded inputs of that pass are dropped.
        """
        inputs, self._inputs = self._inputs, []
        source_T = source_BS.flatten()
        with torch.autocast(source_T.device.type, enabled=False):
            logits = [F.linear(h.flatten(0, 1).float(), row_KD) for h, row_KD in zip(inputs, self.rows, strict=True)]
            return torch.stack([F.cross_entropy(logits_TK, source_T) for logits_TK in logits]).mean()
